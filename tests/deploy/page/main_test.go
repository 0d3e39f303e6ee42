// Package page looks at a mount as those do who operate it: at its page, in a real
// Chromium, and at mountd status, while the mount is read. It needs root and
// Debian's chromium; "make deploy-test" installs it.
package page

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"weightfs/handoff"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// hang bounds what a test waits for: past it somebody hangs.
const hang = 2 * time.Minute

const (
	bucket = "models"
	shard  = "llama/model-00001-of-00004.safetensors"
	broken = "llama/broken.safetensors"
	// hostile is a name that would end the page, were it taken for markup.
	hostile = `<img src=x onerror="document.title='taken'"><b>.safetensors`
	// size is that of the shard, and more than the memory limit: who reads it over
	// and over never stops fetching.
	size  = 48 << 20
	limit = 32 << 20
)

// theStage is set before the first test runs.
var theStage *rig.Stage

func TestMain(m *testing.M) {
	rig.Main(m, "page", rig.ServerOptions{}, func(_ context.Context, s *rig.Stage) error {
		theStage = s
		return nil
	})
}

// busyMount is a mount of a distant bucket that is read.
type busyMount struct {
	*rig.Mount
	readers []*rig.Process
}

// mountUnderLoad mounts a bucket behind a slow proxy, and reads it until the test
// ends: one reader goes through a shard over and over, one keeps a file of a
// hostile name open, and one has failed.
func mountUnderLoad(t *testing.T, args ...string) *busyMount {
	t.Helper()
	theStage.Server.Fill(t, bucket, map[string][]byte{shard: make([]byte, size), broken: make([]byte, 1<<20), hostile: make([]byte, 4<<20)})
	before := proxy.Start(t, theStage.Server.Endpoint)
	before.SetShape(proxy.Shape{FirstByte: 50 * time.Millisecond, PerConnection: 2 << 20, Total: 8 << 20})
	before.SetRules(1, proxy.Rule{Op: "GET", Key: broken, Fault: proxy.Fault{Status: 403, Code: "AccessDenied"}})
	b := &busyMount{Mount: theStage.MountFor(t, rig.MountOptions{
		Source: "s3://" + bucket,
		Args:   append([]string{fmt.Sprint("--memory-limit=", limit)}, args...),
		Env:    append(theStage.Server.Env(), "AWS_ENDPOINT_URL="+before.Endpoint),
	})}
	t.Cleanup(b.stopReading)
	b.read(t, `while dd if="$0" of=/dev/null bs=1M iflag=direct status=none; do :; done`, shard)
	b.read(t, `exec sleep 3600 <"$0"`, hostile)
	if out, err := exec.Command("cat", filepath.Join(b.Dir, broken)).CombinedOutput(); err == nil {
		t.Fatalf("what the store refuses was read: %s", out)
	}
	return b
}

// read runs a shell's script with a file of the mount until the test ends.
func (b *busyMount) read(t *testing.T, script, key string, args ...string) {
	t.Helper()
	p, err := rig.StartProcess(exec.Command("sh", append([]string{"-c", script, filepath.Join(b.Dir, key)}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	b.readers = append(b.readers, p)
}

// lease leases a megabyte of a file, and keeps it until the mount ends.
func (b *busyMount) lease(t *testing.T, key string) {
	t.Helper()
	place, err := handoff.Find(filepath.Join(b.Dir, key))
	if err != nil {
		t.Fatal(err)
	}
	client, err := handoff.Dial(t.Context(), place.Socket, handoff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() }) // fails where the daemon has ended
	file, err := client.Open(t.Context(), place.Path)
	if err != nil {
		t.Fatal(err)
	}
	wants, err := file.Want(handoff.Range{Length: 1 << 20})
	if err == nil {
		err = wants[0].Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stopReading ends the readers, with what they have started.
func (b *busyMount) stopReading() {
	for _, p := range b.readers {
		_ = exec.Command("kill", "-KILL", "--", fmt.Sprint("-", p.PID())).Run() // its group; it may be gone
		<-p.Done()
	}
}

// address is where mountd says that it serves.
func (b *busyMount) address(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	match, err := b.AwaitOutput(ctx, regexp.MustCompile(`url=(http://[^/\s]+)/metrics`))
	if err != nil {
		t.Fatal(err)
	}
	return match[1]
}
