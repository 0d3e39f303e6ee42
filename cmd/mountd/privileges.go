package main

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// neededCapabilities are those that a mountd of root's works with: to mount, to
// unmount and to pass files through, to read a folder of somebody else's, and to
// serve metrics at a low port.
func neededCapabilities() []int {
	return []int{unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_NET_BIND_SERVICE}
}

// dropCapabilities gives up, in every thread, whatever else we were started
// with (github.com/moby/sys/capability does so in one). A program that root's
// mountd starts, such as a credential helper, gets root's capabilities from the
// kernel as ever.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read our capabilities: %w", err)
	}
	var keep [2]uint32
	for _, c := range neededCapabilities() {
		keep[c/32] |= 1 << (c % 32)
	}
	for i := range have {
		have[i].Effective &= keep[i]
		have[i].Permitted &= keep[i]
		have[i].Inheritable &= keep[i]
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&have[0])), 0)
	// With cgo, which only builds for tests have, threads are not Go's to change.
	if errno != 0 && !errors.Is(errno, syscall.ENOTSUP) {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return nil
}
