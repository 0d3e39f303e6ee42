package faults

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// usage is what a mountd holds.
type usage struct {
	files, sockets, goroutines, threads int
	resident                            int64
}

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d threads, %d MiB", u.descriptors(), u.goroutines, u.threads, u.resident>>20)
}

func (u usage) descriptors() int { return u.files + u.sockets }

// idle is how many goroutines serve no idle connection to the store, each of which
// is kept by two.
func (u usage) idle() int { return u.goroutines - 2*u.sockets }

// usageOf returns what a mountd that runs holds now.
func usageOf(t *testing.T, m *rig.Mount) (u usage) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", m.PID())
	u.goroutines = int(measures(t, m.Dir)["goroutines"])
	links, err := os.ReadDir(proc + "fd")
	noError(t, err)
	for _, link := range links {
		target, err := os.Readlink(proc + "fd/" + link.Name())
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(target, "socket:"):
			u.sockets++
		default:
			u.files++
		}
	}
	threads, err := os.ReadDir(proc + "task")
	noError(t, err)
	u.threads = len(threads)
	if u.resident, err = rig.RSS(m.PID()); err != nil {
		t.Fatal(err)
	}
	return u
}

// checkAtEnd holds, at the end of each case, that a mountd which still runs is
// back to what it held at its start: no file open, no lease, no fetch, no
// descriptor and no goroutine is left of readers, which have ended by then.
func checkAtEnd(t *testing.T, m *rig.Mount) {
	t.Helper()
	before := usageOf(t, m)
	t.Cleanup(func() {
		mounted, err := rig.IsMounted(m.Dir)
		if closed(m.Done()) || err != nil || !mounted {
			return // or it is about to end, and cannot be asked
		}
		checkQuiet(t, m)
		var now usage
		if !rig.Eventually(func() bool {
			now = usageOf(t, m)
			return now.files <= before.files+2 && now.idle() <= before.idle()+10
		}) {
			t.Errorf("mountd held %+v at its start and holds %+v", before, now)
		}
	})
}

// closed tells whether a channel is.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
