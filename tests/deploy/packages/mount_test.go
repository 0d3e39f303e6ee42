package packages

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"weightfs/tests/rig"
)

// A file of the mounted folder, and how much of it is read at once.
const (
	modelSize = 16 << 20
	readSize  = 1 << 20
)

// mountedFolder is a folder that mount(8) mounted in a Debian, and a reader that
// has a file open there.
type mountedFolder struct {
	d       *debian
	daemons []string // its processes, in there: who keeps the mount, and who serves it
	model   []byte   // what every file has
	reader  *rig.Process
	asked   *os.File // each line has the reader read on
	reads   int
}

// mount mounts a folder, and reads the begin of a file.
func (d *debian) mount() *mountedFolder {
	d.t.Helper()
	m := &mountedFolder{d: d, model: make([]byte, modelSize)}
	random := rand.NewChaCha8([32]byte{1})
	random.Read(m.model)
	if err := os.MkdirAll(filepath.Join(d.root, "srv/models"), 0o755); err != nil {
		d.t.Fatal(err)
	}
	for name := range 4 { // one for the reader, and one that nobody has opened for each check
		writeFile(d.t, filepath.Join(d.root, "srv/models", fmt.Sprint(name)), string(m.model))
	}
	d.run("mount", "-t", "weightfs", "/srv/models", "/mnt", "-o", "ro,allow_other,memory_limit=64Mi")
	if kind := d.run("findmnt", "-n", "-o", "FSTYPE", "/mnt"); kind != "fuse.weightfs\n" {
		d.t.Errorf("the mount is of type %s", kind)
	}
	m.daemons = m.findDaemons()
	asked, theirs, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	m.asked = theirs
	cmd := d.command("sh", "-ec", `exec 3</mnt/0; while read -r bytes; do head -c "$bytes" <&3 | sha256sum; done`)
	cmd.Stdin = asked
	if m.reader, err = rig.StartProcess(cmd); err != nil {
		d.t.Fatal(err)
	}
	asked.Close()
	d.t.Cleanup(func() {
		theirs.Close() // again, where the test came to its end
		if err := m.reader.Kill(); err != nil {
			d.t.Error(err)
		}
	})
	m.checkServes("the mount")
	return m
}

// unmount has the reader close its file first.
func (m *mountedFolder) unmount() {
	m.d.t.Helper()
	m.asked.Close()
	if code := m.reader.Wait(); code != 0 {
		m.d.t.Errorf("the reader ended with %d: %s", code, m.reader.Output())
	}
	m.d.run("umount", "/mnt")
}

// findDaemons returns the processes that run a mountd, as it is called now or was
// before it was replaced.
func (m *mountedFolder) findDaemons() []string {
	m.d.t.Helper()
	// find fails for a process that ends meanwhile.
	found := strings.Fields(m.d.run("sh", "-c", `find /proc/[0-9]*/exe -lname '/usr/bin/mountd*' 2>/dev/null || true`))
	if len(found) != 2 {
		m.d.t.Fatalf("mountd runs as %v", found)
	}
	return found
}

// checkServes checks that the same processes serve the file that is open, one that
// was never opened, and who asks for its state.
func (m *mountedFolder) checkServes(after string) {
	t := m.d.t
	t.Helper()
	part := m.model[m.reads*readSize : (m.reads+1)*readSize]
	m.reads++
	if _, err := fmt.Fprintln(m.asked, readSize); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	if _, err := m.reader.AwaitOutput(ctx, regexp.MustCompile(fmt.Sprintf("%x", sha256.Sum256(part)))); err != nil {
		t.Errorf("after %s, part %d: %v", after, m.reads, err)
	}
	name := fmt.Sprintf("/mnt/%d", m.reads)
	if sum := m.d.run("sha256sum", name); !strings.HasPrefix(sum, fmt.Sprintf("%x", sha256.Sum256(m.model))) {
		t.Errorf("after %s, %s has sum %s", after, name, sum)
	}
	if daemons := m.findDaemons(); !slices.Equal(daemons, m.daemons) {
		t.Errorf("after %s the daemons are %v, and were %v", after, daemons, m.daemons)
	}
	if m.d.try("mountd", "--version").Code != 0 {
		return // it was removed
	}
	if status := m.d.run("mountd", "status", "/mnt"); !strings.Contains(status, "/srv/models") {
		t.Errorf("after %s its status is\n%s", after, status)
	}
}
