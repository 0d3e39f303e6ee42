package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Machine says where and when something was measured, and of which commit.
func Machine(when time.Time) string {
	return fmt.Sprintf("%s, commit %s, %d cores of %s, kernel %s, %s",
		when.UTC().Format(time.DateOnly), commit(), runtime.NumCPU(), processor(), kernel(), runtime.Version())
}

// commit is that of the working tree, or, where there is none, the one that this
// program was built from.
func commit() string {
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	info, ok := debug.ReadBuildInfo()
	for i := 0; ok && i < len(info.Settings); i++ {
		if s := info.Settings[i]; s.Key == "vcs.revision" {
			return s.Value[:min(len(s.Value), 7)]
		}
	}
	return "unknown"
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// processor is the model of the first core.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// Usage is how long the processors have worked and been idle, in ticks of the kernel.
type Usage struct{ busy, idle int64 }

// Processors returns what all processors together have done since the machine began.
func Processors() (Usage, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Usage{}, err
	}
	return parseUsage(string(text))
}

// parseUsage reads the first line of /proc/stat: user, nice, system, idle, iowait,
// irq, softirq and steal.
func parseUsage(text string) (u Usage, err error) {
	fields := strings.Fields(text)
	if len(fields) < 9 || fields[0] != "cpu" {
		return u, fmt.Errorf("/proc/stat begins with %.80q", text)
	}
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/stat: %w", err)
		}
		if i == 3 || i == 4 {
			u.idle += n
		} else {
			u.busy += n
		}
	}
	return u, nil
}

// IdleSince is the share of the time since before that nobody used, 0 to 1.
func (u Usage) IdleSince(before Usage) float64 {
	idle, busy := u.idle-before.idle, u.busy-before.busy
	return float64(idle) / float64(max(1, idle+busy))
}
