// Package handofftest is the conformance suite of hand-off clients, and a server
// for tests.
//
// A client to be tested is a program that gets the path of a socket, connects, and
// prints "ok connected". It then answers each line of its standard input by one
// line, and ends at the end of its input:
//
//	open PATH              ok SIZE VERSION INODE
//	read PATH OFFSET N     ok SHA256, in lower case, of the range, of any length
//	hold PATH OFFSET N     ok, once the range is leased; it is kept
//	check                  ok SHA256 of all that is held, in the order of the holds
//	give                   ok: all that is held was given back
//
// What fails is answered by "error ENOENT", with the errno's name, and by "gone"
// where the connection has ended.
package handofftest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"weightfs/handoff"
	"weightfs/tests/memstore"
)

const mib = 1 << 20

// limit is the memory of the suite's servers. Files are larger than what clients
// may hold, and than the memory.
const limit = 32 * mib

// files are those that the suite's servers have.
func files() map[string][]byte {
	all := map[string][]byte{}
	for name, size := range map[string]int{"model/one.safetensors": 40*mib + 12345, "model/two": 8 * mib, "small": 1234, "empty": 0, "a name with blanks é": 3 * mib} {
		var seed [32]byte
		copy(seed[:], name)
		all[name] = make([]byte, size)
		_, _ = rand.NewChaCha8(seed).Read(all[name])
	}
	return all
}

// Child is a client's process.
type Child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// StartChild starts a client. It is killed at the end of the test.
func StartChild(t *testing.T, cmd *exec.Cmd) *Child {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &Child{t, cmd, in, bufio.NewReader(out)}
	t.Cleanup(c.Kill)
	return c
}

// Connected is StartChild of a client that gets in.
func Connected(t *testing.T, cmd *exec.Cmd) *Child {
	t.Helper()
	c := StartChild(t, cmd)
	c.Expect("ok connected")
	return c
}

// Kill ends the client by SIGKILL.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// Signal sends the client a signal.
func (c *Child) Signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// Expect takes the next answer, which must be this one.
func (c *Child) Expect(want string) {
	c.t.Helper()
	if got := c.Answer(); got != want {
		c.t.Errorf("the client answers %q, want %q", got, want)
	}
}

// Answer takes the next answer.
func (c *Child) Answer() string {
	c.t.Helper()
	line, err := c.lines.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the client answers %q: %v", line, err)
	}
	return strings.TrimSpace(line)
}

// Send sends a request, whose answer is to be taken.
func (c *Child) Send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

// Ask sends a request, which must be answered so.
func (c *Child) Ask(want, format string, args ...any) {
	c.t.Helper()
	c.Send(format, args...)
	if got := c.Answer(); got != want {
		c.t.Errorf("%s: the client answers %q, want %q", fmt.Sprintf(format, args...), got, want)
	}
}

// Digest is how a client answers for these bytes.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "ok " + hex.EncodeToString(sum[:])
}

// Run holds a client to the protocol: client makes the command of one for a socket.
func Run(t *testing.T, client func(socket string) *exec.Cmd) {
	for name, test := range map[string]func(t *testing.T, s *Server, client func() *exec.Cmd){
		"open":          testOpen,
		"read":          testRead,
		"hold":          testHold,
		"killed":        testKilled,
		"stopped":       testStopped,
		"replaced":      testReplaced,
		"store fails":   testStoreFails,
		"server ends":   testServerEnds,
		"many at once":  testMany,
		"cold, in line": testAheadOfNobody,
	} {
		t.Run(name, func(t *testing.T) {
			s := Start(t, limit, files(), nil)
			test(t, s, func() *exec.Cmd { return client(s.Socket) })
		})
	}
}

func testOpen(t *testing.T, s *Server, client func() *exec.Cmd) {
	c := Connected(t, client())
	c.Ask("ok 8388608 v1 4711", "open model/two")
	c.Ask("ok 0 v1 4711", "open empty")
	c.Ask("error ENOENT", "open model/three")
	c.Ask("ok 1234 v1 4711", "open small")
}

func testRead(t *testing.T, s *Server, client func() *exec.Cmd) {
	c := Connected(t, client())
	one := s.Store.Data("model/one.safetensors")
	for _, r := range [][2]int{{0, len(one)}, {0, 8}, {1, 1}, {mib - 1, 2}, {mib - 1, 5*mib + 3}, {len(one) - 1, 1}, {17*mib + 5, 9 * mib}, {0, len(one)}} {
		c.Ask(Digest(one[r[0]:r[0]+r[1]]), "read model/one.safetensors %d %d", r[0], r[1])
	}
	c.Ask(Digest(s.Store.Data("small")), "read small 0 1234")
	s.Until(t, "everything is given back", func(st handoff.Stats) bool { return st.Held == 0 && len(st.Clients) == 1 })
	if st := s.Stats(); st.Bytes < int64(2*len(one)) || st.Clients[0].Bytes != st.Bytes {
		t.Errorf("%+v", st)
	}
}

