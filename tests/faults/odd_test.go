package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// TestOddKeys holds that every key which can be a file is one, with its content,
// and that every other is hidden, counted and warned of once.
func TestOddKeys(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 255)
	shown := []string{
		"plain", "with space", " leading space", "quote\"s'", "line\nbreak", "tab\tand\x01control", "ünïcode/模型.safetensors",
		"invalid-utf8-\xff\xfe", long, "deep/" + long + "/" + long, "percent%2Fescape", "plus+sign", "back\\slash", ".hidden", "...",
		"both/inside", "star*?[x]", "-dash", "~tilde", "a:b", "dir.safetensors/x",
	}
	hidden := []string{"a//b", "./dot", "x/./y", "../up", "x/../z", "/lead", long + "n", "x/" + long + "n/in", "nul\x00byte"}
	directories := []string{"marker/", "both"} // of a key that is a directory too, the directory is shown
	store, env := startMemoryStore(t)
	for _, key := range slices.Concat(shown, hidden, directories) {
		noError(t, store.put(key, []byte(key)))
	}
	m := mountFor(t, rig.MountOptions{
		Source: "s3://keys", Args: []string{"--metadata-ttl", nameMemory.String()},
		Env: env,
	})
	checkTree(t, m.Dir, shown)
	listed := measures(t, m.Dir)["store_lists_total"]
	if !rig.Eventually(func() bool { // the root is listed anew
		succeed(t, "ls", m.Dir)
		return measures(t, m.Dir)["store_lists_total"] > listed
	}) {
		t.Error("nothing is listed anew")
	}
	checkTree(t, m.Dir, shown)
	count := measures(t, m.Dir)["hidden_names"]
	awaitLogged(t, m.Process, "hiding keys that")
	awaitLogged(t, m.Process, "hiding objects whose")
	warnings := strings.Count(m.Output(), "level=WARN")
	names, objects := strings.Count(m.Output(), "hiding keys that"), strings.Count(m.Output(), "hiding objects whose")
	// The root hides /, ., .., one long name, nul and the object both; a one, x three.
	// Of each kind one line tells.
	if count != 10 || names != 1 || objects != 1 || warnings != 2 {
		t.Errorf("%d names are hidden, with %d warnings: %d of names, %d of objects", count, warnings, names, objects)
	}
	if info := succeed(t, "stat", "-c", "%F", filepath.Join(m.Dir, "marker"), filepath.Join(m.Dir, "both")); info != "directory\ndirectory\n" {
		t.Errorf("marker and both are %q", info)
	}
}

// checkTree holds that the regular files below dir are those, each with its name
// as its content.
func checkTree(t *testing.T, dir string, want []string) {
	t.Helper()
	out := succeed(t, "find", dir, "-type", "f", "-printf", `%P\0`)
	got := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, name := range got {
		if content := succeed(t, "cat", "--", dir+"/"+name); content != name {
			t.Errorf("%q has the content %q", name, content)
		}
	}
}

