// Package workload is what the readers of the benchmark do. Each runs in a
// child process, so that a mount that hangs hangs the child alone, and so that
// no reader shares a scheduler with what measures it.
//
// The program that calls [Run] is executed again as the child: its main begins
// with [MainIfChild]. A child prepares what must not be timed (its memory, its
// connections' settings), says so on its standard output, waits for a line on its
// standard input, does its work and prints a [Report]. So several children begin
// at once. The clocks of their reports are the same.
package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/lab"
)

// Workload is one child's work. Its exported fields reach the child as JSON.
type Workload interface {
	// prepare does what is not timed, which touches no file of the mount.
	prepare(ctx context.Context) error
	// run is what is timed.
	run(ctx context.Context) (Result, error)
}

// unprepared is embedded by workloads without a prepare.
type unprepared struct{}

func (unprepared) prepare(context.Context) error { return nil }

// kindOf is the name of a workload's type.
func kindOf(w Workload) string { return reflect.TypeOf(w).Elem().Name() }

// Result is what came of a work.
type Result struct {
	// Bytes are those that the reader asked for and got.
	Bytes int64
	// Items are files, names or reads, by the kind.
	Items int64
	// Each is bytes by thread where the kind says so.
	Each []int64
	// Latencies are of the single reads where the kind says so, in no order.
	Latencies []time.Duration
	// Load is what gpuload says of itself.
	Load *lab.Load
}

// Report is a result with its times, on a clock that all processes share.
type Report struct {
	Begin, End time.Duration
	// CPU is the child's time on processors meanwhile, its children's included once
	// they have ended.
	CPU time.Duration
	Result
}

// Seconds is how long the work took.
func (r Report) Seconds() float64 { return (r.End - r.Begin).Seconds() }

// Sum puts the reports of children that ran at once together: from the first
// begin to the last end.
func Sum(reports []Report) Report {
	sum := reports[0] // with its Load
	for _, r := range reports[1:] {
		sum.Begin, sum.End = min(sum.Begin, r.Begin), max(sum.End, r.End)
		sum.CPU += r.CPU
		sum.Bytes += r.Bytes
		sum.Items += r.Items
		sum.Each = append(sum.Each, r.Each...)
		sum.Latencies = append(sum.Latencies, r.Latencies...)
	}
	return sum
}

// Rate is bytes per second.
func (r Report) Rate() float64 { return float64(r.Bytes) / r.Seconds() }

// now is the monotonic clock of the machine.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("workload: no monotonic clock: %v", err))
	}
	return time.Duration(ts.Nano())
}

// cpu is this process's time on processors, and that of its children that have ended.
func cpu() (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var used unix.Rusage
		if err := unix.Getrusage(who, &used); err != nil {
			panic(fmt.Sprintf("workload: getrusage: %v", err))
		}
		sum += time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	return sum
}

// childArgument, followed by a kind, a cgroup folder and JSON, makes the
// program a child.
const childArgument = "workload-child"

// MainIfChild does a child's work, and exits, where the program was started as
// one.
func MainIfChild() {
	if len(os.Args) != 5 || os.Args[1] != childArgument {
		return
	}
	if err := work(os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// ready is the line that a prepared child prints.
const ready = "ready"

// work does the work that a child's arguments describe.
func work(kind, cgroup, spec string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if cgroup != "" {
		pid := []byte(strconv.Itoa(os.Getpid()))
		if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), pid, 0); err != nil {
			return fmt.Errorf("join the cgroup: %w", err)
		}
	}
	w, err := decode(kind, spec)
	if err != nil {
		return err
	}
	if err := w.prepare(ctx); err != nil {
		return fmt.Errorf("prepare %s: %w", kind, err)
	}
	fmt.Println(ready)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	used := cpu()
	report := Report{Begin: now()}
	if report.Result, err = w.run(ctx); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	report.End = now()
	report.CPU = cpu() - used
	return json.NewEncoder(os.Stdout).Encode(report)
}

// decode reads the workload of that kind.
func decode(kind, spec string) (Workload, error) {
	for _, w := range []Workload{
		&Read{}, &DD{}, &Fetch{}, &List{}, &Find{}, &Names{}, &Header{}, &Rank{}, &Skip{}, &Mix{},
		&SafeOpen{}, &Gpuload{}, &Touch{}, &Fill{}, &Whole{},
	} {
		if kindOf(w) == kind {
			return w, json.Unmarshal([]byte(spec), w)
		}
	}
	return nil, errors.New("no workload is called " + kind)
}
