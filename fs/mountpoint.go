package fs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkMountpoint resolves dir to an absolute path without links, and says why
// it cannot be mounted at. Dead mounts of ours there are taken away.
func checkMountpoint(dir string, logger *slog.Logger) (string, error) {
	abs, err := resolveMountpoint(dir)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("mountpoint %s: no such directory: create it first", dir)
	}
	if err != nil {
		return "", fmt.Errorf("mountpoint %s: %w", dir, bare(err))
	}
	if err := cleanAt(abs, logger); err != nil {
		return "", err
	}
	entry, mounted, err := mountAt(abs)
	if err != nil {
		return "", err
	}
	switch info, err := os.Stat(abs); {
	case err != nil:
		return "", fmt.Errorf("mountpoint %s: %w", dir, bare(err))
	case !info.IsDir():
		return "", fmt.Errorf("mountpoint %s is not a directory", dir)
	case mounted && entry.fsType == fsType:
		return "", fmt.Errorf("mountpoint %s: %s is mounted there already: unmount it, or choose another directory", dir, entry.source)
	}
	if entries, err := os.ReadDir(abs); err == nil && len(entries) > 0 {
		logger.Warn("the mountpoint is not empty: what it holds is hidden while mounted", "mountpoint", abs)
	}
	return abs, nil
}

// Clean takes away the mounts of ours at dir whose daemon is gone, on which every
// access fails. It touches no other: not one that is served, and no other file
// system. Where there is nothing to do, or no dir, it does nothing.
func Clean(dir string, logger *slog.Logger) error {
	abs, err := resolveMountpoint(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mountpoint %s: %w", dir, bare(err))
	}
	return cleanAt(abs, logger)
}

// cleanAt is Clean for an absolute path without links.
func cleanAt(abs string, logger *slog.Logger) error {
	for {
		entry, mounted, err := mountAt(abs)
		if err != nil {
			return err
		}
		if !mounted || entry.fsType != fsType || !dead(abs) {
			return nil
		}
		logger.Warn("cleaning up a mount whose daemon is gone", "mountpoint", abs, "source", entry.source)
		c := &connection{dir: abs, entry: entry, known: true, helper: os.Geteuid() != 0}
		if err := c.detach(); err != nil {
			return fmt.Errorf("mountpoint %s has a dead mount: %w", abs, err)
		}
	}
}

// dead tells whether the FUSE mount at dir has lost its daemon. The kernel may
// remember the attributes of a dead mount; this it must ask.
func dead(dir string) bool {
	return errors.Is(unix.Statfs(dir, &unix.Statfs_t{}), unix.ENOTCONN)
}

// resolveMountpoint makes dir absolute and free of links. The last component
// may be a dead mount, which cannot be looked at.
func resolveMountpoint(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, syscall.ENOTCONN) {
		parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
		return filepath.Join(parent, filepath.Base(abs)), err
	}
	return resolved, err
}

// bare is the cause of a path error, for those who name the path themselves.
func bare(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