// TestLargeFiles reads beyond 4 and 5 GiB of a sparse file, in a folder and in a
// bucket.
func TestLargeFiles(t *testing.T) {
	const size, mark = 6 << 30, "the very end"
	folder := filepath.Join(theStage.Server.Dir, bucket)
	noError(t, putSparse(t, "sparse", size))
	f, err := os.OpenFile(filepath.Join(folder, "sparse"), os.O_WRONLY, 0)
	noError(t, err)
	for _, off := range []int64{1<<32 - 6, 5<<30 + 1, size - int64(len(mark))} {
		_, err := f.WriteAt([]byte(mark), off)
		noError(t, err)
	}
	noError(t, f.Close())
	for name, source := range map[string]string{"folder": folder, "bucket": "s3://" + bucket} {
		t.Run(name, func(t *testing.T) {
			m := mountFor(t, rig.MountOptions{Source: source, Env: theStage.Server.Env(), Args: []string{"--memory-limit", "64Mi"}})
			script := `stat -c %s "$0" && for at in ` + fmt.Sprint(1<<32-6, " ", 5<<30+1, " ", size-len(mark)) +
				`; do tail -c "+$((at + 1))" "$0" | head -c ` + fmt.Sprint(len(mark)) + `; echo; done`
			got := succeed(t, "sh", "-c", script, filepath.Join(m.Dir, "sparse"))
			want := fmt.Sprintf("%d\n%s\n%s\n%s\n", int64(size), mark, mark, mark)
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestFolderFileChanges holds that who reads a file which grows or shrinks
// meanwhile gets what the file system beneath would give, and that the file soon
// shows as it is.
func TestFolderFileChanges(t *testing.T) {
	t.Parallel()
	gone := outcome{Failures: []string{"SIGBUS"}}
	for name, c := range map[string]struct {
		size int64 // then; it was 2
		end  map[string]outcome
	}{
		"grows":   {3, map[string]outcome{"held": readOf(make([]byte, 2<<20)), "held mapped": readOf(make([]byte, 2<<20))}},
		"shrinks": {0, map[string]outcome{"held": readOf(make([]byte, 1<<20)), "held mapped": gone}},
	} {
		for _, way := range []string{"held", "held mapped"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(t.TempDir(), "source", "file")
				noError(t, os.Mkdir(filepath.Dir(file), 0o755))
				noError(t, os.WriteFile(file, make([]byte, 2<<20), 0o644))
				m := mountFor(t, rig.MountOptions{Source: filepath.Dir(file), Args: []string{"--metadata-ttl", nameMemory.String()}})
				reader := hold(t, filepath.Join(m.Dir, "file"), way == "held mapped")
				reader.askHalf()
				reader.awaitHalf()
				noError(t, os.Truncate(file, c.size<<20))
				o := reader.finish()
				if !o.same(c.end[way]) {
					t.Errorf("the reader got %#v, want %#v", o, c.end[way])
				}
				want := fmt.Sprintln(c.size << 20)
				if !rig.Eventually(func() bool { return succeed(t, "stat", "-c", "%s", filepath.Join(m.Dir, "file")) == want }) {
					t.Error("the new size does not show")
				}
				checkQuiet(t, m)
			})
		}
	}
}

// TestFolderOnOtherFileSystems holds that folders on overlayfs and on FUSE can
// be mounted and read.
func TestFolderOnOtherFileSystems(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]func(t *testing.T) string{
		"overlayfs": overlay,
		"FUSE":      func(t *testing.T) string { return mountBucket(t).Dir },
	} {
		for _, way := range ways() {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				m := mountFor(t, rig.MountOptions{Source: source(t)})
				r := &scene{t: t, mount: m}
				must(t, r.read(way))
				checkQuiet(t, m)
			})
		}
	}
}

// overlay mounts an overlay over a folder with the object, for the length of the
// test.
func overlay(t *testing.T) string {
	t.Helper()
	// An overlay's folders may not be on another overlay: a tmpfs is sure.
	base := t.TempDir()
	mount := func(kind, dir, options string) {
		t.Helper()
		noError(t, unix.Mount(kind, dir, kind, 0, options))
		atEnd(t, func() error { return unix.Unmount(dir, 0) })
	}
	mount("tmpfs", base, "")
	succeed(t, "sh", "-c", `cd "$0" && mkdir lower upper work merged && cp "$1" lower`, base, theStage.original)
	mount("overlay", base+"/merged", fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", base))
	return base + "/merged"
}

// TestUnreadableFile holds that a file which mountd itself may not read is shown,
// and gives EACCES.
func TestUnreadableFile(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	noError(t, os.WriteFile(file, []byte("x"), 0o600))
	noError(t, os.Chown(file, 65534, 65534))
	m := mountUnder(t, []string{"setpriv", "--bounding-set=-dac_override,-dac_read_search"}, folder) // reads no more than others
	o := readFile(t, "sequential", filepath.Join(m.Dir, "file"))
	if len(o.Failures) != 1 || o.errno() != "EACCES" {
		t.Errorf("the reader got: %v", o)
	}
}
