package main

import (
	"context"
	"fmt"
	"iter"

	"weightfs/handoff"
)

// mount is files of a mount that are open with its daemon.
type mount struct {
	client *handoff.Client
	files  []*handoff.RemoteFile
	bytes  int64
}

func openMount(ctx context.Context, names []string) (*mount, error) {
	m := &mount{}
	for _, name := range names {
		place, err := handoff.Find(name)
		if err != nil {
			return nil, err
		}
		if m.client == nil {
			if m.client, err = handoff.Dial(ctx, place.Socket, handoff.Options{Mode: handoff.Writable}); err != nil {
				return nil, err
			}
		}
		file, err := m.client.Open(ctx, place.Path)
		if err != nil {
			return nil, err
		}
		m.files = append(m.files, file)
		m.bytes += file.Size()
	}
	return m, nil
}

// window is how many ranges are wanted at a time, inFlight how many of them are leased
// and not given back.
const (
	window   = 64
	inFlight = 16
)

// held is inFlight, or half of what a daemon of little memory lets a client hold: more
// would be waited for while they are kept.
func (m *mount) held() int {
	const capShare = 4 // of the memory, for all clients
	return int(max(min(inFlight, int64(len(m.client.Memory()))/capShare/(m.client.MaxLength()+1<<20)/2), 1))
}

// lease is one, and where it begins in all files together.
type lease struct {
	*handoff.Want
	at   int64
	done func() error // waits until nobody reads it any more
}

// each leases all ranges of all files, in order and ahead. use begins to read each, and
// may set done.
func (m *mount) each(ctx context.Context, use func(*lease) error) error {
	var begun []*lease
	finish := func(keep int) error {
		for ; len(begun) > keep; begun = begun[1:] {
			if l := begun[0]; l.done != nil {
				if err := l.done(); err != nil {
					return err
				}
			}
			if err := begun[0].Give(); err != nil {
				return err
			}
		}
		return nil
	}
	at := int64(0)
	for _, file := range m.files {
		for w, err := range m.leases(ctx, file) {
			if err != nil {
				return err
			}
			l := &lease{Want: w, at: at + w.Range().Offset}
			begun = append(begun, l)
			if err := use(l); err != nil {
				return err
			}
			if err := finish(m.held() - 1); err != nil {
				return err
			}
		}
		at += file.Size()
	}
	return finish(0)
}

// leases are those of a file, in order, of which a window is wanted ahead.
func (m *mount) leases(ctx context.Context, file *handoff.RemoteFile) iter.Seq2[*handoff.Want, error] {
	return func(yield func(*handoff.Want, error) bool) {
		var wants []*handoff.Want
		for next, end := int64(0), file.Size(); next < end || len(wants) > 0; wants = wants[1:] {
			var ranges []handoff.Range
			for len(wants) < window/2 && len(wants)+len(ranges) < window && next < end {
				ranges = append(ranges, handoff.Range{Offset: next, Length: min(m.client.MaxLength(), end-next)})
				next += m.client.MaxLength()
			}
			if len(ranges) > 0 {
				more, err := file.Want(ranges...)
				if err != nil {
					yield(nil, err)
					return
				}
				wants = append(wants, more...)
			}
			if err := wants[0].Wait(ctx); err != nil {
				yield(nil, fmt.Errorf("lease %+v: %w", wants[0].Range(), err))
				return
			}
			if !yield(wants[0], nil) {
				return
			}
		}
	}
}
