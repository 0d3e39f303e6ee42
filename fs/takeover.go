// What a server does that is not the first of its mount: it is as the one before it
// was, and answers what that one had taken. And what that one does where it did not
// die, but was told to make room. What is kept is in fs/state.

package fs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"weightfs/fs/state"
	"weightfs/remote"
)

const (
	// notifyResend has the kernel send again what was read and not answered. It
	// knows that from Linux 6.9 on.
	notifyResend = 7
	// resent marks a request's number when it comes once more.
	resent = 1 << 63
	// handleBits is where the number of a server stands in those of its handles.
	handleBits = 40
	// sweptBackings is how far around the last backing file that was recorded those
	// are sought that were not: as many as there can be requests to open.
	sweptBackings = 512
)

// ErrOther says that what was left cannot be taken over: it is of another version,
// which the kernel has an agreement with.
var ErrOther = errors.New("the mount was served by another version")

// Takeover is what a server found of the one before it. The zero value is that of
// the first.
type Takeover struct {
	Inodes   int  // that the kernel knew
	Damaged  int  // records of inodes that could not be read
	Requests int  // that were under way
	Resent   bool // the kernel sent those again; otherwise they were found
	Took     time.Duration
}

// Takeover is what the server took over.
func (s *Server) Takeover() Takeover { return s.device.takeover }

// HandOver has the server answer nothing any more, and returns once no answer is
// half written. Requests that come from then on, and those that it has taken, are
// left to the server that takes over when this process has ended: that is all that
// is left to do.
func (s *Server) HandOver() {
	s.device.pings.close()
	s.device.writes.Lock() // for good
}

// Check tells whether [Serve] could take the mount over from the process that
// serves it meanwhile, which notices nothing. ErrOther says that it cannot.
func (a *Attachment) Check(store remote.Store, cfg Config) error {
	cfg.Logger = nil // Serve will say the same
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	if a.state == nil {
		return fmt.Errorf("%w: nothing was kept", ErrOther)
	}
	left, err := a.peek()
	if err != nil {
		return err
	}
	t := newTree(store, nil, nil, &connection{dir: a.Dir}, nil, cfg)
	return unconnected(-1, t, t.options(cfg), cfg.Logger, nil).agreeAgain(left.Request, left.Reply)
}

// peek looks at what goes with an attachment, which was served before.
func (a *Attachment) peek() (state.Glimpse, error) {
	left, err := state.Peek(a.state)
	err = orOther(err)
	if err == nil && left.Reply == nil {
		err = fmt.Errorf("%w: it has not agreed with the kernel on anything", ErrOther)
	}
	return left, err
}

// openState maps what goes with an attachment, nil where nothing does.
func (a *Attachment) openState() (*state.File, error) {
	if a.state == nil {
		return nil, nil
	}
	keep, err := state.Open(a.state)
	err = errors.Join(orOther(err), a.state.Close())
	a.state = nil
	return keep, err
}

// orOther has the error of a state of another version be ErrOther too.
func orOther(err error) error {
	if errors.Is(err, state.ErrVersion) {
		return fmt.Errorf("%w: %w", ErrOther, err)
	}
	return err
}

// agreeAgain repeats the handshake of the last server. ErrOther says that this one
// would agree to something else.
func (d *device) agreeAgain(request, agreed []byte) error {
	reply, err := d.agree(request)
	if err != nil {
		return fmt.Errorf("repeat the handshake with the kernel: %w", err)
	}
	if !bytes.Equal(reply, agreed) {
		return fmt.Errorf("%w: it has agreed with the kernel on something else", ErrOther)
	}
	return nil
}

// resume has the device be as that of the last server was, which agreed to that.
func (d *device) resume(request, agreed []byte) error {
	if err := d.agreeAgain(request, agreed); err != nil {
		return err
	}
	d.takeover.Inodes, d.takeover.Damaged = d.tree.nodes.restore()
	d.sweepBackings()
	return nil
}

