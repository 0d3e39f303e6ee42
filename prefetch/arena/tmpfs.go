package arena

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A file that other processes can map needs three properties: huge pages (small
// ones are first touched at a tenth of the speed), memory that can be given back
// page by page, and a descriptor that nobody can turn into one for writing. A
// memfd has the third by seals alone, which forbid the second. So the file lies in
// a tmpfs of its own, with huge pages by a mount option, that is mounted nowhere;
// readers get it through a second mount of the same tmpfs, read-only, through which
// nobody, root included, opens a file for writing. It takes CAP_SYS_ADMIN, of any user
// namespace.

// MakeShared makes the files of a shared arena of so many bytes. The error says why
// it cannot: EPERM without the right to mount, EINVAL before Linux 6.15. Then
// [MakeSharedAt] may.
func MakeShared(size int64) (s Shared, err error) {
	mount, err := mountTmpfs(size)
	if err != nil {
		return Shared{}, err
	}
	defer unix.Close(mount)
	return filesIn(mount, size)
}

// MakeSharedAt is MakeShared for a process in a mount namespace of its own, which it
// leaves with the tmpfs mounted at dir: older kernels mount a second time only what
// is mounted somewhere.
func MakeSharedAt(dir string, size int64) (s Shared, err error) {
	mount, err := mountTmpfs(size)
	if err != nil {
		return Shared{}, err
	}
	defer unix.Close(mount)
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return Shared{}, fmt.Errorf("mount a tmpfs at %s: %w", dir, err)
	}
	return filesIn(mount, size)
}

// filesIn makes the files in a tmpfs.
func filesIn(mount int, size int64) (s Shared, err error) {
	s.Size = size
	if s.Writable, err = openIn(mount, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL); err != nil {
		return Shared{}, err
	}
	if err = s.Writable.Truncate(size); err == nil {
		s.ReadOnly, err = openReadOnly(mount)
	}
	if err != nil {
		_ = s.Writable.Close()
		return Shared{}, err
	}
	return s, nil
}

// reserveFile makes shareable memory. The error says why there is none.
func reserveFile(size int64, makeFiles func(size int64) (Shared, error)) (memory, error) {
	s, err := makeFiles(size)
	if err != nil {
		return memory{}, err
	}
	m := memory{file: s.Writable, readOnly: s.ReadOnly}
	m.bytes, err = mapAligned(size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, int(m.file.Fd()))
	if err == nil {
		adviseHuge(m.bytes, true)
		err = m.checkHuge()
	}
	if err != nil {
		return memory{}, errors.Join(err, m.free())
	}
	return m, nil
}

// slack is what a tmpfs may have beyond its files, in bytes, for 512 threads that touch
// huge pages at once. Before Linux 6.7 each is counted before it is known whether another
// thread has made the same page, and where that exceeds the tmpfs, a read into the file
// fails with EFAULT.
const slack = 1 << 30

// mountTmpfs returns the descriptor of a tmpfs that is mounted nowhere.
func mountTmpfs(size int64) (mount int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make a tmpfs: %w", err)
	}
	defer unix.Close(fs)
	for _, option := range [][2]string{{"source", "weightfs"}, {"mode", "0700"}, {"huge", "always"}, {"size", strconv.FormatInt(size+slack, 10)}, {"nr_inodes", "8"}} {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return -1, fmt.Errorf("make a tmpfs with %s=%s: %w", option[0], option[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("make a tmpfs: %w", err)
	}
	mount, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount a tmpfs: %w", err)
	}
	return mount, nil
}

const fileName = "arena"

func openIn(mount, flags int) (*os.File, error) {
	fd, err := unix.Openat(mount, fileName, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a file in a tmpfs: %w", err)
	}
	return os.NewFile(uintptr(fd), fileName), nil
}

// openReadOnly opens the file through a second mount that is read-only.
func openReadOnly(mount int) (*os.File, error) {
	clone, err := unix.OpenTree(mount, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("mount a tmpfs once more: %w", err)
	}
	defer unix.Close(clone)
	if err := unix.MountSetattr(clone, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return nil, fmt.Errorf("make a mount read-only: %w", err)
	}
	return openIn(clone, unix.O_RDONLY)
}

var errSmallPages = errors.New("the kernel gives shared memory no huge pages (/sys/kernel/mm/transparent_hugepage/shmem_enabled may deny them)")

// checkHuge touches the first page and asks the kernel whether it is a huge one:
// nothing else tells.
func (m memory) checkHuge() error {
	m.bytes[0] = 1
	defer m.discard(m.bytes[:hugePage])
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("look for huge pages: %w", err)
	}
	_, mine, _ := bytes.Cut(smaps, fmt.Appendf(nil, "\n%x-", uintptr(pointer(m.bytes))))
	_, value, _ := bytes.Cut(mine, []byte("\nShmemPmdMapped:"))
	if fields := bytes.Fields(value); len(fields) == 0 || string(fields[0]) == "0" {
		return errSmallPages
	}
	return nil
}
