package rig

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Loopback is 127.0.0.1.
func Loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// TakePort returns a free address of host, an IPv4 address of ours, that belongs to
// nobody else until holder is closed, whether or not anything listens on it: a client
// is refused there meanwhile, and never meets another server. A listener of package
// net can bind it too, since that sets SO_REUSEADDR.
func TakePort(host netip.Addr) (addr string, holder *os.File, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	holder = os.NewFile(uintptr(fd), "port")
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: host.As4()}),
	)
	bound, nameErr := unix.Getsockname(fd)
	if err = errors.Join(err, nameErr); err != nil {
		return "", nil, errors.Join(err, holder.Close())
	}
	return fmt.Sprintf("%s:%d", host, bound.(*unix.SockaddrInet4).Port), holder, nil
}
