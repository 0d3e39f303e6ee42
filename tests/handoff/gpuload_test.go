package handoff

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"weightfs/handoff"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// load loads a source onto the CPU, and returns its manifest without the file's place
// and what was logged.
func load(t *testing.T, source string, args ...string) (manifest, said string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "manifest")
	args = append([]string{"load", source, "--device", "cpu", "--manifest", name, "--log-level", "info"}, args...)
	out, err := exec.CommandContext(t.Context(), theStage.Gpuload, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
		return "", ""
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(text), string(out)
}

const throughFUSE = "the mount is read through FUSE"

// Several loads at once have the bytes of the original from the daemon's memory,
// although that is smaller than the file, and so do sixteen readers of the mount.
func TestLoads(t *testing.T) {
	want, _ := load(t, filepath.Join(theStage.Scratch, object))
	m := mount(t, nil)
	var loads sync.WaitGroup
	for range 16 {
		loads.Go(func() {
			if err := readDirect(t, filepath.Join(m.Dir, object)); err != nil {
				t.Error(err)
			}
		})
	}
	for range 4 {
		loads.Go(func() {
			got, said := load(t, filepath.Join(m.Dir, object))
			if got != want {
				t.Error("the tensors differ")
			}
			if strings.Contains(said, throughFUSE) {
				t.Error(said)
			}
		})
	}
	loads.Wait()
	// All but headers, and what the kernel has in its page cache.
	if s := statusOf(t, m); s.Handoff.Bytes < 3*size || s.Handoff.Held != 0 {
		t.Errorf("%+v", s.Handoff)
	}
}

// A load whose daemon is killed ends with an error that names file, range and tensor,
// and leaves no manifest.
func TestLoadKilled(t *testing.T) {
	between, over := proxy.Start(t, theStage.Server.Endpoint), make(chan struct{})
	defer close(over)
	// Most of the file does not come before the end.
	between.SetRules(1, proxy.Rule{Op: "GET", Skip: 8, Fault: proxy.Fault{Hold: over}})
	m, err := theStage.Mount(t.Context(), rig.MountOptions{
		Source: "s3://" + bucket, Env: append(theStage.Server.Env(), "AWS_ENDPOINT_URL="+between.Endpoint), Args: []string{"--memory-limit", fmt.Sprint(limit)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() }) // it did not end well
	manifest := filepath.Join(t.TempDir(), "manifest")
	gpuload := exec.CommandContext(t.Context(), theStage.Gpuload, "load", filepath.Join(m.Dir, object), "--device", "cpu", "--manifest", manifest)
	var said strings.Builder
	gpuload.Stderr = &said
	if err := gpuload.Start(); err != nil {
		t.Fatal(err)
	}
	rig.Await(t, "a lease", func() bool { return statusOf(t, m).Handoff.Bytes > 0 })
	if err := m.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := gpuload.Wait(); err == nil {
		t.Error("the load succeeded")
	}
	if !regexp.MustCompile(`(?m)^gpuload: load .*` + object + ` \[\d+,\d+\), tensors? ".*(not connected|connection abort)`).MatchString(said.String()) {
		t.Error(said.String())
	}
	if _, err := os.Stat(manifest); err == nil {
		t.Error("there is a manifest")
	}
}

// A daemon that speaks another version is not asked, and a line says why.
func TestLoadOfAnotherVersion(t *testing.T) {
	want, _ := load(t, filepath.Join(theStage.Scratch, object))
	m := mount(t, nil)
	socket := filepath.Join(t.TempDir(), filepath.Base(socketOf(t, filepath.Join(m.Dir, object))))
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			welcome := make([]byte, 64)
			welcome[0] = 2
			binary.LittleEndian.PutUint32(welcome[8:], uint32(syscall.EPROTONOSUPPORT))
			welcome[12] = handoff.Version + 1
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = conn.Write(welcome) // a client that has gone fails the test
			_ = conn.Close()
		}
	}()
	t.Setenv(handoff.FolderVariable, filepath.Dir(socket))
	got, said := load(t, m.Dir)
	if got != want {
		t.Error("the tensors differ")
	}
	if strings.Count(said, throughFUSE) != 1 || !strings.Contains(said, "protocol not supported") {
		t.Errorf("want one line with the cause: %s", said)
	}
}

// bench shows what was leased, and the mount beside it as it is without.
func TestBench(t *testing.T) {
	m := mount(t, nil)
	out, err := exec.CommandContext(t.Context(), theStage.Gpuload, "bench", m.Dir, "--device", "cpu", "--sweep", "2", "--json", "--plot=", "--store", theStage.Scratch).Output()
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Runs []struct {
			Leased int64 `json:"leased_bytes"`
		}
		Stages []struct {
			Name  string
			Rate  float64 `json:"bytes_per_second"`
			Aside bool
		}
	}
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatal(err)
	}
	if len(said.Runs) != 1 || said.Runs[0].Leased < size*3/4 {
		t.Errorf("%+v", said.Runs)
	}
	found := false
	for _, s := range said.Stages {
		found = found || s.Name == "mount through FUSE" && s.Aside && s.Rate > 0
	}
	if !found {
		t.Errorf("%+v", said.Stages)
	}
	fuse := statusOf(t, m)
	if read := fuse.Measures["read_bytes_total"]; read < size*3/4 {
		t.Errorf("%d bytes were read through FUSE", read)
	}
}

// A mount whose memory is not shared is read, and a line says so.
func TestLoadWithoutSharing(t *testing.T) {
	want, said := load(t, filepath.Join(theStage.Scratch, object))
	if strings.Contains(said, throughFUSE) {
		t.Error(said)
	}
	m := start(t, nil, "--share", "off")
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	got, said := load(t, m.Dir)
	if got != want {
		t.Error("the tensors differ")
	}
	if strings.Count(said, throughFUSE) != 1 {
		t.Errorf("want one line: %s", said)
	}
}

// A load that is refused reads the mount, and a line says why.
func TestLoadRefused(t *testing.T) {
	want, _ := load(t, filepath.Join(theStage.Scratch, object))
	m := mount(t, nil)
	// Connections of one user, all of them: the load gets none.
	for range 64 {
		client(t, m)
	}
	got, said := load(t, filepath.Join(m.Dir, object))
	if got != want {
		t.Error("the tensors differ")
	}
	if strings.Count(said, throughFUSE) != 1 || !strings.Contains(said, "too many users") {
		t.Errorf("want one line with the cause: %s", said)
	}
	if s := statusOf(t, m); s.Measures["handoff_refused_total"] != 1 {
		t.Error(fmt.Sprint(s.Measures["handoff_refused_total"], " refused"))
	}
}
