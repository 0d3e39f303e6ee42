package fs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// interruptPoll is how often a request that was interrupted looks whether its
	// task is being killed: the kernel says so once at most, and for the first
	// signal, which may be a harmless one.
	interruptPoll = 200 * time.Millisecond
	// waitPoll is how often one that was not interrupted looks. The kernel keeps a
	// file open, and says nothing, until the last readahead of a killed reader is
	// answered: a store that hangs would keep the fetches of the dead.
	waitPoll = 2 * time.Second
)

// patience decides when nobody waits for an answer any more. Any signal to the
// waiting task makes the kernel send an interrupt: Go's own preemption does, and
// timers do. Only a task that is being killed, or a mount that is gone, wants no
// answer.
type patience struct {
	tasks taskView
	gone  <-chan struct{} // closed when the connection to the kernel is over
	// stranger is called for a request of another PID namespace; nil where nobody
	// wants to know.
	stranger func()
}

// newPatience is that of a connection's requests.
func newPatience(conn *connection, logger *slog.Logger) patience {
	return patience{tasks: newTasks(conn.dir != ""), gone: conn.gone, stranger: sync.OnceFunc(func() {
		logger.Warn("readers are of another PID namespace: a killed one is waited for, and failures name none. In Kubernetes, set hostPID: true")
	})}
}

// wait runs fn for the task pid, with a context that ends once nobody waits for
// its outcome.
func (p patience) wait(interrupted <-chan struct{}, pid uint32, fn func(context.Context) error) error {
	r := &request{patience: p, interrupted: interrupted, pid: pid}
	defer r.end()
	return fn(r)
}

// request is the context of one request of the kernel's. It costs nothing until
// somebody waits for its end.
type request struct {
	patience
	interrupted <-chan struct{}
	pid         uint32

	mu       sync.Mutex
	over     chan struct{} // closed once nobody waits; made by the first Done
	served   chan struct{} // closed by end
	watching sync.WaitGroup
}

// Deadline implements context.Context.
func (r *request) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (r *request) Value(any) any { return nil }

// Done implements context.Context.
func (r *request) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over == nil {
		r.over, r.served = make(chan struct{}), make(chan struct{})
		r.watching.Go(r.watch)
	}
	return r.over
}

// Err implements context.Context.
func (r *request) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.over: // nil before the first Done
		return context.Canceled
	default:
		return nil
	}
}

// watch closes over once nobody waits for the request any more.
func (r *request) watch() {
	visible := r.tasks.visible(r.pid)
	if r.pid == 0 && r.stranger != nil {
		r.stranger()
	}
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	for interrupted := r.interrupted; ; {
		select {
		case <-r.served:
			return
		case <-r.gone:
			close(r.over)
			return
		case <-interrupted:
			interrupted = nil
			tick.Reset(interruptPoll)
		case <-tick.C:
		}
		if visible && r.tasks.dying(r.pid) {
			close(r.over)
			return
		}
	}
}

// end joins what Done has begun.
func (r *request) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.served != nil {
		close(r.served)
	}
	r.watching.Wait()
}

// taskView tells of the tasks whose requests a mount gets.
type taskView interface {
	// visible tells whether the task, which waits for an answer, is seen to live: of
	// one that is not, nothing can be said later.
	visible(pid uint32) bool
	// dying tells whether a task that was visible is being killed, or is gone.
	dying(pid uint32) bool
}

// tasks is the view that /proc gives.
type tasks struct {
	// hidden says that a task may live although /proc does not show it: its pid is
	// of the namespace that mounted, which is not known to be ours, or /proc hides
	// others' tasks.
	hidden bool
}

// newTasks are the tasks of a mount that this process made, or of another's.
func newTasks(ours bool) tasks {
	table, err := os.Open(mountTable)
	if err != nil {
		return tasks{hidden: true}
	}
	defer table.Close()
	return tasks{hidden: !ours || hidesTasks(table)}
}

// hidesTasks tells whether /proc, by the text of a mountinfo, shows a process only
// to who may trace it (hidepid, proc(5)), or cannot be read.
func hidesTasks(table io.Reader) bool {
	proc, err := lastMount(table, "/proc")
	if err != nil || proc == nil {
		return err != nil
	}
	_, value, _ := strings.Cut(proc.VFSOptions, "hidepid=")
	value, _, _ = strings.Cut(value, ",")
	return !slices.Contains([]string{"", "0", "off", "1", "noaccess"}, value)
}

// visible implements taskView. Where nothing is hidden it asks nobody: each READ
// that waits comes by here, and pid 0 is one of another namespace.
func (t tasks) visible(pid uint32) bool {
	return pid != 0 && (!t.hidden || unix.Access(procDir(pid), unix.F_OK) == nil)
}

// dying implements taskView: a signal is pending that ends the task, or it is gone.
func (tasks) dying(pid uint32) bool {
	status, err := os.ReadFile(procDir(pid) + "/status")
	if err != nil {
		return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
	}
	return statusDying(status)
}

func procDir(pid uint32) string { return "/proc/" + strconv.FormatUint(uint64(pid), 10) }

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
