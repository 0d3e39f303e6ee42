package fs

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// interruptPoll is how often a request that was interrupted looks whether its
// task is being killed: the kernel says so once at most, and for the first
// signal, which may be a harmless one.
const interruptPoll = 200 * time.Millisecond

// requestContext ends when the kernel interrupts the request.
type requestContext struct{ cancel <-chan struct{} }

func (requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c requestContext) Done() <-chan struct{}     { return c.cancel }
func (requestContext) Value(any) any               { return nil }

func (c requestContext) Err() error {
	select {
	case <-c.cancel:
		return context.Canceled
	default:
		return nil
	}
}

// patience decides which interrupts end a request. Any signal to the waiting
// task makes the kernel send one: Go's own preemption does, and timers do. Only
// a task that is being killed, or a mount that is gone, wants no answer.
type patience struct {
	dying func(pid uint32) bool // whether the task is being killed
	dead  func() bool           // whether the connection to the kernel is gone
}

// wait runs fn, which waits for something and gives up when its context ends.
// When an interrupt that means nothing ended it, fn is run again.
func (p patience) wait(cancel <-chan struct{}, pid uint32, fn func(context.Context) error) error {
	request := requestContext{cancel}
	err := fn(request)
	if request.Err() == nil || !errors.Is(err, context.Canceled) || p.over(pid) {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		p.watch(ctx, stop, pid)
	}()
	defer func() {
		stop()
		<-watching
	}()
	return fn(ctx)
}

// watch calls stop once nobody waits for the request any more, and returns when
// ctx is done.
func (p patience) watch(ctx context.Context, stop context.CancelFunc, pid uint32) {
	tick := time.NewTicker(interruptPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if p.over(pid) {
				stop()
			}
		}
	}
}

func (p patience) over(pid uint32) bool { return p.dead() || p.dying(pid) }

// taskDying tells whether the task pid has a signal pending that ends it. A
// task that cannot be seen, such as pid 0 of another namespace, is taken to
// live on; one that is gone is dying.
func taskDying(pid uint32) bool {
	if pid == 0 {
		return false
	}
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/status")
	if err != nil {
		return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}
	return statusDying(status)
}

// statusDying reads the signal masks of a /proc/PID/status: a task is dying if
// a signal is pending, for it or its process, that it neither blocks, ignores
// nor catches, and whose default action is to end the process.
func statusDying(status []byte) bool {
	masks := map[string]uint64{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil {
			masks[name] = mask
		}
	}
	pending := masks["SigPnd"] | masks["ShdPnd"]
	return pending&^(masks["SigBlk"]|masks["SigIgn"]|masks["SigCgt"]|harmless()) != 0
}

// harmless is the set of signals whose default action does not end a process.
func harmless() uint64 {
	var set uint64
	for _, sig := range []syscall.Signal{
		syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH,
		syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
	} {
		set |= 1 << (sig - 1)
	}
	return set
}
