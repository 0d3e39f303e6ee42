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

// A file on a mount of weightfs is read from the memory of the mount's daemon, which
// this process maps: no FUSE, and no copy but the one onto the device. What stands in
// the way is told once for a folder, and then the mount is read.

// doors are the connections to the daemons of mounts, one for each mount. Safe for
// concurrent use.
type doors struct {
	logger *slog.Logger

	mu      sync.Mutex
	clients map[string]*door // guarded by mu; by socket
	told    bool             // guarded by mu
}

// door is a connection, or why there is none.
type door struct {
	client *handoff.Client
	err    error
}

func newDoors(logger *slog.Logger) *doors {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &doors{logger: logger, clients: map[string]*door{}}
}

// open wraps a file that lies on a mount in its leases, where they are to be had.
func (d *doors) open(ctx context.Context, path string, b *pathBlob) blob {
	if !b.mounted {
		return b
	}
	place, err := handoff.Find(path)
	if errors.Is(err, handoff.ErrNoMount) {
		return b // another file system's
	}
	var file *handoff.RemoteFile
	if err == nil {
		file, err = d.openAt(ctx, place)
	}
	switch {
	case err == nil && file.ByKernel():
	case err == nil && (file.Inode() != b.stat.Ino || file.Size() != b.stat.Size):
		err = errors.New("it was replaced meanwhile")
	case err == nil:
		return &leaseBlob{pathBlob: b, file: file, ahead: map[int64]*handoff.Want{}}
	}
	if err != nil {
		d.tell(path, err)
	}
	if file != nil {
		_ = file.Close() // the connection has ended otherwise
	}
	return b
}

// openAt opens a file of a mount, whose connection is made by the first call.
func (d *doors) openAt(ctx context.Context, place handoff.Place) (*handoff.RemoteFile, error) {
	d.mu.Lock()
	at := d.clients[place.Socket]
	if at == nil {
		at = &door{}
		at.client, at.err = handoff.Dial(ctx, place.Socket, handoff.Options{})
		d.clients[place.Socket] = at
	}
	d.mu.Unlock()
	if at.err != nil {
		return nil, at.err
	}
	return at.client.Open(ctx, place.Path)
}

// tell says once why a mount is read.
func (d *doors) tell(path string, why error) {
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

func (d *doors) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, at := range d.clients {
		if at.client != nil {
			errs = append(errs, at.client.Close())
		}
	}
	clear(d.clients)
	return errors.Join(errs...)
}
