package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// sums returns what sha256sum says of every file below dir, by relative path.
func sums(t *testing.T, dir string) string {
	t.Helper()
	return output(t, "sh", "-c", `cd "$0" && find . -type f -print0 | sort -z | xargs -0 sha256sum`, dir)
}

// TestFilesAreTheOriginals reads every file through mounts of bucket and folder
// with a program that knows nothing of us, twice: fetched, and kept.
func TestFilesAreTheOriginals(t *testing.T) {
	for _, m := range theStage.models {
		want := sums(t, m.dir)
		for way, source := range map[string]string{"s3": "s3://" + bucket + "/" + m.name, "folder": m.dir} {
			t.Run(m.name+"/"+way, func(t *testing.T) {
				dir := mount(t, source).Dir
				for range 2 {
					if got := sums(t, dir); got != want {
						t.Errorf("got\n%swant\n%s", got, want)
					}
				}
			})
		}
	}
}

// TestListing compares names, types and sizes with the originals.
func TestListing(t *testing.T) {
	list := func(dir string) string {
		return output(t, "sh", "-c", `cd "$0" && find . -mindepth 1 -printf '%y %s %P\n' | sed -E 's/^d [0-9]+/d/' | sort`, dir)
	}
	m := theStage.model(t, "trained")
	want := list(m.dir)
	for way, source := range map[string]string{"s3": "s3://" + bucket + "/" + m.name, "folder": m.dir} {
		t.Run(way, func(t *testing.T) {
			if got := list(mount(t, source).Dir); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
	dir := mount(t, "s3://"+bucket).Dir
	if r := run(t, "cat", filepath.Join(dir, "nothing")); r.Code == 0 || !strings.Contains(r.Stderr, "No such file") {
		t.Errorf("a missing file: exit %d: %s", r.Code, r.Stderr)
	}
}

// TestReadOnly holds that every change is refused as on a read-only medium.
func TestReadOnly(t *testing.T) {
	dir := mount(t, "s3://"+bucket).Dir
	for _, script := range []string{"touch new", "echo x > trained/vocab.txt", "rm trained/vocab.txt", "mkdir d", "mv trained t", "ln -s a b", "chmod 777 trained"} {
		r := run(t, "sh", "-c", "cd "+dir+" && "+script)
		if r.Code == 0 || !strings.Contains(r.Stderr, "Read-only file system") {
			t.Errorf("%s: exit %d: %s", script, r.Code, r.Stderr)
		}
	}
}

// TestHuggingFaceCache loads a model from the layout of the Hugging Face cache:
// blobs without a suffix, and links to them.
func TestHuggingFaceCache(t *testing.T) {
	m := theStage.model(t, "mixed")
	hub := t.TempDir()
	repo := filepath.Join(hub, "models--org--name")
	snapshot := filepath.Join(repo, "snapshots", "abc123")
	for _, dir := range []string{filepath.Join(repo, "blobs"), snapshot} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, entry := range entries {
		blob := filepath.Join("blobs", strings.Repeat(string(rune('a'+i)), 64))
		if err := os.Link(filepath.Join(m.dir, entry.Name()), filepath.Join(repo, blob)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..", "..", blob), filepath.Join(snapshot, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	checkLoad(t, m, filepath.Join(mount(t, hub).Dir, "models--org--name", "snapshots", "abc123"))
}

// TestSignalsUnmount holds that SIGINT and SIGTERM end an idle mount cleanly,
// and so does unmounting from outside.
func TestSignalsUnmount(t *testing.T) {
	source := theStage.model(t, "mixed").dir
	for name, end := range map[string]func(*rig.Mount) error{
		"SIGTERM": func(m *rig.Mount) error { return m.Signal(syscall.SIGTERM) },
		"SIGINT":  func(m *rig.Mount) error { return m.Signal(syscall.SIGINT) },
		"umount":  func(m *rig.Mount) error { return exec.Command("fusermount3", "-u", m.Dir).Run() },
	} {
		t.Run(name, func(t *testing.T) {
			m := mount(t, source)
			if err := end(m); err != nil {
				t.Fatal(err)
			}
			if code := m.Wait(); code != 0 {
				t.Errorf("exit %d: %s", code, m.Output())
			}
			if mounted, err := rig.IsMounted(m.Dir); mounted || err != nil {
				t.Errorf("mounted: %v, %v", mounted, err)
			}
		})
	}
}

// TestSignalServesOpenFiles holds that a busy mount is detached at the first
// signal while a file that is open can be read to its end.
func TestSignalServesOpenFiles(t *testing.T) {
	m := mount(t, "s3://"+bucket)
	reader, stdin := startReader(t, filepath.Join(m.Dir, "sharded", "model-00001-of-00004.safetensors"))
	if err := m.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitUnmounted(t, m)
	if err := stdin.Close(); err != nil { // the reader goes on
		t.Fatal(err)
	}
	if code := reader.Wait(); code != 0 {
		t.Errorf("the reader: exit %d: %s", code, reader.Output())
	}
	if code := m.Wait(); code != 0 {
		t.Errorf("mountd: exit %d: %s", code, m.Output())
	}
}

// startReader starts a child that has the file open and reads it once its
// standard input ends. It returns when the file is open.
func startReader(t *testing.T, path string) (*rig.Process, *os.File) {
	t.Helper()
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	opened, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `exec 9<"$0" && echo open && read wait; exec >/dev/null; cat <&9`, path)
	cmd.Stdin, cmd.Stdout = in, out
	p, err := rig.StartProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	in.Close()
	out.Close()
	defer opened.Close()
	if _, err := opened.Read(make([]byte, 5)); err != nil {
		t.Fatalf("the reader did not open %s: %v: %s", path, err, p.Output())
	}
	return p, stdin
}

// waitUnmounted waits until the mount has left the kernel's table.
func waitUnmounted(t *testing.T, m *rig.Mount) {
	t.Helper()
	if err := rig.AwaitUnmount(t.Context(), m.Dir); err != nil {
		t.Fatal(err)
	}
}

// TestDaemon holds that --daemon returns once the mount answers, that the
// daemon outlives its parent, and that it ends with the mount.
func TestDaemon(t *testing.T) {
	m := theStage.model(t, "mixed")
	dir := t.TempDir()
	output(t, theStage.Mountd, "--daemon", "s3://"+bucket, dir)
	t.Cleanup(func() { exec.Command("fusermount3", "-u", "-z", dir).Run() })
	if got, want := sums(t, filepath.Join(dir, m.name)), sums(t, m.dir); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	output(t, theStage.Mountd, "status", dir)
	output(t, "fusermount3", "-u", dir)
	if mounted, err := rig.IsMounted(dir); mounted || err != nil {
		t.Errorf("mounted: %v, %v", mounted, err)
	}
	failure{args: []string{"--daemon", "s3://no-such-bucket", dir}, code: 1, names: "no-such-bucket"}.check(t, theStage.server.Env(), theStage.Mountd)
}

// TestStatus holds that status tells of a running mount, for people and for
// programs, and says so when there is none.
func TestStatus(t *testing.T) {
	m := mount(t, "s3://"+bucket, "--memory-limit", "256Mi")
	output(t, "cat", filepath.Join(m.Dir, "trained", "model.safetensors"))
	if text := output(t, theStage.Mountd, "status", m.Dir); !strings.Contains(text, "s3://"+bucket) {
		t.Errorf("status does not name the source: %s", text)
	}
	var status map[string]any
	if err := json.Unmarshal([]byte(output(t, theStage.Mountd, "status", m.Dir, "--json")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status) == 0 {
		t.Error("status is empty")
	}
	nowhere := t.TempDir()
	failure{args: []string{"status", nowhere}, code: 1, names: nowhere}.check(t, nil, theStage.Mountd)
}

// TestFolderIsPassedThrough holds that the kernel reads a folder's files by
// itself where it can: a root mountd and a kernel of 6.9 or later. Memory for
// what is fetched is not made ready then.
func TestFolderIsPassedThrough(t *testing.T) {
	m := mount(t, theStage.model(t, "sharded").dir, "--memory-limit", "2Gi")
	output(t, "sh", "-c", `cat "$0"/*.safetensors >/dev/null`, m.Dir)
	text := output(t, theStage.Mountd, "status", m.Dir, "--json")
	if found := regexp.MustCompile(`(?i)"passthrough[a-z_]*": *(true|[1-9][0-9]*)`).FindString(text); found == "" {
		t.Errorf("no file was passed through: %s", text)
	}
	time.Sleep(500 * time.Millisecond) // it would have touched half a gigabyte by now
	if peak, err := rig.PeakRSS(m.PID()); peak > 128<<20 || err != nil {
		t.Errorf("a mountd that fetched nothing took %d MiB: %v", peak>>20, err)
	}
}
