package fs

import (
	"os"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The ioctls of /dev/fuse for backing files, of <linux/fuse.h>.
const (
	iocBackingOpen  = 0x4010e501 // _IOW(229, 1, struct fuse_backing_map)
	iocBackingClose = 0x4004e502 // _IOW(229, 2, uint32_t)
)

// openBacking makes file known to the kernel, which keeps it open by itself,
// and returns the id by which an OPEN names it. It takes root.
func (d *device) openBacking(file *os.File) (id int32, err error) {
	backing := fuse.BackingMap{Fd: int32(file.Fd())}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), iocBackingOpen, uintptr(unsafe.Pointer(&backing)))
	if errno != 0 {
		return 0, os.NewSyscallError("FUSE_DEV_IOC_BACKING_OPEN", errno)
	}
	return int32(n), nil
}

// closeBacking takes back what openBacking gave.
func (d *device) closeBacking(id int32) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), iocBackingClose, uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return os.NewSyscallError("FUSE_DEV_IOC_BACKING_CLOSE", errno)
	}
	return nil
}
