package keeper

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process that is killed gives its memory back before its parent hears of its
// end: 6 GiB take up to half a second, in which readers would wait. What can harm
// the next one are its threads, and those are at their end at once. Two of them do
// nothing but live, so that the end of either tells that all are ending; Linux
// tells of a thread's from 6.9 on. Of two, one is not the last, which is the one
// that gives the memory back.

// exitingPoll is how often a dying process's threads are looked at.
const exitingPoll = 500 * time.Microsecond

// pidfdThread has pidfd_open(2) take a thread.
const pidfdThread = unix.O_EXCL

// Canaries starts two threads that end with the process and not before, and returns
// their numbers, for [MountAnswers].
func Canaries() string {
	tids := make(chan int)
	for range 2 {
		go func() {
			runtime.LockOSThread() // for good
			tids <- unix.Gettid()
			select {}
		}()
	}
	return fmt.Sprint(<-tids, " ", <-tids)
}

// awaitDying returns true once no thread of the process runs anything more, or false
// where that cannot be known.
func awaitDying(pid int, canaries string) bool {
	var polled []unix.PollFd
	for tid := range strings.FieldsSeq(canaries) {
		n, err := strconv.Atoi(tid)
		if err != nil {
			continue
		}
		if fd, err := unix.PidfdOpen(n, pidfdThread); err == nil {
			defer unix.Close(fd)
			polled = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if len(polled) == 0 {
		return false
	}
	for {
		if n, err := unix.Poll(polled, -1); err != nil && err != unix.EINTR {
			return false
		} else if n > 0 {
			break
		}
	}
	for {
		dying, known := allExiting(pid)
		if dying || !known {
			return dying
		}
		time.Sleep(exitingPoll)
	}
}

// allExiting tells whether every thread of the process is at its end.
func allExiting(pid int) (all, known bool) {
	tasks := fmt.Sprintf("/proc/%d/task", pid)
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return false, false
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(tasks + "/" + thread.Name() + "/stat")
		if err == nil && !exiting(stat) {
			return false, true
		}
	}
	return true, true
}

// exiting reads a thread's stat (proc_pid_stat(5)): it is a zombie, or on its way to
// be one and will run no more of the program.
func exiting(stat []byte) bool {
	const pfExiting = 0x4
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && (flags&pfExiting != 0 || fields[0][0] == 'Z' || fields[0][0] == 'X')
}
