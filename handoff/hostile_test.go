package handoff_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weightfs/handoff"
	"weightfs/handoff/handofftest"
)

const mib = 1 << 20

// message is a raw one: type, tag, and 32-bit words.
func message(kind uint16, tag uint32, words ...uint32) []byte {
	b := binary.LittleEndian.AppendUint16(nil, kind)
	b = binary.LittleEndian.AppendUint32(append(b, 0, 0), tag)
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func hello() []byte {
	return append(append(message(1, 0), "weightfs\x01\x00\x01\x00\x00\x00\x00\x00"...), 0, 0, 0, 0)
}

// raw connects without a client. With greeted it says hello.
func raw(t *testing.T, s *handofftest.Server, greeted bool) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: s.Socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if greeted {
		if _, err := conn.Write(hello()); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1000)); err != nil || n != 64 {
			t.Fatalf("a welcome of %d bytes: %v", n, err)
		}
	}
	return conn
}

// cutOff waits until the server ends the connection.
func cutOff(conn *net.UnixConn) error {
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	for {
		_, err := conn.Read(make([]byte, 1<<14))
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Whoever breaks the protocol is cut off, and nobody else notices.
func TestLiarsAreCutOff(t *testing.T) {
	s := handofftest.Start(t, 32*mib, map[string][]byte{"a": make([]byte, 8*mib)}, nil)
	open := append(message(3, 1), 'a')
	for name, messages := range map[string][][]byte{
		"no hello":                   {open},
		"another magic":              {append(message(1, 0), "weightXX\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)},
		"a version of the future":    {append(message(1, 0), "weightfs\x09\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)},
		"hello twice":                {hello(), hello()},
		"too short":                  {hello(), {1, 2, 3}},
		"too long":                   {hello(), append(message(3, 1), make([]byte, 1<<15)...)},
		"an unknown type":            {hello(), message(99, 1)},
		"a server's message":         {hello(), message(4, 1)},
		"a path that leads out":      {hello(), append(message(3, 1), "../a"...)},
		"a file that is not open":    {hello(), message(5, 0, 1, 77, 0, 0, 5, 0)},
		"a range beyond the end":     {hello(), open, message(5, 0, 1, 1, 8*mib-1, 0, 2, 0)},
		"an offset that overflows":   {hello(), open, message(5, 0, 1, 1, 0xffffffff, 0xffffffff, 2, 0)},
		"a range too long":           {hello(), open, message(5, 0, 1, 1, 0, 0, 8*mib, 0)},
		"an empty range":             {hello(), open, message(5, 0, 1, 1, 0, 0, 0, 0)},
		"a tag twice":                {hello(), open, message(5, 0, 1, 1, 0, 0, 5, 0, 1, 1, 0, 0, 5, 0)},
		"half an entry":              {hello(), open, message(5, 0, 1, 1, 0, 0, 5)},
		"a lease that was not given": {hello(), message(7, 0, 5)},
		"a file closed twice":        {hello(), open, message(11, 1), message(11, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			conn := raw(t, s, false)
			for _, m := range messages {
				if _, err := conn.Write(m); err != nil && !errors.Is(err, syscall.EPIPE) {
					t.Fatal(err)
				}
				if string(m) == string(open) { // its answer comes before what follows
					_, _ = conn.Read(make([]byte, 1000))
					_, _ = conn.Read(make([]byte, 1000))
				}
			}
			if err := cutOff(conn); err != nil {
				t.Error(err)
			}
		})
	}
	s.Until(t, "all are gone", func(st handoff.Stats) bool { return len(st.Clients) == 0 && st.Held == 0 })
	handofftest.Connected(t, goClient(s.Socket)).Ask(handofftest.Digest(make([]byte, 8*mib)), "read a 0 8388608")
}

// Before the memory of a connection that has ended is used again, its descriptor says so,
// whoever ended it; while it lives, it does not.
func TestReuseIsTold(t *testing.T) {
	s := handofftest.Start(t, 32*mib, map[string][]byte{"a": make([]byte, 8*mib)}, nil)
	for name, end := range map[string]func(conn *net.UnixConn) error{
		"by the client": func(conn *net.UnixConn) error { return conn.CloseWrite() },
		"by the server": func(conn *net.UnixConn) error { _, err := conn.Write(message(99, 1)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			conn := raw(t, s, false)
			if _, err := conn.Write(append(hello()[:24], 1, 0, 0, 0)); err != nil {
				t.Fatal(err)
			}
			rights := make([]byte, 64)
			_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 100), rights)
			if err != nil {
				t.Fatal(err)
			}
			messages, err := unix.ParseSocketControlMessage(rights[:n])
			if err != nil || len(messages) != 1 {
				t.Fatal(messages, err)
			}
			fds, err := unix.ParseUnixRights(&messages[0])
			if err != nil || len(fds) != 2 {
				t.Fatal(fds, err)
			}
			defer unix.Close(fds[0])
			defer unix.Close(fds[1])
			told := func() bool {
				n, err := unix.Poll([]unix.PollFd{{Fd: int32(fds[1]), Events: unix.POLLIN}}, 0)
				return n == 1 && err == nil
			}
			if told() {
				t.Error("it is told while the connection lives")
			}
			if err := end(conn); err != nil {
				t.Fatal(err)
			}
			s.Until(t, "the connection is gone", func(st handoff.Stats) bool { return len(st.Clients) == 0 })
			if !told() {
				t.Error("it is not told")
			}
		})
	}
}

// A client that floods and takes no answers waits, and costs nobody else anything.
func TestFlood(t *testing.T) {
	s := handofftest.Start(t, 32*mib, map[string][]byte{"a": make([]byte, 8*mib)}, nil)
	for range 8 {
		conn := raw(t, s, true)
		if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		var err error
		for err == nil { // until nothing more is taken
			_, err = conn.Write(append(message(3, 1), 'a'))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ENOBUFS) {
			t.Error(err)
		}
	}
	handofftest.Connected(t, goClient(s.Socket)).Ask(handofftest.Digest(make([]byte, 8*mib)), "read a 0 8388608")
}

// One user has half of the connections at most; the next one is told.
func TestTooManyConnections(t *testing.T) {
	s := handofftest.Start(t, 32*mib, map[string][]byte{"a": nil}, nil)
	for range 64 {
		raw(t, s, true)
	}
	handofftest.StartChild(t, goClient(s.Socket)).Expect("error EUSERS")
}

// A client that keeps all that there is is cut off when another waits, and learns
// it.
func TestGreedyIsCutOff(t *testing.T) {
	s := handofftest.Start(t, 32*mib, map[string][]byte{"a": make([]byte, 8*mib)}, func(c *handoff.Config) { c.Grace = time.Second })
	greedy := handofftest.Connected(t, goClient(s.Socket))
	greedy.Ask("ok", "hold a 0 %d", s.Stats().Cap)
	greedy.Signal(syscall.SIGSTOP)
	other := handofftest.Connected(t, goClient(s.Socket))
	other.Ask(handofftest.Digest(make([]byte, 8*mib)), "read a 0 8388608")
	greedy.Signal(syscall.SIGCONT)
	greedy.Ask("gone", "give")
	if st := s.Stats(); st.Cut != 1 {
		t.Errorf("%+v", st)
	}
}

// Another user is refused, unless others are let in; then he has no way to write
// what others read.
func TestOtherUsers(t *testing.T) {
	nobody := func(s *handofftest.Server) *exec.Cmd {
		binary, err := os.ReadFile(os.Args[0]) // which others cannot reach
		if err != nil {
			t.Fatal(err)
		}
		cmd := goClient(s.Socket)
		cmd.Path = filepath.Join(filepath.Dir(s.Socket), "client")
		if err := os.WriteFile(cmd.Path, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd
	}
	files := map[string][]byte{"a": []byte(strings.Repeat("weights ", mib/8))}
	for name, tc := range map[string]struct {
		allow  func(*handoff.Rule)
		answer string
	}{
		"without allow_other":    {func(*handoff.Rule) {}, "error EACCES"},
		"with it":                {func(r *handoff.Rule) { r.AllowOther = true }, "ok connected"},
		"with it, not the modes": {func(r *handoff.Rule) { r.AllowOther, r.FileMode = true, 0o600 }, "error EACCES"},
	} {
		t.Run(name, func(t *testing.T) {
			s := handofftest.Start(t, 32*mib, files, func(c *handoff.Config) { tc.allow(&c.Rule) })
			reach(t, s.Socket)
			handofftest.StartChild(t, nobody(s)).Expect(tc.answer)
		})
	}
}

// reach lets every user to a socket.
func reach(t *testing.T, socket string) {
	t.Helper()
	for path := socket; path != "/" && path != os.TempDir(); path = path[:strings.LastIndexByte(path, '/')] {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
}

// Writable memory is for the mounter and whom he names: others get it read-only. It is
// kept resident as long as such a client is there.
func TestWritable(t *testing.T) {
	var kept atomic.Int64
	s := handofftest.Start(t, 32*mib, map[string][]byte{"a": []byte("weights")}, func(cfg *handoff.Config) {
		keep := cfg.Keep
		cfg.Keep = func() func() {
			release := keep()
			kept.Add(1)
			return func() { kept.Add(-1); release() }
		}
	})
	c, err := handoff.Dial(t.Context(), s.Socket, handoff.Options{Mode: handoff.Writable})
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode() != handoff.Writable {
		t.Error("the mounter gets read-only memory")
	}
	err = c.WhileWritable(mib, mib, func(memory []byte) error {
		if kept.Load() != 1 {
			t.Error("the memory is not kept")
		}
		memory[0]++ // a fault where it cannot be written
		memory[0]--
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, line := range mapsOf(t, c.Memory()) {
		if !strings.HasPrefix(line, "r--s") {
			t.Errorf("the memory stays writable: %s", line)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s.Until(t, "the memory is given up", func(handoff.Stats) bool { return kept.Load() == 0 })
	stranger := handofftest.Start(t, 32*mib, map[string][]byte{"a": []byte("weights")}, func(cfg *handoff.Config) {
		cfg.Rule.Mounter, cfg.Rule.AllowOther = 4711, true
	})
	r, err := handoff.Dial(t.Context(), stranger.Socket, handoff.Options{Mode: handoff.Writable})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Mode() != handoff.ReadOnly {
		t.Error("another gets writable memory")
	}
	if err := r.WhileWritable(0, mib, func([]byte) error { return nil }); !errors.Is(err, syscall.EACCES) {
		t.Errorf("read-only memory is made writable: %v", err)
	}
}

// mapsOf is what the kernel's list of mappings has of some memory, without addresses.
func mapsOf(t *testing.T, memory []byte) (lines []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	for line := range strings.Lines(string(text)) {
		var lo, hi uintptr
		if n, err := fmt.Sscanf(line, "%x-%x", &lo, &hi); n == 2 && err == nil && lo < first+uintptr(len(memory)) && hi > first {
			_, rest, _ := strings.Cut(line, " ")
			lines = append(lines, rest)
		}
	}
	if len(lines) == 0 {
		t.Error("the memory is not mapped")
	}
	return lines
}

// defective panics at what its files are named after.
type defective struct{ handoff.Store }

func (s defective) Open(ctx context.Context, client handoff.Peer, path string) (handoff.File, error) {
	if path == "open" {
		panic(path)
	}
	f, err := s.Store.Open(ctx, client, path)
	return defectiveFile{f, path}, err
}

type defectiveFile struct {
	handoff.File
	path string
}

func (f defectiveFile) Expect(ranges []handoff.Range) {
	if f.path == "expect" {
		panic(f.path)
	}
	f.File.Expect(ranges)
}

func (f defectiveFile) Lease(ctx context.Context, r handoff.Range) (handoff.Lease, error) {
	if f.path == "lease" {
		panic(f.path)
	}
	return f.File.Lease(ctx, r)
}

// A panic of the Store is told of, and costs the client that met it an EIO, or its
// connection where there is no answer that could say so. Nobody else sees it, and nothing
// stays leased.
func TestDefect(t *testing.T) {
	content := []byte("weights")
	var told atomic.Int64
	s := handofftest.Start(t, 32*mib, map[string][]byte{"lease": content, "expect": content, "fine": content}, func(cfg *handoff.Config) {
		cfg.Store = defective{cfg.Store}
		cfg.Defect = func(any) { told.Add(1) }
	})
	lease := func(c *handoff.Client, path string) error {
		f, err := c.Open(t.Context(), path)
		if err != nil {
			return err
		}
		wants, err := f.Want(handoff.Range{Length: int64(len(content))})
		if err != nil {
			return err
		}
		if err := wants[0].Wait(t.Context()); err != nil {
			return err
		}
		return wants[0].Give()
	}
	dial := func() *handoff.Client {
		c, err := handoff.Dial(t.Context(), s.Socket, handoff.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	other := dial()
	for path, want := range map[string]error{"open": syscall.EIO, "lease": syscall.EIO, "expect": handoff.ErrGone} {
		before, c := told.Load(), dial()
		if err := lease(c, path); !errors.Is(err, want) {
			t.Errorf("%s: %v, not %v", path, err, want)
		}
		if told.Load() != before+1 {
			t.Errorf("%s: %d panics were told of", path, told.Load()-before)
		}
		if err := lease(c, "fine"); errors.Is(want, syscall.EIO) && err != nil {
			t.Errorf("%s: the client cannot go on: %v", path, err)
		}
	}
	if err := lease(other, "fine"); err != nil {
		t.Errorf("another client: %v", err)
	}
	s.Until(t, "nothing is held", func(stats handoff.Stats) bool { return stats.Held == 0 })
}
