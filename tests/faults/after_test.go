package faults

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// footprint is what a mountd holds that should not grow: descriptors that are no
// connections, and goroutines that serve none.
type footprint struct{ files, goroutines int }

// goroutinesEach is how many goroutines keep an idle connection to the store.
const goroutinesEach = 2

// footprintOf returns what a mountd holds now; ok is false where it has ended.
func footprintOf(t *testing.T, m *rig.Mount) (f footprint, ok bool) {
	t.Helper()
	select {
	case <-m.Done():
		return f, false
	default:
	}
	goroutines := int(measures(t, m.Dir)["goroutines"])
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", m.PID()))
	if err != nil {
		t.Fatal(err)
	}
	sockets := 0
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // closed meanwhile
		}
		if strings.HasPrefix(target, "socket:") {
			sockets++
		} else {
			f.files++
		}
	}
	f.goroutines = goroutines - goroutinesEach*sockets
	return f, true
}

// checkAtEnd holds, at the end of each case, that a mountd which still runs is
// back to what it held at its start: no file open, no lease, no fetch, no
// descriptor and no goroutine is left of readers, which have ended by then.
func checkAtEnd(t *testing.T, m *rig.Mount) {
	t.Helper()
	if before, ok := footprintOf(t, m); ok {
		t.Cleanup(func() { checkAfter(t, m, before) })
	}
}

func checkAfter(t *testing.T, m *rig.Mount, before footprint) {
	t.Helper()
	if mounted, err := rig.IsMounted(m.Dir); err != nil || !mounted {
		return // it is about to end, and cannot be asked
	}
	now, ok := footprintOf(t, m)
	if !ok {
		return
	}
	checkQuiet(t, m)
	if !eventually(quietLimit, func() bool {
		now, ok = footprintOf(t, m)
		return !ok || now.files <= before.files+2 && now.goroutines <= before.goroutines+10
	}) {
		t.Errorf("mountd held %+v at its start and holds %+v", before, now)
	}
}

// checkNobodyAt holds that no process is left, in state D or any other, whose
// command line names the mountpoint.
func checkNobodyAt(t *testing.T, dir string) {
	t.Helper()
	var left string
	if !eventually(quietLimit, func() bool {
		left = processAt(dir)
		return left == ""
	}) {
		t.Errorf("a process is left at %s: %s", dir, left)
	}
}

// processAt is one whose command line names dir, "" if none does.
func processAt(dir string) string {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err.Error()
	}
	for _, line := range lines {
		text, err := os.ReadFile(line) // fails for those that have ended meanwhile
		if err != nil {
			continue
		}
		for arg := range bytes.SplitSeq(text, []byte{0}) {
			if string(arg) == dir || strings.HasPrefix(string(arg), dir+"/") {
				return filepath.Dir(line) + ": " + string(bytes.ReplaceAll(text, []byte{0}, []byte{' '}))
			}
		}
	}
	return ""
}
