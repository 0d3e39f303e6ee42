package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weightfs/prefetch/arena"
)

// ErrGone says that the connection has ended: the daemon did, or cut it off. What
// was leased and not yet given back may have been replaced.
var ErrGone = errors.New("handoff: the connection has ended")

// Options say how a client connects. The zero value asks for read-only memory.
type Options struct {
	// Mode is what is asked for; [Client.Mode] is what was granted.
	Mode Mode
}

// Client is a connection to a mount's daemon, with its memory mapped. All methods
// are safe for concurrent use.
type Client struct {
	conn    *net.UnixConn
	welcome welcome
	memory  []byte
	ended   chan struct{} // closed when nothing more is received

	mu    sync.Mutex
	tag   uint32                   // guarded by mu, as are all below
	opens map[uint32]chan<- answer // by tag
	wants map[uint32]*Want         // by tag: wanted or leased
	high  int64                    // the watermark
}

// answer is the one to an OPEN.
type answer struct {
	opened
	text string
}

// Dial connects to the socket of a mount ([Find] knows it) and maps its memory.
func Dial(ctx context.Context, socket string, opts Options) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unixpacket", socket)
	if err != nil {
		return nil, fmt.Errorf("hand-off: %w", err)
	}
	c := &Client{conn: conn.(*net.UnixConn), ended: make(chan struct{}), opens: map[uint32]chan<- answer{}, wants: map[uint32]*Want{}}
	if err := c.greet(ctx, opts.Mode); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("hand-off at %s: %w", socket, err)
	}
	go c.receive()
	return c, nil
}

// greet exchanges HELLO and WELCOME, and maps the memory.
func (c *Client) greet(ctx context.Context, mode Mode) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	h := hello{Oldest: Version, Newest: Version, Mode: mode}
	copy(h.Magic[:], magic)
	// Who is refused is answered without being asked.
	_, sendErr := c.conn.Write(appendFields(header(typeHello, 0), h))
	message, rights := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4))
	n, nRights, _, _, err := c.conn.ReadMsgUnix(message, rights)
	if err != nil {
		return errors.Join(context.Cause(ctx), sendErr, err)
	}
	kind, _, body, err := parseHeader(message[:n])
	if err == nil && kind != typeWelcome {
		err = fmt.Errorf("%w: type %d for a welcome", errProtocol, kind)
	}
	if err == nil {
		c.welcome, err = parseWelcome(body)
	}
	fd, fdErr := oneDescriptor(rights[:nRights])
	if fd >= 0 {
		defer unix.Close(fd)
	}
	switch {
	case err != nil:
		return err
	case c.welcome.Errno != 0:
		return syscall.Errno(c.welcome.Errno)
	case fdErr != nil:
		return fdErr
	case c.welcome.Version != Version || c.welcome.MaxLength == 0 || c.welcome.MaxWants == 0:
		return fmt.Errorf("%w: %+v", errProtocol, c.welcome)
	}
	c.high = int64(c.welcome.Watermark)
	c.memory, err = mapMemory(fd, int64(c.welcome.Size))
	return err
}

// oneDescriptor takes the descriptor out of a control message; -1 where there is
// none.
func oneDescriptor(rights []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("%w: %d descriptors: %v", errProtocol, len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("%w: %d descriptors: %v", errProtocol, len(fds), err)
	}
	unix.CloseOnExec(fds[0])
	return fds[0], nil
}

// mapMemory maps the file, whose size must be what was told: a page beyond its end
// would be a SIGBUS.
func mapMemory(fd int, size int64) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if size <= 0 || st.Size < size {
		return nil, fmt.Errorf("%w: %d bytes of memory in a file of %d", errProtocol, size, st.Size)
	}
	return arena.MapShared(fd, size, unix.PROT_READ)
}

// Close ends the connection and unmaps the memory: no Slices are valid any more.
func (c *Client) Close() error {
	_ = c.conn.Close()
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	memory := c.memory
	c.memory = nil
	return arena.Unmap(memory)
}

// Mode is what was granted.
func (c *Client) Mode() Mode { return c.welcome.Mode }

// Memory is all of the mapping, which can be read. What lies beyond the watermark is
// not to be touched.
func (c *Client) Memory() []byte { return c.memory }

// Offset is where some memory of a lease lies in Memory.
func (c *Client) Offset(memory []byte) int64 {
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(memory))) - uintptr(unsafe.Pointer(unsafe.SliceData(c.memory))))
}

// WhileWritable calls use with a range of whole pages of the mapping, which can be
// written meanwhile, as a device wants memory that it page-locks. Nothing is to be
// written. The pages stay page-locked when the range can only be read again. It fails
// unless the Mode is Writable.
func (c *Client) WhileWritable(off, n int64, use func(memory []byte) error) error {
	memory := c.memory[off : off+n : off+n]
	if err := unix.Mprotect(memory, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("make [%d,+%d) of the memory writable: %w", off, n, err)
	}
	return errors.Join(use(memory), unix.Mprotect(memory, unix.PROT_READ))
}

