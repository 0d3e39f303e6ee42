package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"weightfs/gpuload"
)

// copyBytes is what is copied to measure a copy by itself: a tenth of a second
// to a GPU.
const copyBytes = 4 << 30

// warmBytes is what is copied to warm a device up, and of each way over the bus.
const warmBytes = 1 << 30

// stagingRate is how many bytes a second so many goroutines copy from the host's
// memory into staging, a piece each at a time. That is the least that a read of
// a cached file, of a mount or of a connection costs.
func stagingRate(ctx context.Context, dev gpuload.Device, bytes, piece int64, goroutines int) (_ float64, err error) {
	piece = min(piece, bytes)
	// Anonymous memory like the page cache's, larger than the processor's caches.
	from, err := unix.Mmap(-1, 0, int(min(bytes, max(piece, 256<<20))), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(from)) }()
	stagings, free, err := newStagings(dev, piece, goroutines)
	defer func() { err = errors.Join(err, free()) }()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for i, to := range stagings {
		g.Go(func() error {
			for at := int64(i) * piece; at < bytes && ctx.Err() == nil; at += piece * int64(goroutines) {
				begin := at % (int64(len(from)) - piece + 1)
				copy(to.Bytes()[:min(piece, bytes-at)], from[begin:])
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	return float64(bytes) / time.Since(start).Seconds(), nil
}

// newStagings takes staging, touches it, and returns what gives it back.
func newStagings(dev gpuload.Device, piece int64, n int) (stagings []gpuload.Staging, free func() error, err error) {
	free = func() error {
		var errs []error
		for _, s := range stagings {
			errs = append(errs, s.Free())
		}
		return errors.Join(errs...)
	}
	for range n {
		s, err := dev.NewStaging(int(piece))
		if err != nil {
			return stagings, free, err
		}
		clear(s.Bytes())
		stagings = append(stagings, s)
	}
	return stagings, free, nil
}

// busRate is how many bytes a second go from staging to fresh device memory, so
// many in all, in pieces on so many streams, when nothing is read. For the CPU
// device that is a copy in memory.
func busRate(ctx context.Context, dev gpuload.Device, bytes, piece int64, streams int) (_ float64, err error) {
	piece = min(piece, bytes)
	staging, free, err := newStagings(dev, piece, 1)
	defer func() { err = errors.Join(err, free()) }()
	if err != nil {
		return 0, err
	}
	memory, err := dev.Alloc(bytes)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, memory.Free()) }()
	queues := make([]gpuload.Stream, streams)
	for i := range queues {
		if queues[i], err = dev.NewStream(); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, queues[i].Close()) }()
	}
	start := time.Now()
	for at := int64(0); at < bytes; at += piece {
		n := min(piece, bytes-at)
		queue := queues[int(at/piece)%streams]
		if err := errors.Join(ctx.Err(), queue.Copy(memory, at, staging[0], 0, int(n))); err != nil {
			return 0, err
		}
	}
	if err := syncAll(queues); err != nil {
		return 0, err
	}
	return float64(bytes) / time.Since(start).Seconds(), nil
}

// sweepBus is the rate of the bus by the size of copies, and by how many streams
// make them.
func sweepBus(ctx context.Context, dev gpuload.Device, bytes int64) (all []benchBus, err error) {
	for _, piece := range []int64{1 << 20, 8 << 20, 32 << 20} {
		for _, streams := range []int{1, 2, 4} {
			rate, err := busRate(ctx, dev, bytes, piece, streams)
			if err != nil {
				return nil, err
			}
			all = append(all, benchBus{piece, streams, rate})
		}
	}
	return all, nil
}

func syncAll(streams []gpuload.Stream) error {
	for _, s := range streams {
		if err := s.Sync(); err != nil {
			return err
		}
	}
	return nil
}
