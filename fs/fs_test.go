package fs_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/tests/memstore"
)

func digest(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func TestReadersGetTheBytes(t *testing.T) {
	// Not a whole number of anything: neither pages nor blocks.
	data := randomBytes(9<<20 + 12345)
	store := memstore.New(map[string][]byte{"m/model.safetensors": data, "empty": nil, "tiny": []byte("x")})
	m := mount(t, store, options{})
	path := m.path("m/model.safetensors")
	if got := output(t, "sha256sum", path); !strings.HasPrefix(got, digest(data)) {
		t.Errorf("sha256sum: %s", got)
	}
	if got := strings.TrimSpace(child(t, "mmap", path)); got != digest(data) {
		t.Errorf("mmap: %s", got)
	}
	if got := strings.TrimSpace(child(t, "direct", path)); got != digest(data) {
		t.Errorf("O_DIRECT: %s", got)
	}
	if got := output(t, "dd", "if="+path, "bs=1000", "skip=9437", "count=3", "status=none"); got != string(data[9437000:9440000]) {
		t.Error("dd got other bytes")
	}
	if got := output(t, "cat", m.path("empty"), m.path("tiny")); got != "x" {
		t.Errorf("cat: %q", got)
	}
	h := openInChild(t, path)
	for _, r := range []struct{ off, n int64 }{{0, 8}, {9 << 20, 12345}, {9 << 20, 1 << 20}, {int64(len(data)), 10}, {1 << 40, 1}} {
		lo, hi := min(r.off, int64(len(data))), min(r.off+r.n, int64(len(data)))
		if got := h.read(r.off, r.n); got != digest(data[lo:hi]) {
			t.Errorf("pread of %d at %d: %s", r.n, r.off, got)
		}
	}
	if s := m.Stats(); s.Reads == 0 || s.ReadBytes < int64(len(data)) || s.ReadErrors != 0 || s.Panics != 0 {
		t.Errorf("counted %+v", s)
	}
}

// Pages that were read are not asked for again, unless the kernel needed their memory.
func TestPagesAreKeptAcrossOpens(t *testing.T) {
	data := randomBytes(4 << 20)
	m := mount(t, memstore.New(map[string][]byte{"a": data}), options{})
	var sent []int64
	for before := int64(0); len(sent) < 10; before = m.Stats().Reads {
		output(t, "cat", m.path("a"))
		if sent = append(sent, m.Stats().Reads-before); sent[len(sent)-1] == 0 {
			break
		}
	}
	if sent[0] == 0 || sent[len(sent)-1] != 0 {
		t.Errorf("cat after cat sent %d READs", sent)
	}
}

func TestAttributes(t *testing.T) {
	store := memstore.New(map[string][]byte{"d/f": []byte("hello")})
	store.Put("l", memstore.Object{Target: "d/f"})
	m := mount(t, store, options{fs: fs.Config{UID: 12, GID: 34}})
	got := fields(child(t, "stat", m.path("d/f"), m.path("d"), m.path("l"), m.dir))
	for i, want := range [][]string{
		{"5", "100644", "12", "34", "1700000000"},
		{"0", "40755", "12", "34"},
		{"3", "120777", "12", "34"},
		{"0", "40755", "12", "34"},
	} {
		if strings.Join(got[i][1:1+len(want)], " ") != strings.Join(want, " ") {
			t.Errorf("stat of number %d: %v, want %v after the inode", i, got[i], want)
		}
	}
	if got := output(t, "readlink", m.path("l")); got != "d/f\n" {
		t.Errorf("readlink: %q", got)
	}
	if got := output(t, "cat", m.path("l")); got != "hello" {
		t.Errorf("cat through the link: %q", got)
	}
	if got := output(t, "stat", "-f", "-c", "%l", m.dir); got != "255\n" {
		t.Errorf("longest name: %q", got)
	}
}

func TestModesAreLiteral(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": nil})
	cache, err := prefetch.New(store, prefetch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	for _, cfg := range []fs.Config{{FileMode: 0o1777}, {DirMode: 0o1777}} {
		if _, err := fs.Mount(t.TempDir(), store, cache, nil, cfg); err == nil || !strings.Contains(err.Error(), "1777") {
			t.Errorf("modes %o and %o: %v", cfg.FileMode, cfg.DirMode, err)
		}
	}
}

// The kernel asks the modes, not the daemon, who may open what.
func TestPermissionsHoldForOthers(t *testing.T) {
	const owner = nobody - 1
	for _, c := range []struct {
		file, dir            uint32
		user                 uint32
		lists, enters, reads bool
	}{
		{0o644, 0o755, nobody, true, true, true},
		{0o600, 0o755, nobody, true, true, false},
		{0o644, 0o700, nobody, false, false, false},
		{0o644, 0o711, nobody, false, true, true},
		{0o600, 0o700, owner, true, true, true},
		{0o044, 0o755, owner, true, true, false},
	} {
		t.Run(fmt.Sprintf("files %o, folders %o, user %d", c.file, c.dir, c.user), func(t *testing.T) {
			store := memstore.New(map[string][]byte{"d/f": []byte("x")})
			m := mount(t, store, options{dir: publicDir(t), fs: fs.Config{
				AllowOther: true, UID: owner, GID: owner, FileMode: c.file, DirMode: c.dir,
			}})
			for command, allowed := range map[string]bool{"ls d": c.lists, "stat d/f": c.enters, "cat d/f": c.reads} {
				name, key, _ := strings.Cut(command, " ")
				cmd := exec.Command(name, m.path(key))
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.user, Gid: c.user}}
				cmd.Env = append(os.Environ(), "LC_ALL=C")
				out, err := cmd.CombinedOutput()
				if refused := strings.Contains(string(out), "Permission denied"); (err == nil) != allowed || refused == allowed {
					t.Errorf("%s: %v: %s", command, err, out)
				}
			}
		})
	}
}

