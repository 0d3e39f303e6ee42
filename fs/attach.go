package fs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Attachment is an open /dev/fuse that is mounted and that nobody serves yet. Who
// mounts need not be who serves: see [Attachment.Send]. Whoever looks into the
// mount waits until [Serve] answers.
type Attachment struct {
	// Dir is where the tree will be seen, absolute and free of links; "" where
	// somebody else mounted, and unmounts.
	Dir string

	fd     int
	helper bool       // mounted by fusermount3, which then unmounts too
	entry  mountEntry // zero where it was not mounted here
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

// How the mount of a sent attachment is unmounted, the first byte of its message.
const (
	byRoot   = 'r'
	byHelper = 'h'
)

// Send passes the attachment on to whoever calls [Receive] at the other end of a
// socket of [SocketPair]. The mount is then served, and unmounted at its end, by
// that process; this one can Detach it if that never comes to be.
func (a *Attachment) Send(to *net.UnixConn) error {
	message := []byte{byRoot}
	if a.helper {
		message[0] = byHelper
	}
	_, _, err := to.WriteMsgUnix(append(message, a.Dir...), unix.UnixRights(a.fd), nil)
	if err = errors.Join(err, unix.Close(a.fd)); err != nil {
		return fmt.Errorf("pass on /dev/fuse: %w", err)
	}
	return nil
}

// Receive waits for an attachment that was sent.
func Receive(from *net.UnixConn) (*Attachment, error) {
	message, fd, err := receiveDescriptor(from)
	if err != nil {
		return nil, fmt.Errorf("receive /dev/fuse: %w", err)
	}
	return &Attachment{Dir: string(message[1:]), fd: fd, helper: message[0] == byHelper}, nil
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

// receiveDescriptor takes a message of at least one byte, and the one descriptor
// that comes with it, from a socket.
func receiveDescriptor(from *net.UnixConn) (message []byte, fd int, err error) {
	message, oob := make([]byte, 1+unix.PathMax), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := from.ReadMsgUnix(message, oob)
	if err != nil {
		return nil, -1, err
	}
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || n == 0 || len(controls) != 1 {
		return nil, -1, fmt.Errorf("got %d control messages: %w", len(controls), errors.Join(err, unix.EPROTO))
	}
	fds, err := unix.ParseUnixRights(&controls[0])
	if err != nil || len(fds) != 1 {
		return nil, -1, fmt.Errorf("got %d descriptors: %w", len(fds), errors.Join(err, unix.EPROTO))
	}
	return message[:n], fds[0], nil
}
