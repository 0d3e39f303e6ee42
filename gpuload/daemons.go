package gpuload

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"

	"weightfs/handoff"
)

// daemons are a source's connections to the daemons of mounts, one for each mount:
// by these, files are leased and not read. Why a mount is read is told once. Safe
// for concurrent use.
type daemons struct {
	logger *slog.Logger
	asked  bool // to be connected to at all
	mode   handoff.Mode

	mu          sync.Mutex
	mounts      *handoff.Mounts        // guarded by mu, as are all below; read when first needed
	connections map[string]*connection // by socket
	told        bool
	toldPinning bool
}

// connection is a client, or why there is none.
type connection struct {
	client *handoff.Client
	err    error
}

func newDaemons(cfg SourceConfig) *daemons {
	d := &daemons{logger: cfg.Logger, asked: !cfg.ThroughFUSE, connections: map[string]*connection{}}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Register {
		d.mode = handoff.Writable
	}
	return d
}

// blob is a file that may be leased, if it lies on a mount whose daemon lets us, or
// the file as it is.
func (d *daemons) blob(ctx context.Context, path string, b *pathBlob) blob {
	if !b.mounted || !d.asked {
		return b
	}
	client, place, err := d.find(ctx, path)
	switch {
	case errors.Is(err, handoff.ErrNoMount): // another file system's
		return b
	case err != nil && ctx.Err() != nil: // nobody waits for it
		return b
	case err != nil:
		d.tell(path, err)
		return b
	}
	return &leaseBlob{pathBlob: b, client: client, path: place.Path, daemons: d}
}

// find finds the daemon of a file's mount, and connects to it.
func (d *daemons) find(ctx context.Context, path string) (*handoff.Client, handoff.Place, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mounts == nil {
		mounts, err := handoff.ReadMounts()
		if err != nil {
			return nil, handoff.Place{}, err
		}
		d.mounts = mounts
	}
	place, err := d.mounts.Find(path)
	if err != nil {
		return nil, place, err
	}
	client, err := d.connect(ctx, place.Socket)
	return client, place, err
}

// connect connects to a daemon where no call before has, or has failed to. mu is held.
func (d *daemons) connect(ctx context.Context, socket string) (*handoff.Client, error) {
	at := d.connections[socket]
	if at == nil {
		at = &connection{}
		at.client, at.err = handoff.Dial(ctx, socket, handoff.Options{Mode: d.mode})
		if at.err == nil || ctx.Err() == nil { // otherwise it is the caller who gave up
			d.connections[socket] = at
		}
	}
	return at.client, at.err
}

// tell says once why a mount is read.
func (d *daemons) tell(path string, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told {
		return
	}
	d.told = true
	log := d.logger.Warn
	if errors.Is(why, fs.ErrNotExist) || errors.Is(why, syscall.ECONNREFUSED) {
		log = d.logger.Info // the daemon does not share its memory
	}
	log("the mount is read through FUSE, and not from its daemon's memory", "folder", filepath.Dir(path), "why", why)
}

// tellPinning says once why bytes are copied to staging first.
func (d *daemons) tellPinning(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.toldPinning {
		d.toldPinning = true
		d.logger.Info("what a mount's daemon holds is copied to page-locked memory first", "why", why)
	}
}

// Close ends the connections, and with them what is leased.
func (d *daemons) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, at := range d.connections {
		if at.client != nil {
			errs = append(errs, at.client.Close())
		}
	}
	clear(d.connections)
	return errors.Join(errs...)
}
