package proxy

import (
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// port is an address that belongs to nobody else, whether or not anything
// listens on it: a client is refused there meanwhile, and never meets another
// server.
type port struct {
	addr string // host:port, the port never 0
	fd   int
}

// takePort takes the TCP address listen, of which port 0 is a free one.
func takePort(listen string) (port, error) {
	wanted, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return port{}, err
	}
	var family int
	var at unix.Sockaddr
	if ip := wanted.IP.To4(); ip != nil || wanted.IP == nil {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: wanted.Port, Addr: [4]byte(append(ip, 0, 0, 0, 0))}
	} else {
		family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: wanted.Port, Addr: [16]byte(wanted.IP)}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return port{}, err
	}
	number, err := bind(fd, at)
	if err != nil {
		unix.Close(fd)
		return port{}, fmt.Errorf("%s: %w", listen, err)
	}
	host, _, err := net.SplitHostPort(listen)
	return port{net.JoinHostPort(host, strconv.Itoa(number)), fd}, err
}

// bind lets a listener of ours bind the same address beside fd, as package net's
// do, and returns the port.
func bind(fd int, at unix.Sockaddr) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, at); err != nil {
		return 0, err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		return a.Port, nil
	case *unix.SockaddrInet6:
		return a.Port, nil
	}
	return 0, fmt.Errorf("bound to %T", bound)
}

// release gives the address back.
func (p port) release() error { return unix.Close(p.fd) }
