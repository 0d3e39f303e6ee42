package mounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// fsType is how the kernel calls a mount of weightfs.
const fsType = "fuse.weightfs"

// Mount is one line of the kernel's table of mounts.
type Mount struct {
	// Path is where it is mounted, free of links.
	Path string
	// Type is the file system's, and Source what is shown there.
	Type, Source string
	// Ours says that it is one of weightfs.
	Ours bool
	// Digest says whose shared mount it is, or is bound to; "" where none of the
	// Pool's has its device.
	Digest string

	major, minor int
}

// table is the mounts of weightfs, the earlier ones first.
func (p *Pool) table() ([]Mount, error) {
	infos, err := mountinfo.GetMounts(mountinfo.FSTypeFilter(fsType))
	if err != nil {
		return nil, fmt.Errorf("read the table of mounts: %w", err)
	}
	digests := map[[2]int]string{}
	for _, info := range infos {
		folder, name := filepath.Split(info.Mountpoint)
		digest := filepath.Base(folder)
		if name == "mnt" && digestPattern.MatchString(digest) && info.Mountpoint == p.mountpoint(digest) {
			digests[[2]int{info.Major, info.Minor}] = digest
		}
	}
	mounts := make([]Mount, len(infos))
	for i, info := range infos {
		mounts[i] = Mount{
			Path: info.Mountpoint, Type: info.FSType, Source: info.Source, Ours: true,
			Digest: digests[[2]int{info.Major, info.Minor}], major: info.Major, minor: info.Minor,
		}
	}
	return mounts, nil
}

// At is the topmost mount at path, which is absolute. Its last component may be
// a dead mount, which cannot be looked at.
func (p *Pool) At(path string) (Mount, bool, error) {
	path, err := resolve(path)
	if errors.Is(err, os.ErrNotExist) {
		return Mount{}, false, nil
	}
	if err != nil {
		return Mount{}, false, err
	}
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(path))
	if err != nil {
		return Mount{}, false, fmt.Errorf("read the table of mounts: %w", err)
	}
	table, err := p.table()
	if err != nil || len(infos) == 0 {
		return Mount{}, false, err
	}
	top := topmost(path, infos[0], table)
	return top, true, nil
}

// topmost is the last of ours at path, or else the mount that info tells of.
func topmost(path string, info *mountinfo.Info, ours []Mount) Mount {
	top := Mount{Path: path, Type: info.FSType, Source: info.Source, major: info.Major, minor: info.Minor}
	for _, mount := range ours {
		if mount.Path == path {
			top = mount
		}
	}
	return top
}

// resolve makes the folder of path free of links, and leaves its last component
// alone, behind which a mountd may hang.
func resolve(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("path %q is not absolute", path)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(filepath.Clean(path)))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(filepath.Clean(path))), nil
}

// Answers asks the file system at path. The error of one whose mountd is gone is
// unix.ENOTCONN.
func Answers(ctx context.Context, path string) error {
	answer := make(chan error, 1)
	go func() { answer <- unix.Statfs(path, &unix.Statfs_t{}) }() // it ends when the mount does
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bind shows what is mounted at source at target, read-only.
func (p *Pool) bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind-mount at %s: %w", target, err)
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if err := unix.Mount("", target, "", flags, ""); err != nil {
		return errors.Join(fmt.Errorf("make %s read-only: %w", target, err), unmount(target))
	}
	return nil
}

// unmount takes one mount away; where files of it are open, out of the tree.
func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}
