package fs

import (
	"context"
	"log/slog"
	"os"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"weightfs/remote"
)

// passthrough lets the kernel read files of this host by itself: an open file
// is given a backing file, and its reads and mappings go there at the speed of
// the file's own file system. Linux 6.9 and root are needed.
//
// Whether a file is read so is decided at its first open and holds while it is
// open: the kernel refuses to mix the two. One file's refusal says nothing of
// the next.
type passthrough struct {
	files  remote.FileOpener
	nodes  *table // keeps how files are read
	logger *slog.Logger
	device *device // nil where the kernel has no passthrough; set by begin
	warn   sync.Once
}

// backing is the passthrough state of a node.
type backing struct {
	mu    sync.Mutex
	opens int      // guarded by mu; handles of the node
	id    int32    // guarded by mu; 0: the daemon serves the reads
	file  *os.File // guarded by mu; nil like id 0, and where the last server opened it
}

// backingOutcome says how a file was opened.
type backingOutcome uint8

const (
	backingOff     backingOutcome = iota // the kernel has no passthrough
	backingUsed                          // the kernel reads the file
	backingRefused                       // this file cannot be passed through
)

// begin learns from the handshake, before the first request, what was agreed
// with the kernel.
func (p *passthrough) begin(d *device, capabilities uint64) {
	if capabilities&fuse.CAP_PASSTHROUGH == 0 {
		p.logger.Info("the kernel has no passthrough: local files are read through the daemon")
		return
	}
	p.device = d
}

// open counts one more handle of the node and returns the id of its backing file
// where the outcome is backingUsed. An error is the store's and opens nothing; every
// nil error needs a close.
func (p *passthrough) open(ctx context.Context, n *node, obj remote.Object) (int32, backingOutcome, error) {
	if p.device == nil {
		return 0, backingOff, nil
	}
	file, err := p.files.OpenFile(ctx, obj)
	if err != nil {
		return 0, backingOff, err
	}
	b := &n.backing
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { p.nodes.keepBacking(n, b.opens, b.id) }()
	if b.opens > 0 {
		b.opens++
		// Opened to see that this version is still the current one.
		p.discard(file)
		return b.id, outcomeOf(b.id), nil
	}
	id, err := p.device.openBacking(file)
	b.opens = 1
	if err != nil {
		p.refused(obj, err)
		p.discard(file)
		return 0, backingRefused, nil
	}
	b.id, b.file = id, file
	return id, backingUsed, nil
}

func outcomeOf(id int32) backingOutcome {
	if id == 0 {
		return backingRefused
	}
	return backingUsed
}

// refused logs the first refusal; all are counted.
func (p *passthrough) refused(obj remote.Object, err error) {
	p.warn.Do(func() {
		p.logger.Warn("no passthrough for a file, which is read through the daemon; further ones are only counted",
			"file", obj.Key, "err", err)
	})
}

// close takes back one handle. The last one ends the mode of the node.
func (p *passthrough) close(n *node) {
	b := &n.backing
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.device == nil || b.opens == 0 {
		return
	}
	b.opens--
	if b.opens > 0 || b.id == 0 {
		p.nodes.keepBacking(n, b.opens, b.id)
		return
	}
	p.nodes.keepBacking(n, 0, 0) // first: one that is not recorded is swept up
	// After an unmount the connection has dropped the backing file by itself.
	if err := p.device.closeBacking(b.id); err != nil {
		p.logger.Debug("cannot unregister a backing file", "err", err)
	}
	if b.file != nil {
		p.discard(b.file)
	}
	b.id, b.file = 0, nil
}

// discard closes a file that was only read.
func (p *passthrough) discard(file *os.File) {
	if err := file.Close(); err != nil {
		p.logger.Debug("cannot close a backing file", "err", err)
	}
}
