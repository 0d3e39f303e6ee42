package keeper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"weightfs/fs"
)

// What is said over a [Link]. Each message is one byte, and text behind it.
const (
	SourceIsOpen = 's' // with what is known of it; answered by an attachment
	MountAnswers = 'm' // with the numbers of two threads, which live as long as the process
	MountEnded   = 'e' // as it was told to, or by an unmount; answered by Understood
	Understood   = 'k'
	Terminate    = 't' // said to who serves: as SIGTERM
	HandOver     = 'h' // said to who serves: to answer nothing more, and to end
	Prepared     = 'p' // by who is to serve after that, once it could; answered by TakeOver
	TakeOver     = 'g' // the one before has ended
	Refused      = 'r' // by who cannot take over, with the reason

	attachment = '{' // how the message of an attachment begins
)

// Link is the socket between a process that holds a mount, or makes it, and one
// that serves it. One goroutine at a time hears; many may say.
type Link struct {
	conn *net.UnixConn
	mu   sync.Mutex
}

// NewLink returns the ends of a link: ours, and one for a child to inherit.
func NewLink() (ours *Link, theirs *os.File, err error) {
	conn, theirs, err := fs.SocketPair()
	if err != nil {
		return nil, nil, err
	}
	return &Link{conn: conn}, theirs, nil
}

// LinkOver is a link over a socket that keeps messages whole, which it owns.
func LinkOver(conn *net.UnixConn) *Link { return &Link{conn: conn} }

// InheritLink is the end of a link that this process inherited as descriptor fd,
// which no child inherits from then on.
func InheritLink(fd int) (*Link, error) {
	file := os.NewFile(uintptr(fd), "link")
	defer file.Close() // FileConn has a duplicate
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("descriptor %d is no such socket", fd), conn.Close())
	}
	return &Link{conn: socket}, nil
}

// Say sends a message.
func (l *Link) Say(what byte, text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.conn.Write(append([]byte{what}, text...))
	return err
}

// Hear waits for a message. An attachment is returned as such, and what is then 0.
func (l *Link) Hear() (what byte, text string, mount *fs.Attachment, err error) {
	what, err = l.peek()
	if err != nil {
		return 0, "", nil, err
	}
	if what == attachment {
		mount, err = fs.Receive(l.conn)
		return 0, "", mount, err
	}
	message := make([]byte, 4<<10)
	n, err := l.conn.Read(message)
	if err != nil {
		return 0, "", nil, err
	}
	return what, string(message[1:n]), nil, nil
}

// peek waits for a message, and returns its first byte.
func (l *Link) peek() (what byte, err error) {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	first, n := make([]byte, 1), 0
	readErr := raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), first, unix.MSG_PEEK)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err = errors.Join(readErr, err); err == nil && n == 0 {
		err = net.ErrClosed
	}
	return first[0], err
}

// Pass sends an attachment.
func (l *Link) Pass(mount *fs.Attachment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return mount.Send(l.conn)
}

// Close ends the link. Who hears at its other end gets an error.
func (l *Link) Close() error { return l.conn.Close() }