func testHold(t *testing.T, s *Server, client func() *exec.Cmd) {
	c := Connected(t, client())
	two := s.Store.Data("model/two")
	c.Ask("ok", "hold model/two 100 3000000")
	if st := s.Stats(); st.Held != 3*mib || st.Clients[0].Leases == 0 {
		t.Errorf("%+v", st)
	}
	read(t, s, "model/one.safetensors") // which takes all the memory that there is
	c.Ask(Digest(two[100:3000100]), "check")
	c.Ask("ok", "give")
	s.Until(t, "it is given back", func(st handoff.Stats) bool { return st.Held == 0 })
}

// read reads a file as a reader of the mount does.
func read(t *testing.T, s *Server, name string) {
	t.Helper()
	r := s.Cache.Open(s.Store.Object(name))
	defer r.Close()
	data := s.Store.Data(name)
	for off := 0; off < len(data); off += mib {
		v, err := r.View(t.Context(), int64(off), mib)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range v.Slices() {
			if string(p) != string(data[off:off+len(p)]) {
				t.Errorf("wrong bytes at %d", off)
			}
			off += len(p)
		}
		off -= v.Len()
		v.Release()
	}
}

func testKilled(t *testing.T, s *Server, client func() *exec.Cmd) {
	c := Connected(t, client())
	c.Ask("ok", "hold model/two 0 4000000")
	c.Kill()
	s.Until(t, "its leases end with it", func(st handoff.Stats) bool { return st.Held == 0 && len(st.Clients) == 0 })
	again := Connected(t, client())
	again.Ask(Digest(s.Store.Data("model/two")), "read model/two 0 8388608")
}

// A client that is stopped with leases keeps neither readers of the mount nor
// other clients waiting.
func testStopped(t *testing.T, s *Server, client func() *exec.Cmd) {
	stopped, other := Connected(t, client()), Connected(t, client())
	stopped.Ask("ok", "hold model/two 0 %d", s.Stats().Cap/2)
	stopped.Signal(syscall.SIGSTOP)
	read(t, s, "model/one.safetensors")
	one := s.Store.Data("model/one.safetensors")
	other.Ask(Digest(one), "read model/one.safetensors 0 %d", len(one))
	stopped.Signal(syscall.SIGCONT)
	stopped.Ask(Digest(s.Store.Data("model/two")[:s.Stats().Cap/2]), "check")
	stopped.Ask("ok", "give")
}

func testReplaced(t *testing.T, s *Server, client func() *exec.Cmd) {
	c := Connected(t, client())
	old := s.Store.Data("model/two")
	c.Ask(Digest(old[:mib]), "read model/two 0 1048576")
	s.Store.Put("model/two", memstore.Object{Data: make([]byte, 8*mib)})
	c.Ask(Digest(old[:mib]), "read model/two 0 1048576") // of the version that is open
	c.Ask("error ESTALE", "read model/two 4194304 4194304")
	again := Connected(t, client())
	again.Ask("ok 8388608 v2 4711", "open model/two")
	again.Ask(Digest(make([]byte, 8*mib)), "read model/two 0 8388608")
}

func testStoreFails(t *testing.T, s *Server, client func() *exec.Cmd) {
	c := Connected(t, client())
	c.Ask("ok 8388608 v1 4711", "open model/two")
	s.Store.Hook(memstore.Hooks{Range: func(context.Context, string, int64) error { return errors.New("it is broken") }})
	c.Ask("error EIO", "read model/two 0 8388608")
	c.Ask("ok 1234 v1 4711", "open small")
	s.Store.Hook(memstore.Hooks{})
	again := Connected(t, client()) // a failure is remembered for those who had the file open
	again.Ask(Digest(s.Store.Data("model/two")), "read model/two 0 8388608")
}

func testServerEnds(t *testing.T, s *Server, client func() *exec.Cmd) {
	c := Connected(t, client())
	two := s.Store.Data("model/two")
	c.Ask("ok", "hold model/two 0 1048576")
	if err := s.Server.Close(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Held != 0 || len(st.Clients) != 0 {
		t.Errorf("%+v", st)
	}
	c.Ask(Digest(two[:mib]), "check") // the memory is there, and nobody has used it since
	c.Ask("gone", "give")
	c.Ask("gone", "read model/two 0 1")
}

func testMany(t *testing.T, s *Server, client func() *exec.Cmd) {
	one := s.Store.Data("model/one.safetensors")
	var all []*Child
	for range 4 {
		all = append(all, Connected(t, client()))
	}
	for i, c := range all {
		c.Send("read model/one.safetensors %d %d", i*10*mib+i, 10*mib)
	}
	for i, c := range all {
		c.Expect(Digest(one[i*10*mib+i:][:10*mib]))
	}
}

// What a client wants is fetched once, and nothing beside it.
func testAheadOfNobody(t *testing.T, s *Server, client func() *exec.Cmd) {
	c := Connected(t, client())
	two := s.Store.Data("model/two")
	c.Ask(Digest(two[2*mib:8*mib]), "read model/two 2097152 6291456")
	if st := s.Cache.Stats(); st.FetchedBytes != 6*mib {
		t.Errorf("%d bytes were fetched for 6 MiB", st.FetchedBytes)
	}
}