// takeRequests sees to it that what the last server had taken and not answered is
// answered, and returns what has to be for that. No thread of that server's may be
// left. Nothing of this one's may wait for requests yet.
func (d *device) takeRequests(mayResend bool) []state.Slot {
	pending := d.keep.Pending()
	d.takeover.Requests = len(pending)
	if !mayResend || d.resend() != nil {
		return pending
	}
	d.takeover.Resent = true
	for _, s := range pending {
		d.keep.Free(s)
	}
	return nil
}

// resend asks the kernel for what is under way.
func (d *device) resend() error {
	message := fuse.OutHeader{Length: sizeOfReplyHeader, Status: notifyResend}
	return d.write(unsafe.Slice((*byte)(unsafe.Pointer(&message)), sizeOfReplyHeader))
}

// replay answers a request that the last server had taken. That one may have
// answered it too: then the kernel refuses the reply, which does no harm.
func (d *device) replay(s state.Slot) {
	defer d.keep.Free(s)
	req := s.Request()
	switch op := header(req).Opcode; {
	case isForget(op), op == opInterrupt, op == opNotifyReply, op == opInit:
		// A FORGET may have been counted. The others concern that server alone.
	case op == opRelease:
		d.reply(header(req).Unique, fuse.OK, nil) // it may have been counted
	case isRead(req):
		d.replayRead((*fuse.ReadIn)(unsafe.Pointer(header(req))))
	default:
		d.answer(req)
	}
}

// replayRead answers a READ of a handle of its own: if that server has answered it too,
// the handle that it is of may be closed already, and nobody would close it again.
func (d *device) replayRead(in *fuse.ReadIn) {
	defer d.answerDefect(in.Unique)
	file, errno := d.tree.openOld(in)
	if errno == 0 {
		defer file.reader.Close() // which fails where it was closed
	}
	d.answerRead(in, file, errno)
}

// sweepBackings has the kernel forget backing files that a server died too early to
// record, or to close.
func (d *device) sweepBackings() {
	if d.tree.passthrough == nil || d.tree.passthrough.device == nil || !sweepable(d.agreed.Release) {
		return
	}
	recorded := d.tree.nodes.backings()
	last := d.keep.LastBacking()
	for id := max(last-sweptBackings, 1); id <= last+sweptBackings; id++ {
		if !recorded[id] {
			_ = d.closeBacking(id) // most were never there
		}
	}
}

// sweepable tells whether a kernel takes the number of a backing file for nothing
// else, as it does up to Linux 6.18. Later ones may take it for a descriptor.
func sweepable(release string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < 6 || major == 6 && minor <= 18
}

// backings are the ids that nodes have.
func (t *table) backings() map[int32]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := map[int32]bool{}
	for _, n := range t.byID {
		if n.keptBacking != 0 {
			ids[n.keptBacking] = true
		}
	}
	return ids
}

// firstHandle is what the handles of a server begin behind. Those up to it are of
// the servers before.
func firstHandle(keep *state.File) uint64 {
	return (max(keep.Generation(), 1) - 1) << handleBits
}

// isOld tells whether a handle was given out by a server before this one.
func (t *tree) isOld(fh uint64) bool { return fh != 0 && fh <= t.firstHandle }

// openOld opens anew what a READ is of, by a handle that a server before this one gave
// out: its node is one version of a file.
func (t *tree) openOld(in *fuse.ReadIn) (*openFile, unix.Errno) {
	if !t.isOld(in.Fh) {
		return nil, unix.EBADF
	}
	n, entry, ok := t.nodes.node(in.NodeId)
	if !ok { // there was no room for it: the name has to be looked up again
		return nil, unix.ESTALE
	}
	return &openFile{node: n, obj: entry.Object, reader: t.cache.Open(entry.Object), progress: progress{opened: time.Now(), pid: in.Pid}}, 0
}

// releaseOld ends a handle of the last server's that was not used here.
func (t *tree) releaseOld(in *fuse.ReleaseIn) {
	if !t.isOld(in.Fh) || t.passthrough == nil {
		return
	}
	if n, _, ok := t.nodes.node(in.NodeId); ok {
		t.passthrough.close(n)
	}
}
