package handoff

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"weightfs/handoff"
	"weightfs/handoff/handofftest"
)

// socketOf is the socket of a file's mount.
func socketOf(t *testing.T, file string) string {
	t.Helper()
	place, err := handoff.Find(file)
	if err != nil {
		t.Fatal(err)
	}
	return place.Socket
}

// attack tries all ways of a process of the daemon's own user, without
// capabilities, to the daemon's memory or to a descriptor for writing. An error says
// which one works.
func attack(pid string) error {
	var open []error
	try := func(what string, err error) {
		if err == nil {
			open = append(open, errors.New(what))
		}
	}
	number, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	for _, name := range []string{"mem", "maps", "map_files"} {
		_, err := os.ReadDir(filepath.Join("/proc", pid, name))
		if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EPERM) {
			_, err = os.Open(filepath.Join("/proc", pid, name))
		}
		try("/proc/PID/"+name, err)
	}
	_, err = os.OpenFile(filepath.Join("/proc", pid, "mem"), os.O_RDWR, 0)
	try("/proc/PID/mem for writing", err)
	for fd := range 64 { // the names may be listed
		_, err := os.OpenFile(filepath.Join("/proc", pid, "fd", strconv.Itoa(fd)), os.O_RDWR, 0)
		try(fmt.Sprintf("/proc/PID/fd/%d", fd), err)
	}
	process, err := unix.PidfdOpen(number, 0)
	if err != nil {
		return err
	}
	for fd := range 64 {
		_, err := unix.PidfdGetfd(process, fd, 0)
		try(fmt.Sprintf("pidfd_getfd of %d", fd), err)
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(number), 0, 0, 0, 0)
	if errno == 0 {
		open = append(open, errors.New("ptrace"))
	}
	byte1 := []byte{1}
	_, err = unix.ProcessVMWritev(number, []unix.Iovec{{Base: &byte1[0], Len: 1}}, []unix.RemoteIovec{{Base: 4096, Len: 1}}, 0)
	if !errors.Is(err, syscall.EPERM) {
		open = append(open, fmt.Errorf("process_vm_writev: %w", err))
	}
	return errors.Join(open...)
}

// A process of the daemon's user has no way into its memory but the read-only one.
func TestAttacks(t *testing.T) {
	m := mount(t, nil)
	cmd := role("attack", strconv.Itoa(m.PID()), nil)
	cmd.Args = append([]string{"setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"}, theStage.self)
	cmd.Path = "/usr/bin/setpriv"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	c := client(t, m)
	c.Ask(handofftest.Digest(theStage.content[:1<<20]), "read %s 0 %d", object, 1<<20)
}
