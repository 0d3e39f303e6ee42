package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// childVariable has the test binary be a daemon that is killed.
const childVariable = "WEIGHTFS_STATE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		fmt.Fprintln(os.Stderr, churn())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// tb is what tests and properties have.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

func create(t tb) *os.File {
	t.Helper()
	file, err := Create()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func open(t tb, file *os.File) *File {
	t.Helper()
	f, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func shut(t tb, f io.Closer) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// restored is what a new daemon finds.
func restored(t tb, f *File) (map[uint64]Node, map[uint64]Ref) {
	t.Helper()
	nodes, refs := map[uint64]Node{}, map[uint64]Ref{}
	if damaged := f.Restore(func(r Ref, n Node) { nodes[n.ID], refs[n.ID] = n, r }); damaged != 0 {
		t.Errorf("%d nodes are damaged", damaged)
	}
	return nodes, refs
}

// Whatever one daemon has kept, the next one finds, and goes on with.
func TestNodesMatchAModel(t *testing.T) {
	texts := rapid.OneOf(rapid.StringN(0, 20, 20), rapid.StringN(0, 300, 1200))
	rapid.Check(t, func(t *rapid.T) {
		file := create(t)
		defer shut(t, file)
		model := map[uint64]Node{}
		for range rapid.IntRange(1, 4).Draw(t, "daemons") {
			f := open(t, file)
			nodes, refs := restored(t, f)
			if !maps.Equal(nodes, model) {
				t.Fatalf("found %v, want %v", nodes, model)
			}
			for range rapid.IntRange(0, 60).Draw(t, "steps") {
				step(t, f, texts, model, refs)
			}
			shut(t, f)
		}
	})
}

// step changes f and its model alike.
func step(t *rapid.T, f *File, texts *rapid.Generator[string], model map[uint64]Node, refs map[uint64]Ref) {
	id := rapid.Uint64Range(2, 30).Draw(t, "id")
	n, ok := model[id]
	if !ok {
		n = Node{
			ID: id, Lookups: rapid.Uint64().Draw(t, "lookups"), Key: texts.Draw(t, "key"), Version: texts.Draw(t, "version"),
			Target: texts.Draw(t, "target"), Kind: rapid.Uint8().Draw(t, "kind"), Size: rapid.Int64().Draw(t, "size"),
			ModTime: time.Unix(0, rapid.Int64Range(-latestTime, latestTime).Draw(t, "modified")),
		}
		model[id], refs[id] = n, f.Add(n)
		return
	}
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 0:
		n.Lookups = rapid.Uint64().Draw(t, "lookups")
		f.SetLookups(refs[id], n.Lookups)
	case 1:
		n.ModTime, n.Archived = time.Time{}, !n.Archived
		f.SetModified(refs[id], n.ModTime, n.Archived)
	case 2:
		n.Opens, n.Backing = rapid.Int32Range(0, 1<<30).Draw(t, "opens"), rapid.Int32Range(0, 1<<30).Draw(t, "backing")
		f.SetBacking(refs[id], n.Opens, n.Backing)
		if f.LastBacking() < n.Backing {
			t.Errorf("the last backing file is %d, after %d", f.LastBacking(), n.Backing)
		}
	case 3:
		f.Remove(refs[id])
		delete(model, id)
		return
	}
	model[id] = n
}

// nodeOf is a node whose text tells its number.
func nodeOf(id uint64) Node {
	return Node{ID: id, Lookups: 1, Key: strings.Repeat(fmt.Sprint("k", id, "."), int(id%40)+1), Version: fmt.Sprint("v", id), Size: int64(id)}
}

// lasting are the nodes of churn that stay.
const lasting = 200

// churn keeps nodes and forgets them until it is killed. It writes a line when the
// lasting ones are kept.
func churn() error {
	f, err := Open(os.NewFile(3, "state"))
	if err != nil {
		return err
	}
	refs := map[uint64]Ref{}
	f.Restore(func(r Ref, n Node) { refs[n.ID] = r })
	for id := uint64(2); id < 2+lasting; id++ {
		if refs[id] == 0 {
			refs[id] = f.Add(nodeOf(id))
		}
	}
	fmt.Println("kept")
	for random := rand.New(rand.NewPCG(1, uint64(os.Getpid()))); ; {
		id := 2 + lasting + random.Uint64N(500)
		if refs[id] == 0 {
			refs[id] = f.Add(nodeOf(id))
		} else {
			f.Remove(refs[id])
			delete(refs, id)
		}
		stays := 2 + random.Uint64N(lasting)
		f.SetLookups(refs[stays], stays+1)
		f.SetBacking(refs[stays], int32(stays), int32(stays))
	}
}

// A daemon is killed at any moment: all that it had kept is there, and nothing is
// half there.
func TestKilledInAnyMoment(t *testing.T) {
	file := create(t)
	defer shut(t, file)
	for i := range 60 {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childVariable+"=1")
		cmd.ExtraFiles = []*os.File{file}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if !bufio.NewScanner(out).Scan() {
			t.Fatal("the daemon keeps nothing")
		}
		time.Sleep(time.Duration(i*37%500) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		f := open(t, file)
		nodes, _ := restored(t, f)
		for id := uint64(2); id < 2+lasting; id++ {
			if _, ok := nodes[id]; !ok {
				t.Fatalf("kill %d: node %d is lost", i, id)
			}
		}
		for id, n := range nodes {
			want := nodeOf(id)
			if id < 2+lasting && n.Lookups != 1 {
				want.Lookups = id + 1
			}
			if n.Opens != 0 {
				want.Opens, want.Backing = int32(id), int32(id)
			}
			if n.ModTime = (time.Time{}); n != want {
				t.Fatalf("kill %d: node %d is %+v, want %+v", i, id, n, want)
			}
		}
		shut(t, f)
	}
}

// Damage is found, or is of what may change; and the file can be used from then on.
func FuzzDamage(f *testing.F) {
	f.Add(uint32(cellsAt), []byte{0xff, 0, 1})
	f.Add(uint32(cellsAt+40), []byte{9, 0, 0, 0})
	f.Add(uint32(cellsAt+48), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(uint32(40), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, damage []byte) {
		file := create(t)
		defer shut(t, file)
		first := open(t, file)
		for id := range uint64(20) {
			first.Add(nodeOf(id + 2))
		}
		shut(t, first)
		if _, err := file.WriteAt(damage, int64(at)%Size); err != nil {
			t.Fatal(err)
		}
		if err := file.Truncate(Size); err != nil { // it may have grown
			t.Fatal(err)
		}
		second, err := Open(file)
		if err != nil {
			return // refused
		}
		second.Restore(func(_ Ref, n Node) {
			want := nodeOf(n.ID)
			want.Lookups, want.ModTime, want.Archived, want.Opens, want.Backing = n.Lookups, n.ModTime, n.Archived, n.Opens, n.Backing
			if n != want {
				t.Errorf("found %+v, want %+v", n, want)
			}
		})
		if second.Add(nodeOf(1000)) == 0 {
			t.Error("no room for one more")
		}
		shut(t, second)
	})
}

// A file of another version, or of none, is refused, and is as it was.
func TestOtherVersionIsRefused(t *testing.T) {
	file := create(t)
	defer shut(t, file)
	later := header{magic: magic, version: Version + 1, generation: 7}
	if _, err := file.WriteAt(unsafe.Slice((*byte)(unsafe.Pointer(&later)), unsafe.Sizeof(later)), 0); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(file); !errors.Is(err, ErrVersion) {
		t.Errorf("opened as %v: %v", f, err)
	}
	var now header
	if _, err := file.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&now)), unsafe.Sizeof(now)), 0); err != nil || now != later {
		t.Errorf("%+v has become %+v: %v", later, now, err)
	}
	if err := file.Truncate(Size / 2); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// resident is the memory of a file of memory.
