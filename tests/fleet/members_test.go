package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weightfs/tests/rig"
)

// TestMembers holds that an instance follows the addresses of the name of all, as a
// headless service has them, that it needs no right of root's, and that nodes notice
// nothing.
func TestMembers(t *testing.T) {
	t.Parallel()
	s := newSmallScene(t, 1)
	hosts := filepath.Join(t.TempDir(), "hosts")
	names := func(addresses ...string) {
		t.Helper()
		text := "127.0.0.1 localhost\n"
		for _, address := range addresses {
			text += address + " owners.example\n"
		}
		noError(t, os.WriteFile(hosts, []byte(text), 0o644)) // in place: it is mounted
	}
	names("127.0.0.1")
	dir, err := os.MkdirTemp(theStage.Scratch, "run-")
	noError(t, err)
	const nobody = 65534
	noError(t, os.Chown(dir, nobody, nobody))
	router, owner := takePort(t), takePort(t)
	_, port, _ := strings.Cut(owner, ":")
	own := append(rig.OwnMounts(), "sh", "-c", "mount --bind "+hosts+" /etc/hosts && exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all "+theStage.render+" run")
	cmd := exec.Command(own[0], own[1:]...)
	cmd.Env = append(os.Environ(), "STORES="+strings.ReplaceAll(s.storeHost(), ".", `\.`), "SCHEME=http", "RESOLVER=127.0.0.1",
		"LISTEN="+router, "OWNER_LISTEN=0.0.0.0:"+port, "OWNERS=owners.example:"+port, "PEERS=127.0.0.0/8", "RENEW=1", "WORKERS=1",
		"DIR="+dir+"/cache", "STATE="+dir+"/state", "FREE=0", "ACCESS_LOG=off", "OWNER_TIMEOUT=60s")
	process, err := rig.StartProcess(cmd)
	noError(t, err)
	t.Cleanup(func() {
		noError(t, process.Signal(syscall.SIGTERM))
		process.Wait()
		if t.Failed() {
			t.Log(process.Output())
		}
	})
	members := func() string {
		text, err := os.ReadFile(dir + "/state/owners.conf")
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
	line := func(address string) string {
		return fmt.Sprintf("server %s:%s max_fails=1 fail_timeout=5s;\n", address, port)
	}
	rig.Await(t, "it knows itself", func() bool { return members() == line("127.0.0.1") })
	names("127.0.0.1", "127.0.0.2")
	rig.Await(t, "it knows the other", func() bool { return members() == line("127.0.0.1")+line("127.0.0.2") })
	s.awaitListening(process, router)
	m := s.mount("--cache-url", "http://"+router)
	s.readAll([]*rig.Mount{m}, nil)
	names() // a name server that fails is no reason to be alone
	s.readAll([]*rig.Mount{s.mount("--cache-url", "http://"+router)}, nil)
	if got := members(); got != line("127.0.0.1")+line("127.0.0.2") {
		t.Errorf("members: %q", got)
	}
	if got := reportOf(t, m); got.Bytes < s.size || got.DirectBytes != 0 {
		t.Errorf("%+v", got)
	}
	s.holds(1.05, 0)
}