func TestLargeDirectory(t *testing.T) {
	const n = 20_000
	files := map[string][]byte{}
	for i := range n {
		files[fmt.Sprintf("d/shard-%05d", i)] = []byte("x")
	}
	store := memstore.New(files)
	m := mount(t, store, options{ttl: -1})
	names := strings.Fields(output(t, "ls", "-f", m.path("d")))
	if len(names) != n+2 || names[0] != "." || names[2] != "shard-00000" || names[n+1] != fmt.Sprintf("shard-%05d", n-1) {
		t.Errorf("ls shows %d names: %s ... %s", len(names), names[:3], names[len(names)-1])
	}
	if got := output(t, "find", m.path("d"), "-type", "f", "-size", "-2", "-printf", "."); len(got) != n {
		t.Errorf("find sees %d files", len(got))
	}
	if got := store.Listed("d"); got != 1 {
		t.Errorf("%d listings for one directory", got)
	}
	if s := m.Stats(); s.Lookups > 10 || s.Inodes < n {
		t.Errorf("%d look-ups beside READDIRPLUS, %d inodes", s.Lookups, s.Inodes)
	}
}

// TestNamesOfLargeDirectory holds that names in a directory of many pages are found,
// or not, by the first page alone, and that who lists it goes on from there.
func TestNamesOfLargeDirectory(t *testing.T) {
	const pages, size = 4, 100
	files := map[string][]byte{"d/sub/f": []byte("inside")}
	for i := range pages*size - 1 {
		files[fmt.Sprintf("d/shard-%05d", i)] = fmt.Append(nil, i)
	}
	store := memstore.New(files)
	store.PageSize(size)
	m := mount(t, store, options{ttl: -1})
	if got := output(t, "cat", m.path("d/shard-00321"), m.path("d/sub/f"), m.path("d/shard-00005")); got != "321inside5" {
		t.Errorf("cat: %q", got)
	}
	complaint(t, "cat", m.path("d/shard-99999"))
	if got := store.Listed("d"); got != 1 {
		t.Errorf("%d pages for names", got)
	}
	if got := strings.Fields(output(t, "ls", m.path("d"))); len(got) != pages*size || got[0] != "shard-00000" || got[pages*size-1] != "sub" {
		t.Errorf("ls shows %d names", len(got))
	}
	if got := store.Listed("d"); got != pages {
		t.Errorf("%d pages for %d", got, pages)
	}
}