func resident(t testing.TB, file *os.File) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// A million files of a usual name are kept in less than 256 MiB, which is what the
// file can grow to, and one that is forgotten makes room for another.
func TestMillionNodes(t *testing.T) {
	const million = 1 << 20
	file := create(t)
	defer shut(t, file)
	f := open(t, file)
	if empty := resident(t, file); empty > 64<<10 {
		t.Errorf("an empty file takes %d KiB", empty>>10)
	}
	usual := func(id uint64) Node {
		return Node{
			ID: id, Lookups: 1, Size: 4 << 30, ModTime: time.Unix(1_700_000_000, 0), Version: `"d41d8cd98f00b204e9800998ecf8427e"`,
			Key: fmt.Sprintf("models/meta-llama--Llama-3.1-405B/model-%07d-of-1048576.safetensors", id),
		}
	}
	var last Ref
	for id := uint64(2); id < 2+million; id++ {
		if last = f.Add(usual(id)); last == 0 {
			t.Fatalf("no room after %d", id-2)
		}
	}
	taken := resident(t, file)
	if taken >= 256<<20 || Size >= 256<<20 {
		t.Errorf("%d MiB of at most %d", taken>>20, Size>>20)
	}
	for id := uint64(2 + million); ; id++ {
		r := f.Add(usual(id))
		if r == 0 {
			break
		}
	}
	f.Remove(last)
	if f.Add(usual(1)) == 0 {
		t.Error("what was forgotten makes no room")
	}
	shut(t, f)
	began := time.Now()
	f = open(t, file)
	found := 0
	damaged := f.Restore(func(Ref, Node) { found++ })
	t.Logf("%d nodes of %d bytes, restored in %v", found, taken/million, time.Since(began).Round(time.Millisecond))
	if found < million || damaged != 0 {
		t.Errorf("%d nodes, %d damaged", found, damaged)
	}
	shut(t, f)
}

