// Command leaseloop measures what a device makes of a mount's memory: it registers the
// memory of the mount's daemon, whole segments of it, and copies leases to the device
// from where they lie. Beside that it measures the bus, by copies of page-locked memory
// of its own. It knows no tensors, and prints one line of JSON.
//
//	leaseloop [flags] FILE...
//
// The files are on one mount. They are leased once before anything is measured, so that
// the daemon holds them if it has room.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"weightfs/gpuload"
	"weightfs/handoff"
	"weightfs/tests/gpu/device"
	"weightfs/tests/lab"
)

const hugePage = 2 << 20

func main() { lab.Main("leaseloop", run) }

func run(ctx context.Context, args []string) (err error) {
	flags := pflag.NewFlagSet("leaseloop", pflag.ExitOnError)
	name := flags.String("device", "cuda:0", "cpu or cuda:N")
	segment := flags.Int64("segment", 128<<20, "bytes that are registered at a time, a multiple of 2 MiB")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 || *segment <= 0 || *segment%hugePage != 0 {
		return errors.New("needed: files of a mount, and a segment of whole huge pages")
	}
	dev, err := device.Open(*name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	m, err := openMount(ctx, flags.Args())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.client.Close()) }()
	r := lab.InPlace{Bytes: m.bytes, Writable: m.client.Mode() == handoff.Writable}
	if err := m.each(ctx, func(*lease) error { return nil }); err != nil {
		return err
	}
	if r.Ceiling, err = ceiling(dev, m.bytes); err != nil {
		return fmt.Errorf("the bus: %w", err)
	}
	if pinner, ok := dev.(gpuload.Registrar); ok && r.Writable {
		undo, err := register(m.client, pinner, *segment, &r)
		defer undo()
		if err != nil {
			r.Refused = err.Error()
		}
	}
	if err := copyLeases(ctx, dev, m, &r); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// register registers the memory that was used, segment by segment. undo unregisters it.
func register(client *handoff.Client, dev gpuload.Registrar, segment int64, r *lab.InPlace) (undo func(), err error) {
	var registered [][]byte
	undo = func() {
		for _, some := range registered {
			_ = dev.Unregister(some) // Close of the device tells what is left
		}
	}
	start := time.Now()
	size := int64(len(client.Memory()))
	// All of a huge page is resident once some of it was used.
	used := (client.Watermark() + hugePage - 1) / hugePage * hugePage
	for off := int64(0); off < size; off += segment {
		n := min(segment, size-off, used-off)
		if n <= 0 {
			break
		}
		if err := client.WhileWritable(off, n, dev.Register); err != nil {
			return undo, err
		}
		registered = append(registered, client.Memory()[off:off+n])
		r.Segments++
		r.RegisteredBytes += n
	}
	r.RegisterSeconds = time.Since(start).Seconds()
	return undo, nil
}
