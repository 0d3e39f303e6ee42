package rig

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// childLimit bounds a child of Succeed, and the wait of Eventually: past it somebody
// hangs.
const childLimit = 3 * time.Minute

// MountFor mounts until tb ends, which fails if mountd does not end cleanly then:
// with exit 0, or the one given.
func (p *Programs) MountFor(tb testing.TB, opts MountOptions, exit ...int) *Mount {
	tb.Helper()
	m, err := p.Mount(tb.Context(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := m.Close(); err != nil && (len(exit) == 0 || m.Wait() != exit[0]) {
			tb.Error(err)
		}
		if tb.Failed() {
			lines := strings.SplitAfter(m.Output(), "\n")
			tb.Logf("mountd wrote, at last:\n%s", strings.Join(lines[max(0, len(lines)-40):], ""))
		}
	})
	return m
}

// CgroupFor makes a group until tb ends.
func CgroupFor(tb testing.TB, name string) *Cgroup {
	tb.Helper()
	group, err := NewCgroup("weightfs-" + name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := group.Close(); err != nil {
			tb.Error(err)
		}
	})
	return group
}

// CheckMemory holds the peaks of a mountd's resident memory, of both of its
// processes, and of its group's charge to what is promised with that memory limit, in
// bytes, and so many objects known. It returns what it saw.
func CheckMemory(tb testing.TB, m *Mount, group *Cgroup, limit, objects int64) string {
	tb.Helper()
	resident, err := PeakRSS(m.PID())
	if err != nil {
		tb.Fatal(err)
	}
	if keeper := m.Process.PID(); keeper != m.PID() {
		kept, err := PeakRSS(keeper)
		if err != nil {
			tb.Fatal(err)
		}
		resident += kept
	}
	charged, err := group.Peak()
	if err != nil {
		tb.Fatal(err)
	}
	promise := limit + 128<<20 + objects<<10
	seen := fmt.Sprintf("peak resident %d MiB, charged %d MiB, promised %d MiB", resident>>20, charged>>20, promise>>20)
	if max(resident, charged) > promise {
		tb.Error(seen)
	}
	return seen
}

// Succeed is Output, and ends the test where the child fails or hangs.
func Succeed(tb testing.TB, env []string, name string, args ...string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), childLimit) // at the end of a test too
	defer cancel()
	out, err := Output(ctx, env, name, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// Eventually polls until holds returns true, and returns false where somebody hangs.
func Eventually(holds func() bool) bool {
	for began := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > childLimit {
			return false
		}
	}
	return true
}

// Await is Eventually, and ends the test where what is said does not come.
func Await(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	if !Eventually(holds) {
		tb.Fatalf("still not: %s", what)
	}
}
