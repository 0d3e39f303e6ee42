package rig

import (
	"context"
	"strings"
	"testing"
	"time"
)

// childLimit bounds a child of Succeed: past it somebody hangs.
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

// Succeed is Output, and ends the test where the child fails or hangs.
func Succeed(tb testing.TB, env []string, name string, args ...string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), childLimit)
	defer cancel()
	out, err := Output(ctx, env, name, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
