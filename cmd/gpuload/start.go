package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc/PID/stat, USER_HZ of every architecture
// that Go has.
const clockTick = 10 * time.Millisecond

// processStart is when this process was started, up to a clock tick too early. One
// program that executes another remains the same process. root is the file system
// at /. The format is that of proc_pid_stat(5).
func processStart(root fs.FS) (time.Time, error) {
	const path, startTime = "proc/self/stat", 22 - 3 // counted from the field behind the name
	text, err := fs.ReadFile(root, path)
	if err != nil {
		return time.Time{}, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // the name may have anything
	if len(fields) <= startTime {
		return time.Time{}, fmt.Errorf("%s: %q", path, text)
	}
	ticks, err := strconv.ParseInt(string(fields[startTime]), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", path, err)
	}
	var booted unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &booted); err != nil {
		return time.Time{}, fmt.Errorf("time since boot: %w", err)
	}
	age := time.Duration(booted.Nano()) - time.Duration(ticks)*clockTick
	return time.Now().Add(-max(age, 0)), nil
}
