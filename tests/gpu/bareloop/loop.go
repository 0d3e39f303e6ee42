package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"weightfs/gpuload"
)

// partSize is of one read and one copy, streams how many take the copies in turns.
const (
	partSize = 8 << 20
	streams  = 2
)

// report is what the command prints, as gpuload does: seconds from its start to the
// last copy, and until the device was open.
type report struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Phases  struct {
		Context float64 `json:"context"`
	} `json:"phases"`
}

// part is one read and one copy.
type part struct {
	object object
	target gpuload.Memory
	off    int64
	n      int
}

// buffers is the staging of one reader: it reads into one while the device
// copies from the other.
type buffers struct {
	staging [2]gpuload.Staging
	copied  [2]gpuload.Event
	turn    int
}

// load copies the objects to the device. What it takes from the device is freed
// with the device.
func load(ctx context.Context, dev gpuload.Device, objects []object, readers int) (report, error) {
	parts, bytes, err := divide(dev, objects)
	if err != nil {
		return report{}, err
	}
	var lanes [streams]gpuload.Stream
	for i := range lanes {
		if lanes[i], err = dev.NewStream(); err != nil {
			return report{}, err
		}
	}
	staging, err := makeBuffers(dev, readers)
	if err != nil {
		return report{}, err
	}
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for i, b := range staging {
		group.Go(func() error {
			for {
				k := int(next.Add(1)) - 1
				if k >= len(parts) {
					return nil
				}
				if err := b.move(ctx, parts[k], lanes[i%streams]); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return report{}, err
	}
	for _, s := range lanes {
		if err := s.Sync(); err != nil {
			return report{}, err
		}
	}
	return report{Bytes: bytes}, nil
}

// move reads one part and starts its copy, once the copy before the last is done.
func (b *buffers) move(ctx context.Context, p part, s gpuload.Stream) error {
	i := b.turn
	b.turn = 1 - i
	if b.copied[i] != nil {
		if err := b.copied[i].Wait(ctx); err != nil {
			return err
		}
	}
	dst := b.staging[i].Bytes()[:p.n]
	if err := p.object.fill(ctx, dst, p.off); err != nil {
		return fmt.Errorf("%s [%d,%d): %w", p.object.name, p.off, p.off+int64(p.n), err)
	}
	if err := s.Copy(p.target, p.off, b.staging[i], 0, p.n); err != nil {
		return err
	}
	var err error
	b.copied[i], err = s.Record()
	return err
}

// divide allocates each object on the device and cuts it into parts.
func divide(dev gpuload.Device, objects []object) ([]part, int64, error) {
	var parts []part
	var bytes int64
	for _, o := range objects {
		target, err := dev.Alloc(o.size)
		if err != nil {
			return nil, 0, err
		}
		for off := int64(0); off < o.size; off += partSize {
			parts = append(parts, part{o, target, off, int(min(partSize, o.size-off))})
		}
		bytes += o.size
	}
	return parts, bytes, nil
}

// makeBuffers page-locks all staging at once, each reader's on its own thread.
func makeBuffers(dev gpuload.Device, readers int) ([]*buffers, error) {
	all := make([]*buffers, readers)
	var group errgroup.Group
	for i := range all {
		all[i] = &buffers{}
		group.Go(func() error {
			for j := range all[i].staging {
				var err error
				if all[i].staging[j], err = dev.NewStaging(partSize); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all, group.Wait()
}
