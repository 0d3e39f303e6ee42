package faults

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// daemonGrace is how long a peer may take to end when it is told to, as a unit of
// systemd has 90 s.
const daemonGrace = 90 * time.Second

// mountAgain mounts the peer, where it may have been mounted before.
func (m *meeting) mountAgain() {
	m.t.Helper()
	m.mounts = append(m.mounts, mountPeer(m.t, m.peer, m.proxy.Endpoint, m.bucket, object, m.dir, nil))
}

// current is the process that is mounted at dir.
func (m *meeting) current() *rig.Process { return m.mounts[len(m.mounts)-1] }

// underReader has ask begin to read, and do happen when the reader cannot come to its
// end: the store holds the last quarter back, until do has returned or called release.
func (m *meeting) underReader(ask func(), do func(*meeting)) {
	m.t.Helper()
	held := make(chan struct{})
	m.release = sync.OnceFunc(func() { close(held) })
	defer m.release()
	m.proxy.SetRules(1, proxy.Rule{Op: "GET", Fault: proxy.Fault{Hold: held}, When: func(r proxy.Request) bool {
		return r.Length < 0 || r.Offset+r.Length > 2*theStage.size*3/4
	}})
	ask()
	if !rig.Eventually(func() bool { return m.proxy.Stats().Faults > 0 }) {
		m.t.Fatalf("%s does not ask for the last quarter", m.name)
	}
	do(m)
}

func (m *meeting) replaceObject() {
	theStage.Server.MustPut(m.t, m.bucket, object, make([]byte, 2*theStage.size+4096))
}

// killDaemon is what the kernel does for want of memory. Nobody starts anything then.
func (m *meeting) killDaemon() {
	m.t.Helper()
	noError(m.t, unix.Kill(rig.Serving(m.current().PID()), unix.SIGKILL))
}

// replaceDaemon has the program of now serve in place of the one that runs: by an
// upgrade, or, of a peer that has none, by its end and another start, as "systemctl
// restart" does it.
func (m *meeting) replaceDaemon() {
	m.t.Helper()
	if m.upgrade != nil {
		command := m.upgrade(m.dir)
		succeed(m.t, command[0], command[1:]...)
		return
	}
	noError(m.t, m.current().Signal(syscall.SIGTERM))
	m.release()
	_ = m.current().Stop(daemonGrace) // killed then, as systemd does
	_ = detachMount(m.dir)            // it may be left behind
	m.mountAgain()
}

// detach takes the mount away from its path, where the peer is mounted again, and
// leaves the old one to whoever has a file open.
func (m *meeting) detach() {
	m.t.Helper()
	noError(m.t, detachMount(m.dir))
	m.release()
	m.mountAgain()
}
