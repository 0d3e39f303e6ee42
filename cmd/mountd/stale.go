package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"

	"weightfs/cmd/cli"
)

// What a mountd that was killed has left in the folder of the control sockets. The
// next one at the same mountpoint takes its place; where there is none, it is swept by
// any other one of that user, when that has begun to serve.

// staleAge is how old a socket at least is that is swept: one that refuses connections
// may be about to listen.
const staleAge = time.Minute

// sweepControl sweeps the folder of this user's control sockets.
func sweepControl(env cli.Lookup, logger *slog.Logger) {
	dir, err := controlDir(env)
	if err != nil {
		return // there are none
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("fuse.weightfs"))
	if err != nil {
		logger.Debug("cannot sweep the control sockets", "err", err)
		return
	}
	mounted := map[string]bool{}
	for _, m := range mounts {
		for _, socket := range []func(cli.Lookup, string) (string, error){controlSocket, upgradeSocket} {
			if name, err := socket(env, m.Mountpoint); err == nil {
				mounted[name] = true
			}
		}
	}
	sweep(dir, mounted, logger)
}

// sweep removes from dir the sockets at which nobody listens, but those that are of a
// mount.
func sweep(dir string, mounted map[string]bool, logger *slog.Logger) {
	for pattern, network := range map[string]string{"*.sock": "unix", "*.upgrade": "unixpacket"} {
		names, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is right
		for _, name := range names {
			info, err := os.Lstat(name)
			if err != nil || info.Mode().Type() != fs.ModeSocket || time.Since(info.ModTime()) < staleAge || mounted[name] {
				continue
			}
			conn, err := net.Dial(network, name)
			if err == nil {
				_ = conn.Close() // nothing was asked
			}
			if !errors.Is(err, syscall.ECONNREFUSED) {
				continue
			}
			err = removeOwn(name, info)
			logger.Debug("a control socket was left by a mountd that is gone", "name", name, "err", err)
		}
	}
}
