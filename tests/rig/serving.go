package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Serving returns the process that serves for the mountd with that id, which is its
// keeper: a child of it that runs a program of the same name. Where there is none, as
// with --no-keeper, it is that process itself.
func Serving(pid int) int {
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return pid
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return pid
	}
	newest := 0
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // state, parent
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		// One that is dying runs none any more.
		if runs, err := os.Readlink(filepath.Join(filepath.Dir(stat), "exe")); err == nil && programName(runs) == programName(program) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat))) // by the pattern
			newest = max(newest, child)
		}
	}
	if newest == 0 {
		return pid
	}
	return newest
}

// programName is the name of a program by the link to it, which may have been deleted.
func programName(link string) string {
	return filepath.Base(strings.TrimSuffix(link, " (deleted)"))
}

// PID returns the process that serves the mount, whose memory, descriptors and
// threads are what is measured. Process.PID is that of the keeper.
func (m *Mount) PID() int { return Serving(m.Process.PID()) }

// Kill ends mountd at once, so that its mount is dead: who serves it and who holds
// it. It waits for both.
func (m *Mount) Kill() error {
	err := KillMountd(m.Process.PID())
	<-m.Done()
	return err
}

// KillMountd ends the mountd whose keeper has that id, and the process that serves,
// and waits for both.
func KillMountd(keeper int) error {
	// A keeper that is stopped starts nobody else.
	err := unix.Kill(keeper, unix.SIGSTOP)
	if errors.Is(err, unix.ESRCH) {
		return nil // it has ended
	}
	if serving := Serving(keeper); serving != keeper {
		err = errors.Join(err, killAndWait(serving))
	}
	return errors.Join(err, killAndWait(keeper))
}

// killAndWait ends a process that need not be a child of ours.
func killAndWait(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// KillServing ends the process that serves the mount and not its keeper, and
// returns its id. It waits for nothing.
func (m *Mount) KillServing() (int, error) {
	serving := m.PID()
	return serving, unix.Kill(serving, unix.SIGKILL)
}
