package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSweep holds that only sockets go at which nobody listens: none that is young, of
// a mount, or of somebody who lives, and no other file.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	mounted := map[string]bool{}
	for name, tc := range map[string]struct {
		network                   string // "": it is no socket
		listens, young, of, stays bool
	}{
		"a.sock":      {network: "unix"},
		"a.upgrade":   {network: "unixpacket"},
		"b.sock":      {network: "unix", listens: true, stays: true},
		"b.upgrade":   {network: "unixpacket", listens: true, stays: true},
		"c.sock":      {network: "unix", young: true, stays: true},
		"d.upgrade":   {network: "unixpacket", of: true, stays: true},
		"e.sock":      {stays: true},
		"f.something": {network: "unix", stays: true},
	} {
		path := filepath.Join(dir, name)
		if tc.network == "" {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			listener, err := net.Listen(tc.network, path)
			if err != nil {
				t.Fatal(err)
			}
			listener.(*net.UnixListener).SetUnlinkOnClose(false)
			if tc.listens {
				defer listener.Close()
			} else if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if old := time.Now().Add(-2 * staleAge); !tc.young {
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
		mounted[path] = tc.of
		defer func() {
			if _, err := os.Lstat(path); tc.stays != (err == nil) || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}()
	}
	sweep(dir, mounted, slog.New(slog.DiscardHandler))
}
