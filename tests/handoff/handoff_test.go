package handoff

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"weightfs/handoff/handofftest"
	"weightfs/tests/rig"
)

// nobody is an ordinary user.
func nobody() *syscall.Credential { return &syscall.Credential{Uid: 65534, Gid: 65534} }

// client connects through a mount.
func client(t *testing.T, m *rig.Mount) *handofftest.Child {
	t.Helper()
	return handofftest.Connected(t, role("client", filepath.Join(m.Dir, object), nil))
}

// status is a part of mountd's report.
type status struct {
	Handoff struct {
		Shared           bool
		Bytes, Held, Cap int64
		Clients          []struct{ PID, Leases int }
	}
	Measures map[string]int64
}

func statusOf(t *testing.T, m *rig.Mount) (s status) {
	t.Helper()
	out, err := exec.Command(theStage.Mountd, "status", "--json", m.Dir).Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

// readDirect reads the object through a mount, past the page cache.
func readDirect(t *testing.T, file string) error {
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "dd iflag=direct bs=1M status=none if=\"$0\" | sha256sum", file).Output()
	if want := fmt.Sprintf("%x", sha256.Sum256(theStage.content)); err != nil || !strings.HasPrefix(string(out), want) {
		return fmt.Errorf("a reader of the mount: %v: %s", err, out)
	}
	return nil
}

// The bytes are the original's, and the status shows who has them.
func TestBytes(t *testing.T) {
	m := mount(t, nil)
	c := client(t, m)
	c.Ask(handofftest.Digest(theStage.content), "read %s 0 %d", object, len(theStage.content))
	c.Ask("error ENOENT", "open missing")
	c.Ask("ok", "hold %s 12345 1000000", object)
	s := statusOf(t, m)
	if !s.Handoff.Shared || s.Handoff.Bytes < size || s.Handoff.Held != 1<<20 || len(s.Handoff.Clients) != 1 || s.Handoff.Clients[0].Leases != 1 {
		t.Errorf("%+v", s.Handoff)
	}
	if s.Measures["handoff_clients"] != 1 || s.Measures["handoff_bytes_total"] != s.Handoff.Bytes {
		t.Errorf("%v", s.Measures)
	}
	text, err := exec.Command(theStage.Mountd, "status", m.Dir).Output()
	if err != nil || !strings.Contains(string(text), "1 client, ") {
		t.Errorf("%v: %s", err, text)
	}
}

// Sixteen readers of the mount and four clients, one of them stopped with leases,
// all get their bytes, within what is promised of memory and of the cgroup's
// charge.
func TestBesideReaders(t *testing.T) {
	cgroup, err := rig.NewCgroup("weightfs-handoff")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cgroup.Close(); err != nil {
			t.Error(err)
		}
	})
	m := mount(t, cgroup)
	stopped := client(t, m)
	stopped.Ask("ok", "hold %s 0 4000000", object)
	stopped.Signal(syscall.SIGSTOP)
	var readers sync.WaitGroup
	for range 16 {
		readers.Go(func() {
			if err := readDirect(t, filepath.Join(m.Dir, object)); err != nil {
				t.Error(err)
			}
		})
	}
	var clients []*handofftest.Child
	for range 3 {
		c := client(t, m)
		c.Send("read %s 0 %d", object, len(theStage.content))
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.Expect(handofftest.Digest(theStage.content))
	}
	readers.Wait()
	stopped.Signal(syscall.SIGCONT)
	stopped.Ask(handofftest.Digest(theStage.content[:4000000]), "check")
	stopped.Ask("ok", "give")
	const promised = limit + 128<<20 + 1<<20
	if peak, err := rig.PeakRSS(m.PID()); err != nil || peak > promised {
		t.Errorf("%d MiB were resident: %v", peak>>20, err)
	}
	if peak, err := cgroup.Peak(); err != nil || peak > promised {
		t.Errorf("%d MiB were charged: %v", peak>>20, err)
	}
}

// The end of a client and that of the daemon, by SIGKILL.
func TestKilled(t *testing.T) {
	m := start(t, nil)
	t.Cleanup(func() {
		_ = m.Close() // it did not end well, and leaves its mount
		if mounted, err := rig.IsMounted(m.Dir); mounted || err != nil {
			t.Error("still mounted", err)
		}
	})
	c := client(t, m)
	c.Ask("ok", "hold %s 0 4000000", object)
	c.Kill()
	rig.Await(t, "the leases of a killed client end", func() bool { return statusOf(t, m).Handoff.Held == 0 })
	again := client(t, m)
	again.Ask("ok", "hold %s 0 1000000", object)
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	again.Ask(handofftest.Digest(theStage.content[:1000000]), "check")
	again.Ask("gone", "give")
}

// Another user gets in exactly where the mount lets him.
func TestOtherUser(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		in   bool
	}{
		"closed":        {nil, false},
		"allow-other":   {[]string{"--allow-other"}, true},
		"file modes":    {[]string{"--allow-other", "--file-mode", "0640"}, false},
		"folder modes":  {[]string{"--allow-other", "--dir-mode", "0750"}, false},
		"for his group": {[]string{"--allow-other", "--gid", "65534", "--file-mode", "0640", "--dir-mode", "0750"}, true},
		"owned by him":  {[]string{"--allow-other", "--uid", "65534", "--file-mode", "0400", "--dir-mode", "0500"}, true},
		"not by owner":  {[]string{"--allow-other", "--uid", "65534", "--file-mode", "0044"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := mount(t, nil, tc.args...)
			file := filepath.Join(m.Dir, object)
			cat := exec.Command("head", "-c", "1", file)
			cat.SysProcAttr = &syscall.SysProcAttr{Credential: nobody()}
			if err := cat.Run(); (err == nil) != tc.in {
				t.Fatalf("the mount: %v", err)
			}
			place := socketOf(t, file)
			answer := handofftest.StartChild(t, role("socket", place, nobody())).Answer()
			if (answer == "ok connected") != tc.in {
				t.Errorf("the hand-off: %s", answer)
			}
		})
	}
}
