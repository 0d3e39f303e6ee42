package gpuload

import (
	"context"
	"errors"

	"weightfs/handoff"
)

// leaseBlob is a file of a mount, of which a load has ranges leased. Everything else
// is read from the mount: headers, and what the page cache holds, which is not in the
// daemon's memory, or twice.
type leaseBlob struct {
	*pathBlob
	client  *handoff.Client
	path    string // within the mount
	daemons *daemons
}

// errReplaced says that a name leads to another version than the one that was opened.
var errReplaced = errors.New("it was replaced meanwhile")

// open opens the file with the daemon. It is nil where the mount is to be read, which
// has been told then.
func (b *leaseBlob) open(ctx context.Context) *handoff.RemoteFile {
	file, err := b.client.Open(ctx, b.path)
	if err == nil && (file.Inode() != b.stat.Ino || file.Size() != b.stat.Size) {
		err = errReplaced
	}
	if err == nil && !file.ByKernel() {
		return file
	}
	if file != nil {
		_ = file.Close() // fails where the daemon has gone
	}
	if err != nil && ctx.Err() == nil {
		b.tell(err)
	}
	return nil
}

func (b *leaseBlob) tell(why error) { b.daemons.tell(b.buffered.Name(), why) }

func (b *leaseBlob) piece() int64 {
	if b.inMemory() {
		return b.pathBlob.piece()
	}
	return b.client.MaxLength()
}

// leaseBody copies a part from its lease. What it cannot, since the daemon has gone or
// has cut the connection off, it reads from the mount.
type leaseBody struct {
	ctx      context.Context
	blob     *leaseBlob
	slices   [][]byte // not copied yet
	off, end int64
	mount    body // what is read instead, from off on; nil while the lease is good
}

func newLeaseBody(ctx context.Context, b *leaseBlob, w *handoff.Want) *leaseBody {
	r := w.Range()
	return &leaseBody{ctx: ctx, blob: b, slices: append([][]byte(nil), w.Slices()...), off: r.Offset, end: r.Offset + r.Length}
}

func (r *leaseBody) splits() bool { return false }

// next copies the next n bytes, and makes sure of them.
func (r *leaseBody) next(buf []byte, n int) error {
	if r.mount == nil {
		for done := 0; done < n; {
			got := copy(buf[done:n], r.slices[0])
			done += got
			if r.slices[0] = r.slices[0][got:]; len(r.slices[0]) == 0 {
				r.slices = r.slices[1:]
			}
		}
		if r.blob.client.Alive() == nil {
			r.off += int64(n)
			return nil
		}
		// It may have been replaced while it was copied.
		var err error
		if r.mount, err = r.blob.read(r.ctx, r.off, r.end-r.off); err != nil {
			return err
		}
	}
	return r.mount.next(buf, n)
}

func (r *leaseBody) Close() error {
	if r.mount != nil {
		return r.mount.Close()
	}
	return nil
}