// Requests that were not answered are found, in their slots; those that were are
// not, and no more slots are there than can be known.
func TestSlots(t *testing.T) {
	file := create(t)
	defer shut(t, file)
	f := open(t, file)
	if err := f.SetHandshake([]byte("request"), []byte("reply")); err != nil {
		t.Fatal(err)
	}
	fill := func(s Slot, what byte) {
		s.Buffer[0], s.Buffer[minRequest-1] = minRequest, what
	}
	answered, under, idle := f.Take(), f.Take(), f.Take()
	fill(answered, 1)
	fill(under, 2)
	answered.Clear()
	f.Free(idle)
	shut(t, f)
	f = open(t, file)
	if request, reply := f.Handshake(); string(request) != "request" || string(reply) != "reply" || f.Generation() != 2 {
		t.Errorf("daemon %d has the handshake %q, %q", f.Generation(), request, reply)
	}
	pending := f.Pending()
	if len(pending) != 1 || len(pending[0].Request()) != minRequest || pending[0].Request()[minRequest-1] != 2 || f.Pending() != nil {
		t.Fatalf("%d requests are found", len(pending))
	}
	for range slots - 1 {
		if s := f.Take(); s.kept == nil || len(s.Request()) != 0 {
			t.Fatal("a slot was lost, or is not empty")
		}
	}
	if s := f.Take(); s.kept != nil || len(s.Buffer) != slotSize {
		t.Errorf("one slot too many: %+v", s)
	}
	f.Free(pending[0])
	if s := f.Take(); s.kept == nil || s.Request() != nil {
		t.Error("the slot of an answered request was to come back")
	}
	shut(t, f)
}

// Without a file nothing is kept, and all goes on.
func TestNoFile(t *testing.T) {
	var f *File
	s := f.Take()
	s.Clear()
	f.Free(s)
	f.SetLookups(f.Add(nodeOf(2)), 3)
	f.Remove(0)
	f.SetLastNode(2)
	request, reply := f.Handshake()
	if err := f.SetHandshake([]byte{1}, []byte{2}); err != nil || len(s.Buffer) != slotSize || request != nil || reply != nil || f.Pending() != nil || f.Close() != nil {
		t.Error(err, request, reply)
	}
}