// Watermark is the end of the memory that was ever used, as of the last answer.
func (c *Client) Watermark() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.high
}

// MaxLength is the longest range of a [Want], in bytes.
func (c *Client) MaxLength() int64 { return int64(c.welcome.MaxLength) }

// MaxWants is how many ranges may be wanted and leased at once.
func (c *Client) MaxWants() int { return int(c.welcome.MaxWants) }

// Alive is nil while the connection is open: all that was read of leases before the
// call was right then.
func (c *Client) Alive() error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return err
	}
	poll := []unix.PollFd{{Events: unix.POLLRDHUP}}
	controlErr := raw.Control(func(fd uintptr) {
		poll[0].Fd = int32(fd)
		for {
			if _, err = unix.Poll(poll, 0); err != unix.EINTR {
				return
			}
		}
	})
	if err = errors.Join(err, controlErr); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	if poll[0].Revents != 0 {
		return ErrGone
	}
	return nil
}

// Wanted is how many ranges are wanted or leased.
func (c *Client) Wanted() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.wants)
}

// send sends a message. Without an error the connection was still open, and no
// lease had been taken away.
func (c *Client) send(message []byte) error {
	if _, err := c.conn.Write(message); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return nil
}

// receive takes the server's messages until the connection ends, and then ends all
// waits.
func (c *Client) receive() {
	defer close(c.ended)
	message := make([]byte, maxMessage+1)
	for {
		n, err := c.conn.Read(message)
		if err == nil {
			err = c.handle(message[:n])
		}
		if err != nil {
			_ = c.conn.CloseWrite() // a server that breaks the protocol
			c.endAll(fmt.Errorf("%w: %w", ErrGone, err))
			return
		}
	}
}

func (c *Client) endAll(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wants {
		w.finish(nil, err)
	}
	for _, ch := range c.opens {
		close(ch)
	}
	c.wants, c.opens = nil, nil // none is added any more
}

func (c *Client) handle(message []byte) error {
	kind, tag, body, err := parseHeader(message)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch kind {
	case typeOpened:
		o, text, err := parseOpened(body)
		ch, ok := c.opens[tag]
		if err != nil || !ok {
			return fmt.Errorf("%w: an answer to tag %d: %v", errProtocol, tag, err)
		}
		delete(c.opens, tag)
		ch <- answer{o, text}
		return nil
	case typeLease:
		l, pieces, text, err := parseLease(body, int64(c.welcome.Size))
		w, ok := c.wants[tag]
		if err != nil || !ok || w.over() {
			return fmt.Errorf("%w: a lease of tag %d: %v", errProtocol, tag, err)
		}
		c.high = max(c.high, int64(l.Watermark))
		if l.Errno != 0 {
			delete(c.wants, tag)
			w.finish(nil, fmt.Errorf("%s: %w", text, syscall.Errno(l.Errno)))
			return nil
		}
		return w.lease(pieces)
	}
	return fmt.Errorf("%w: type %d", errProtocol, kind)
}

// RemoteFile is an open version of an object.
type RemoteFile struct {
	client   *Client
	number   uint32
	size     int64
	version  string
	inode    uint64
	byKernel bool
}

// Size is the object's, in bytes.
func (f *RemoteFile) Size() int64 { return f.size }

// Inode is the number that stat shows through the mount: a file that was opened
// there and has the same one is of this version.
func (f *RemoteFile) Inode() uint64 { return f.inode }

// ByKernel says that the kernel reads the file by itself, from where it is: reading
// the mount is as good.
func (f *RemoteFile) ByKernel() bool { return f.byKernel }

// Version tells this version of the object from others.
func (f *RemoteFile) Version() string { return f.version }

// Open opens an object by its path within the mount. The error is an errno, as
// open(2) of the path would give it, or ErrGone.
func (c *Client) Open(ctx context.Context, path string) (*RemoteFile, error) {
	if _, err := parseOpen([]byte(path)); err != nil {
		return nil, fmt.Errorf("open %q: %w", path, syscall.EINVAL)
	}
	answered := make(chan answer, 1)
	c.mu.Lock()
	if c.opens == nil {
		c.mu.Unlock()
		return nil, ErrGone
	}
	c.tag++
	tag := c.tag
	c.opens[tag] = answered
	c.mu.Unlock()
	if err := c.send(append(header(typeOpen, tag), path...)); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	select {
	case a, ok := <-answered:
		switch {
		case !ok:
			return nil, fmt.Errorf("open %s: %w", path, ErrGone)
		case a.Errno != 0:
			return nil, fmt.Errorf("open %s: %w", path, syscall.Errno(a.Errno))
		}
		return &RemoteFile{client: c, number: a.File, size: int64(a.Size), version: a.text, inode: a.Inode, byKernel: a.Flags&flagByKernel != 0}, nil
	case <-ctx.Done():
		// Its answer is dropped, and the file stays open as long as the connection.
		return nil, fmt.Errorf("open %s: %w", path, context.Cause(ctx))
	}
}

// Close ends the file. What is wanted or leased of it stays so.
func (f *RemoteFile) Close() error { return f.client.send(header(typeClose, f.number)) }
