package fs

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"weightfs/fs/state"
	"weightfs/prefetch"
	"weightfs/remote"
	"weightfs/tests/memstore"
)

// left is what a server leaves that has died: with its requests, one behind the
// other, in slots.
type left struct {
	file *os.File
	node uint64 // of the file f, with two references
}

// leave has a server serve, and die, in which it had taken requests.
func leave(t *testing.T, requests ...func(node uint64) []byte) left {
	t.Helper()
	file, err := state.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	keep := openState(t, file)
	k := connectKernel(t, nil, keep)
	k.send(message(fuse.InitIn{InHeader: fuse.InHeader{Opcode: opInit, Unique: 1}, Major: 7, Minor: 41, MaxReadAhead: 128 << 10}, ""))
	k.serve(true)
	k.receive()
	entry := entryOfF(t)
	l := left{file, k.tree.nodes.lookup(entry)}
	k.tree.nodes.lookup(entry)
	k.hangUp()
	for _, request := range requests {
		copy(keep.Take().Buffer, request(l.node))
	}
	if err := keep.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

func openState(t *testing.T, file *os.File) *state.File {
	t.Helper()
	keep, err := state.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return keep
}

// storeOfF has one file f, which says "text".
func storeOfF() *memstore.Store { return memstore.New(map[string][]byte{"f": []byte("text")}) }

func entryOfF(t *testing.T) remote.Entry {
	t.Helper()
	obj, err := storeOfF().Stat(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	return remote.Entry{Object: obj}
}

// takeOver has another server take over, over such a store.
func (l left) takeOver(t *testing.T, mayResend bool) *fakeKernel {
	t.Helper()
	store := storeOfF()
	cache, err := prefetch.New(store, prefetch.Config{MemoryLimit: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	k := connectKernel(t, cache, openState(t, l.file))
	k.serve(mayResend)
	return k
}

// readOld is a READ of a handle of the first server's.
func readOld(unique uint64) func(node uint64) []byte {
	return func(node uint64) []byte {
		return message(fuse.ReadIn{InHeader: fuse.InHeader{Opcode: opRead, Unique: unique, NodeId: node}, Fh: 1, Size: 100}, "")
	}
}

// What the last server had taken is answered once: where the kernel can send it
// again, by that; otherwise from where it lies, but for what may have been counted.
func TestRequestsUnderWayAreAnswered(t *testing.T) {
	forget := func(node uint64) []byte {
		return message(fuse.ForgetIn{InHeader: fuse.InHeader{Opcode: opForget, Unique: 4, NodeId: node}, Nlookup: 2}, "")
	}
	release := func(node uint64) []byte {
		return message(fuse.ReleaseIn{InHeader: fuse.InHeader{Opcode: opRelease, Unique: 6, NodeId: node}, Fh: 1}, "")
	}
	t.Run("found", func(t *testing.T) {
		l := leave(t, forget, release, readOld(2))
		k := l.takeOver(t, false)
		for range 2 {
			switch head, body := k.receive(); {
			case head.Unique == 2 && head.Status == 0 && string(body) == "text":
			case head.Unique == 6 && head.Status == 0:
			default:
				t.Errorf("request %d is answered %v and %q", head.Unique, syscall.Errno(-head.Status), body)
			}
		}
		// A READ that is found may have been answered, and its handle closed.
		if k.hangUp(); k.tree.counters.openFiles.Load() != 0 {
			t.Error("a handle stays open")
		}
		if got := k.device.takeover; got.Requests != 3 || got.Resent || got.Inodes != 2 {
			t.Errorf("taken over: %+v", got)
		}
		if again := openState(t, l.file).Pending(); len(again) != 0 {
			t.Errorf("%d requests are found once more", len(again))
		}
	})
	t.Run("resent", func(t *testing.T) {
		l := leave(t, forget, release, readOld(2))
		k := l.takeOver(t, true)
		if head, _ := k.receive(); head.Unique != 0 || head.Status != notifyResend {
			t.Fatalf("the first message is %+v", head)
		}
		k.send(readOld(2 | resent)(l.node))
		if body := k.want(2|resent, 0); string(body) != "text" {
			t.Errorf("it reads %q", body)
		}
		k.send(message(fuse.ReleaseIn{InHeader: fuse.InHeader{Opcode: opRelease, Unique: 6 | resent, NodeId: l.node}, Fh: 1}, ""))
		k.want(6|resent, 0)
		if got := k.device.takeover; !got.Resent {
			t.Errorf("taken over: %+v", got)
		}
	})
}

// What an answer has begun is undone where the kernel had it from the last server.
func TestAnswerIsUndone(t *testing.T) {
	l := leave(t)
	k := l.takeOver(t, false)
	refused := func(req []byte) {
		t.Helper()
		k.send(req)
		head, body := k.receive()
		if head.Status != 0 {
			t.Fatalf("request %d is answered %v", head.Unique, syscall.Errno(-head.Status))
		}
		k.device.undo(req, append(unsafe.Slice((*byte)(unsafe.Pointer(&head)), unsafe.Sizeof(head)), body...))
	}
	refused(message(fuse.OpenIn{InHeader: fuse.InHeader{Opcode: opOpen, Unique: 2, NodeId: l.node}}, ""))
	if n := k.tree.counters.openFiles.Load(); n != 0 {
		t.Errorf("%d files are open", n)
	}
	refused(message(fuse.OpenIn{InHeader: fuse.InHeader{Opcode: opOpendir, Unique: 4, NodeId: fuse.FUSE_ROOT_ID}}, ""))
	k.tree.dirs.Range(func(_, _ any) bool { t.Error("a directory is open"); return true })
}

// Nodes keep their numbers and their references, and a number is not used twice.
func TestNodesAreTakenOver(t *testing.T) {
	l := leave(t)
	nodes := newTable(remote.Entry{Kind: remote.KindDir}, openState(t, l.file))
	if n, damaged := nodes.restore(); n != 2 || damaged != 0 {
		t.Fatalf("%d nodes, %d damaged", n, damaged)
	}
	if fresh := nodes.lookup(remote.Entry{Object: remote.Object{Key: "g", Version: "1"}}); fresh == l.node {
		t.Errorf("the number %d was used twice", fresh)
	}
	if again := nodes.lookup(entryOfF(t)); again != l.node {
		t.Errorf("f is %d, and was %d", again, l.node)
	}
	nodes.forget(l.node, 2)
	if _, entry, ok := nodes.node(l.node); !ok || entry.Key != "f" || entry.Size != 4 {
		t.Errorf("with one of three references left: %+v, %v", entry, ok)
	}
	nodes.forget(l.node, 1)
	if _, _, ok := nodes.node(l.node); ok {
		t.Error("still there without a reference")
	}
	if all, unkept := nodes.size(); all != 2 || unkept != 0 {
		t.Errorf("%d nodes, %d of them not kept", all, unkept)
	}
}

// A server that would agree to something else with the kernel takes nothing over,
// and leaves all as it was.
func TestOtherAgreementIsRefused(t *testing.T) {
	l := leave(t, readOld(2))
	keep := openState(t, l.file)
	k := connectKernel(t, nil, keep)
	options := k.tree.options(k.cfg)
	options.MaxBackground++
	if _, err := newDevice(k.conn.fd, k.tree, options, k.cfg.Logger, k.conn.end); !errors.Is(err, ErrOther) {
		t.Errorf("it takes over: %v", err)
	}
	unix.Close(k.fd)
	unix.Close(k.conn.fd)
	if err := keep.Close(); err != nil {
		t.Error(err)
	}
	if head, body := l.takeOver(t, false).receive(); head.Unique != 2 || string(body) != "text" {
		t.Errorf("after that, request %d is answered by %q", head.Unique, body)
	}
}

// A handle of a node that is not known is ESTALE, so that its name is looked up
// again; one of no server is EBADF.
func TestUnknownHandles(t *testing.T) {
	k := leave(t).takeOver(t, false)
	k.send(readOld(2)(99))
	k.want(2, syscall.ESTALE)
	k.send(message(fuse.ReadIn{InHeader: fuse.InHeader{Opcode: opRead, Unique: 4, NodeId: 99}, Fh: 1<<handleBits + 1, Size: 1}, ""))
	k.want(4, syscall.EBADF)
}

func TestSweepable(t *testing.T) {
	for release, want := range map[string]bool{"5.15.0-97-generic": true, "6.18.44": true, "6.19.0-rc1": false, "7.0": false, "": false} {
		if sweepable(release) != want {
			t.Errorf("%q: %v", release, !want)
		}
	}
}

// The header's flag is the kernel's.
func TestResendMessage(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if err := (&device{fd: pair[0]}).resend(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	n, err := unix.Read(pair[1], got)
	want := fuse.OutHeader{Length: 16, Status: 7}
	if err != nil || !bytes.Equal(got[:n], unsafe.Slice((*byte)(unsafe.Pointer(&want)), unsafe.Sizeof(want))) {
		t.Errorf("the kernel gets %x, %v", got[:n], err)
	}
}

// Whether a mount can be taken over is known while another server serves it, which
// notices nothing.
func TestCheckBeforeTakeover(t *testing.T) {
	l := leave(t, readOld(2))
	if err := (&Attachment{state: l.file}).Check(storeOfF(), Config{}); err != nil {
		t.Error(err)
	}
	if err := (&Attachment{}).Check(storeOfF(), Config{}); !errors.Is(err, ErrOther) {
		t.Errorf("of one that keeps nothing: %v", err)
	}
	k := l.takeOver(t, false)
	if head, body := k.receive(); head.Unique != 2 || string(body) != "text" {
		t.Errorf("after that, request %d is answered by %q", head.Unique, body)
	}
	if generation := k.device.keep.Generation(); generation != 2 {
		t.Errorf("the second server is number %d", generation)
	}
	version := []byte{99}
	if _, err := l.file.WriteAt(version, 8); err != nil {
		t.Fatal(err)
	}
	if err := (&Attachment{state: l.file}).Check(storeOfF(), Config{}); !errors.Is(err, ErrOther) {
		t.Errorf("of another version: %v", err)
	}
}

// A server that hands over answers nothing more. What it takes all the same stays
// where the next one finds it.
func TestHandOver(t *testing.T) {
	k := leave(t).takeOver(t, false)
	(&Server{device: k.device}).HandOver()
	if _, _, err := k.device.pings.send(k.device.fd, 1); !errors.Is(err, ErrLost) {
		t.Errorf("it pings: %v", err)
	}
	k.send(readOld(2)(99)) // which would be ESTALE
	for taken := false; !taken; {
		k.device.reads.mu.Lock()
		_, taken = k.device.reads.interrupts[2]
		k.device.reads.mu.Unlock()
	}
	buf := make([]byte, 100)
	if n, _, err := unix.Recvfrom(k.fd, buf, unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("it answers %x: %v", buf[:max(n, 0)], err)
	}
	k.device.writes.Unlock() // which no server does
	k.want(2, syscall.ESTALE)
}