func TestEveryChangeIsRefused(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": []byte("x"), "d/g": nil})
	m := mount(t, store, options{})
	f, d, fresh := m.path("f"), m.path("d"), m.path("new")
	for _, command := range [][]string{
		{"touch", fresh}, {"touch", "-d", "2001-01-01", f}, {"mkdir", fresh}, {"rmdir", d}, {"rm", "-f", f},
		{"mv", f, fresh}, {"ln", f, fresh}, {"ln", "-s", f, fresh}, {"chmod", "600", f}, {"chown", "1", f},
		{"truncate", "-s", "0", f}, {"dd", "if=/dev/zero", "of=" + f, "count=1"}, {"mkfifo", fresh},
	} {
		if got := complaint(t, command[0], command[1:]...); !strings.Contains(got, "Read-only file system") {
			t.Errorf("%v: %s", command, got)
		}
	}
}

func TestMissingNames(t *testing.T) {
	store := memstore.New(map[string][]byte{"d/f": nil})
	m := mount(t, store, options{ttl: -1})
	for _, key := range []string{"x", "d/x", "d/f/x"} {
		got := complaint(t, "cat", m.path(key))
		if !strings.Contains(got, "No such file") && !strings.Contains(got, "Not a directory") {
			t.Errorf("%s: %s", key, got)
		}
	}
	listings := store.Listed("d")
	for range 3 {
		complaint(t, "cat", m.path("d/x"))
	}
	if got := store.Listed("d"); got != listings {
		t.Errorf("an absence that is known took %d listings", got-listings)
	}
}

// An open handle keeps its version. Once a reader has met the change, the next
// open sees the new version, however long listings live.
func TestReplacedObject(t *testing.T) {
	store := memstore.New(map[string][]byte{"d/f": []byte("old content, and more of it")})
	m := mount(t, store, options{ttl: -1})
	path := m.path("d/f")
	before := fields(child(t, "stat", path))[0]
	h := openInChild(t, path)
	store.Put("d/f", memstore.Object{Data: []byte("new")})
	if got := h.read(0, 5); got != "ESTALE" {
		t.Errorf("an open handle reads %s, want ESTALE", got)
	}
	if got := output(t, "cat", path); got != "new" {
		t.Errorf("cat: %q", got)
	}
	after := fields(child(t, "stat", path))[0]
	if before[0] == after[0] || after[1] != "3" {
		t.Errorf("inode and size before %v, after %v", before[:2], after[:2])
	}
	if got := h.read(0, 5); got != "ESTALE" {
		t.Errorf("the old handle reads %s, want ESTALE", got)
	}
}

func TestChangesShowWhenListingsExpire(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": []byte("old")})
	m := mount(t, store, options{ttl: 20 * time.Millisecond})
	if got := output(t, "cat", m.path("f")); got != "old" {
		t.Errorf("cat: %q", got)
	}
	store.Put("f", memstore.Object{Data: []byte("new content")})
	eventually(t, func() bool {
		got, err := exec.Command("cat", m.path("f")).Output()
		return err == nil && string(got) == "new content"
	})
	store.Remove("f")
	eventually(t, func() bool { return exec.Command("test", "-e", m.path("f")).Run() != nil })
}

// eventually asks again and again. Only a hang ends it before the answer is yes.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for hung := time.Now().Add(2 * time.Minute); !ok(); {
		if time.Now().After(hung) {
			t.Fatal("it never came about")
		}
	}
}
