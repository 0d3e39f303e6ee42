package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mincore is the system call, which x/sys has no function for: states[i]&1 says
// whether page i of data is in memory.
func mincore(data, states []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(data))),
		uintptr(len(data)), uintptr(unsafe.Pointer(unsafe.SliceData(states))))
	if errno != 0 {
		return errno
	}
	return nil
}
