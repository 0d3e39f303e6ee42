package fs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"weightfs/fs/state"
)

// Attachment is an open /dev/fuse that is mounted and that nobody serves yet. Who
// mounts need not be who serves: see [Attachment.Send]. Whoever looks into the
// mount waits until [Serve] answers.
//
// The mount lives as long as one process has the descriptor open. With
// [Attachment.Keep], whoever has it can also have the mount served by one process
// after the other: what a process leaves undone, the next does.
type Attachment struct {
	// Dir is where the tree will be seen, absolute and free of links; "" where
	// somebody else mounted, and unmounts.
	Dir string

	fd     int
	helper bool       // mounted by fusermount3, which then unmounts too
	entry  mountEntry // zero where it was not mounted here
	state  *os.File   // what the processes leave to one another; nil: there is one alone
}

// Attach mounts at dir, an existing directory, or takes the descriptor N of a
// mounted /dev/fuse for a dir /dev/fd/N. A dead mount of ours at dir is taken away
// first. Of cfg it uses what the kernel needs to know. On an error nothing is left
// mounted; otherwise [Serve] or [Attachment.Send] comes next.
func Attach(dir string, cfg Config) (*Attachment, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if n, ok := strings.CutPrefix(dir, "/dev/fd/"); ok {
		fd, err := strconv.Atoi(n)
		if err != nil || fd < 3 {
			return nil, fmt.Errorf("mountpoint %s: want a descriptor of 3 or above", dir)
		}
		unix.CloseOnExec(fd)
		return &Attachment{fd: fd}, nil
	}
	a := &Attachment{}
	if a.Dir, err = checkMountpoint(dir, cfg.Logger); err != nil {
		return nil, err
	}
	a.fd, err = mountDirect(a.Dir, cfg)
	if errors.Is(err, unix.EPERM) {
		a.helper = true
		a.fd, err = mountByHelper(a.Dir, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("mount at %s: %w", a.Dir, err)
	}
	if a.entry, _, err = mountAt(a.Dir); err != nil {
		return nil, errors.Join(err, a.Detach(), unix.Close(a.fd))
	}
	return a, nil
}

// Detach takes the mount out of the tree where it is still there and was made by
// this process. Its descriptor is left as it is.
func (a *Attachment) Detach() error {
	if a.entry == (mountEntry{}) {
		return nil
	}
	return (&connection{dir: a.Dir, helper: a.helper, entry: a.entry, known: true}).detach()
}

// Keep has what a process that serves the mount knows outlive it, in memory that
// goes with the attachment. It is called before the mount is served. Where that is
// kept already, nothing changes.
func (a *Attachment) Keep() (err error) {
	if a.state != nil {
		return nil
	}
	a.state, err = state.Create()
	return err
}

// Source is what is shown as the mounted device, or "" where that is not known.
func (a *Attachment) Source() string { return a.entry.source }

// Close closes the descriptors. If no other process has them, the mount is dead.
func (a *Attachment) Close() error {
	err := unix.Close(a.fd)
	if a.state != nil {
		err = errors.Join(err, a.state.Close())
	}
	return err
}

// sentAttachment is what goes with the descriptors of an attachment. Paths are
// bytes: a string that is not UTF-8 would be another one behind JSON.
type sentAttachment struct {
	Dir          []byte
	Helper       bool
	Major, Minor uint32
	Source       []byte
	Mounted      bool // the last three are known
}

// maxSentAttachment bounds the message of an attachment, in bytes: two paths in
// base64, and some more.
const maxSentAttachment = 16 << 10

// sent is what is to be known of an attachment.
func (a *Attachment) sent() sentAttachment {
	return sentAttachment{[]byte(a.Dir), a.helper, a.entry.major, a.entry.minor, []byte(a.entry.source), a.entry != mountEntry{}}
}

// be has an attachment be one that was sent.
func (a *Attachment) be(sent sentAttachment) {
	a.Dir, a.helper = string(sent.Dir), sent.Helper
	if sent.Mounted {
		a.entry = mountEntry{sent.Major, sent.Minor, a.Dir, fsType, string(sent.Source)}
	}
}

// Send passes the attachment on to whoever calls [Receive] at the other end of a
// socket of [SocketPair]. The mount is then served, and unmounted at its end, by
// that process; this one can Detach it if that never comes to be. It keeps its own
// descriptors until Close.
func (a *Attachment) Send(to *net.UnixConn) error {
	text, err := json.Marshal(a.sent())
	if err != nil {
		return fmt.Errorf("pass on /dev/fuse: %w", err)
	}
	fds := []int{a.fd}
	if a.state != nil {
		fds = append(fds, int(a.state.Fd()))
	}
	if _, _, err = to.WriteMsgUnix(text, unix.UnixRights(fds...), nil); err != nil {
		return fmt.Errorf("pass on /dev/fuse: %w", err)
	}
	return nil
}

// Receive waits for an attachment that was sent.
func Receive(from *net.UnixConn) (*Attachment, error) {
	text, fds, err := receiveDescriptors(from)
	if err != nil {
		return nil, fmt.Errorf("receive /dev/fuse: %w", err)
	}
	a := &Attachment{fd: fds[0]}
	if len(fds) > 1 {
		a.state = os.NewFile(uintptr(fds[1]), "weightfs-state")
	}
	var sent sentAttachment
	if err := json.Unmarshal(text, &sent); err != nil {
		return nil, errors.Join(fmt.Errorf("receive /dev/fuse: %w", err), a.Close())
	}
	a.be(sent)
	return a, nil
}

// SocketPair returns the ends of a socket over which descriptors can be sent: ours,
// and one for a child to inherit.
func SocketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	theirs = os.NewFile(uintptr(pair[1]), "socket")
	file := os.NewFile(uintptr(pair[0]), "socket")
	defer file.Close() // FileConn has a duplicate
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("socket pair: %w", err), theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// receiveDescriptors takes a message of at least one byte, and the one or two
// descriptors that come with it, from a socket.
func receiveDescriptors(from *net.UnixConn) (message []byte, fds []int, err error) {
	message, oob := make([]byte, maxSentAttachment), make([]byte, unix.CmsgSpace(8))
	n, oobn, _, _, err := from.ReadMsgUnix(message, oob)
	if err != nil {
		return nil, nil, err
	}
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || n == 0 || len(controls) != 1 {
		return nil, nil, fmt.Errorf("got %d control messages: %w", len(controls), errors.Join(err, unix.EPROTO))
	}
	fds, err = unix.ParseUnixRights(&controls[0])
	if err != nil || len(fds) == 0 {
		return nil, nil, fmt.Errorf("got %d descriptors: %w", len(fds), errors.Join(err, unix.EPROTO))
	}
	return message[:n], fds, nil
}
