package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"weightfs/gpuload"
	"weightfs/tests/lab"
)

// pieceSize is of a copy that runs at the bus's rate.
const pieceSize = 8 << 20

// streams take the copies in turns.
const streams = 2

// ceiling is how many bytes a second go from page-locked memory to the device when
// nothing else is done.
func ceiling(dev gpuload.Device, total int64) (_ float64, err error) {
	target, err := dev.Alloc(total)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, target.Free()) }()
	staging, err := dev.NewStaging(pieceSize)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, staging.Free()) }()
	lanes, closeAll, err := openStreams(dev)
	defer func() { err = errors.Join(err, closeAll()) }()
	if err != nil {
		return 0, err
	}
	copyAll := func() error {
		for at := int64(0); at < total; at += pieceSize {
			if err := lanes[at/pieceSize%streams].Copy(target, at, staging, 0, int(min(pieceSize, total-at))); err != nil {
				return err
			}
		}
		return errors.Join(lanes[0].Sync(), lanes[1].Sync())
	}
	if err := copyAll(); err != nil { // which touches it, where it is the host's
		return 0, err
	}
	start := time.Now()
	err = copyAll()
	return float64(total) / time.Since(start).Seconds(), err
}

func openStreams(dev gpuload.Device) (lanes []gpuload.Stream, closeAll func() error, err error) {
	closeAll = func() error {
		var errs []error
		for _, s := range lanes {
			errs = append(errs, s.Close())
		}
		return errors.Join(errs...)
	}
	for range streams {
		s, err := dev.NewStream()
		if err != nil {
			return lanes, closeAll, err
		}
		lanes = append(lanes, s)
	}
	return lanes, closeAll, nil
}

// copyLeases copies all leases to the device, in place where that can be, times it, and
// compares what is there then.
func copyLeases(ctx context.Context, dev gpuload.Device, m *mount, r *lab.InPlace) (err error) {
	target, err := dev.Alloc(m.bytes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Free()) }()
	lanes, closeAll, err := openStreams(dev)
	defer func() { err = errors.Join(err, closeAll()) }()
	if err != nil {
		return err
	}
	c := &copier{device: dev, target: target, lanes: lanes, staging: make([]gpuload.Staging, m.held()), report: r}
	defer func() { err = errors.Join(err, c.free()) }()
	start := time.Now()
	if err := m.each(ctx, c.copy); err != nil {
		return err
	}
	r.CopySeconds = time.Since(start).Seconds()
	r.Right = true
	return m.each(ctx, func(l *lease) error {
		want := slices.Concat(l.Slices()...)
		got := make([]byte, len(want))
		if _, err := target.ReadAt(got, l.at); err != nil && err != io.EOF {
			return err
		}
		r.Right = r.Right && bytes.Equal(got, want)
		return nil
	})
}

// copier copies leases in turns on its lanes.
type copier struct {
	device  gpuload.Device
	target  gpuload.Memory
	lanes   []gpuload.Stream
	staging []gpuload.Staging // for what is not copied in place; made when needed
	turn    int
	report  *lab.InPlace
}

// copy begins to copy a lease, which is done when its event is.
func (c *copier) copy(l *lease) error {
	lane := c.lanes[c.turn%len(c.lanes)]
	from, inPlace := c.borrow(l)
	if !inPlace {
		var err error
		if from, err = c.stage(l); err != nil {
			return err
		}
		c.report.Unregistered += l.Range().Length
	}
	c.turn++
	at, left := l.at, l.Range().Length
	for _, some := range from {
		n := min(int64(len(some.Bytes())), left)
		if err := lane.Copy(c.target, at, some, 0, int(n)); err != nil {
			return err
		}
		at, left = at+n, left-n
	}
	e, err := lane.Record()
	l.done = func() error { return e.Wait(context.Background()) }
	return err
}

func (c *copier) borrow(l *lease) (all []gpuload.Staging, ok bool) {
	device, ok := c.device.(gpuload.Borrower)
	for _, some := range l.Slices() {
		if !ok {
			break
		}
		var parts []gpuload.Staging
		parts, ok = device.Borrow(some)
		all = append(all, parts...)
	}
	return all, ok
}

// stage copies a lease into page-locked memory: that of the lease so many before, which
// was given back.
func (c *copier) stage(l *lease) (all []gpuload.Staging, err error) {
	slot := &c.staging[c.turn%len(c.staging)]
	if *slot == nil {
		if *slot, err = c.device.NewStaging(pieceSize); err != nil {
			return nil, err
		}
	}
	to := (*slot).Bytes()
	for _, some := range l.Slices() {
		to = to[copy(to, some):]
	}
	return []gpuload.Staging{*slot}, nil
}

func (c *copier) free() error {
	var errs []error
	for _, s := range c.staging {
		if s != nil {
			errs = append(errs, s.Free())
		}
	}
	return errors.Join(errs...)
}
