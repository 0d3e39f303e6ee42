package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// bucketInstance is an instance of our unit for a bucket with one large file, and its
// content in a file of the test and the node.
func bucketInstance(t *testing.T) (text string, data []byte) {
	t.Helper()
	data = make([]byte, 12<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // it never fails
	server := rig.StartServer(t, rig.ServerOptions{})
	server.Fill(t, "models", map[string][]byte{"f": data})
	return instance("s3://models", "/mnt/models", "AWS_ACCESS_KEY_ID="+server.AccessKey, "AWS_SECRET_ACCESS_KEY="+server.SecretKey,
		"AWS_REGION="+server.Region, "AWS_ENDPOINT_URL="+server.Endpoint), data
}

// readers read the file by the page cache and around it, and by a descriptor that stays
// open, until there is a file "stop". They end with what differs.
const readers = `
cd "$0" && exec 9</mnt/models/f || exit 1
while [ ! -e stop ]; do
	cmp /mnt/models/f data && dd if=/mnt/models/f iflag=direct bs=1M status=none | cmp - data || exit 1
	dd if=/mnt/models/f of=/dev/null iflag=nocache count=0 status=none
	dd bs=64k count=1 status=none <&9 >>held
	echo round
done
cat <&9 >>held && cmp held data`

// awaitMain waits until another process than the last is the main one of the unit, and
// it is ready.
func (m machine) awaitMain(t *testing.T, last string) string {
	t.Helper()
	now := ""
	rig.Await(t, "mountd runs again", func() bool {
		now = m.property(t, "weightfs@a", "MainPID")
		return now != last && now != "0" && m.property(t, "weightfs@a", "SubState") == "running"
	})
	return now
}

// Readers see nothing of kills of either process, nor of a reload, which has the
// mountd that is installed now serve on; a stop unmounts, and nothing is held then.
func TestReadersSeeNoKill(t *testing.T) {
	text, data := bucketInstance(t)
	m := boot(t, map[string]string{"etc/weightfs/a": text})
	if err := os.WriteFile(filepath.Join(m.Shared, "data"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	m.start(t, "a")
	r := m.Start(t, "sh", "-c", readers, m.Shared)
	rounds := func() int { return strings.Count(r.Output(), "round") }
	nextRound := func() {
		t.Helper()
		before := rounds()
		rig.Await(t, "the readers read on", func() bool { return rounds() >= before+2 })
	}
	nextRound()
	main := m.property(t, "weightfs@a", "MainPID")
	m.Succeed(t, "kill", "-KILL", main)
	main = m.awaitMain(t, main)
	nextRound()
	for range 2 { // the process that serves, and then both at once
		worker := strings.TrimSpace(m.Succeed(t, "pgrep", "-P", main))
		m.Succeed(t, "kill", "-KILL", worker)
		nextRound()
		m.Succeed(t, "systemctl", "kill", "--signal=KILL", "weightfs@a")
		main = m.awaitMain(t, main)
		nextRound()
	}
	const version = "9.8.7"
	next := filepath.Join(m.Shared, "mountd")
	if err := rig.BuildVersion(t.Context(), next, version); err != nil {
		t.Fatal(err)
	}
	m.Succeed(t, "mv", next, "/usr/local/bin/mountd")
	if r := m.Run(t, "systemctl", "reload", "weightfs@a"); r.Code != 0 {
		t.Fatalf("reload: %+v\n%s", r, m.log(t, "a"))
	}
	nextRound()
	if status := m.Succeed(t, "mountd", "status", "--json", "/mnt/models"); !strings.Contains(status, `"version":"`+version) || !strings.Contains(status, `"upgrades":1`) {
		t.Errorf("after the reload, the status is %s", status)
	}
	if now := m.property(t, "weightfs@a", "MainPID"); now != main {
		t.Errorf("the reload has changed the main process from %s to %s", main, now)
	}
	if err := os.WriteFile(filepath.Join(m.Shared, "stop"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := r.Wait(); code != 0 {
		t.Errorf("the readers end with %d: %s", code, r.Output())
	}
	if held, err := os.ReadFile(filepath.Join(m.Shared, "held")); err != nil || !bytes.Equal(held, data) {
		t.Errorf("by the descriptor that stayed open came %d bytes: %v", len(held), err)
	}
	m.Succeed(t, "systemctl", "stop", "weightfs@a")
	for name, want := range map[string]string{"ActiveState": "inactive", "NFileDescriptorStore": "0", "Result": "success"} {
		if got := m.property(t, "weightfs@a", name); got != want {
			t.Errorf("stopped, %s is %s and not %s", name, got, want)
		}
	}
	if mounts := m.Mounts(t, "/mnt/models"); len(mounts) != 0 {
		t.Errorf("stopped, mounted are %q", mounts)
	}
	if left := m.Processes(t, "mountd"); len(left) != 0 {
		t.Errorf("stopped, processes %q are left", left)
	}
}

// A reload to what cannot serve fails, and the old one serves on.
func TestRefusedReload(t *testing.T) {
	m := boot(t, map[string]string{"etc/weightfs/a": instance("/srv/models", "/mnt/models")})
	m.start(t, "a")
	m.Succeed(t, "mv", "/srv/models", "/srv/away")
	if r := m.Run(t, "systemctl", "reload", "weightfs@a"); r.Code == 0 {
		t.Error("a reload without a source succeeds")
	}
	m.Succeed(t, "mv", "/srv/away", "/srv/models")
	if status := m.Succeed(t, "mountd", "status", "--json", "/mnt/models"); !strings.Contains(status, `"upgrades":0`) {
		t.Errorf("after the reload, the status is %s", status)
	}
	if state := m.property(t, "weightfs@a", "ActiveState"); state != "active" {
		t.Errorf("after the reload, the unit is %s", state)
	}
	m.reads(t, "/mnt/models")
}

// A unit that is killed again and again is given up by systemd: its readers get an
// error, and nothing is held or mounted.
func TestStartLimit(t *testing.T) {
	text, data := bucketInstance(t)
	m := boot(t, map[string]string{"etc/weightfs/a": text})
	m.start(t, "a")
	reader := m.Start(t, "sh", "-c", "exec 9</mnt/models/f; echo open; while [ ! -e $0/end ]; do sleep 0.1; done; cat <&9 >/dev/null", m.Shared)
	rig.Await(t, "it is open", func() bool { return strings.Contains(reader.Output(), "open") })
	for main := ""; m.property(t, "weightfs@a", "ActiveState") != "failed"; {
		if now := m.property(t, "weightfs@a", "MainPID"); now != "0" && now != main {
			main = now
			m.Run(t, "kill", "-KILL", main) // it may have ended
		}
	}
	if restarts := m.property(t, "weightfs@a", "NRestarts"); restarts < "4" || len(restarts) != 1 {
		t.Errorf("it was given up after %s restarts", restarts)
	}
	if err := os.WriteFile(filepath.Join(m.Shared, "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := reader.Wait(); code == 0 || !strings.Contains(reader.Output(), "Transport endpoint is not connected") {
		t.Errorf("who has it open gets %d: %s", code, reader.Output())
	}
	rig.Await(t, "its mount is gone", func() bool { return len(m.Mounts(t, "/mnt/models")) == 0 })
	if held := m.property(t, "weightfs@a", "NFileDescriptorStore"); held != "0" {
		t.Errorf("%s descriptors are held", held)
	}
	// A fresh start mounts as ever.
	m.Succeed(t, "systemctl", "reset-failed", "weightfs@a")
	m.start(t, "a")
	if sum := m.Succeed(t, "sh", "-c", "wc -c </mnt/models/f"); strings.TrimSpace(sum) != fmt.Sprint(len(data)) {
		t.Error(errors.New(sum))
	}
}
