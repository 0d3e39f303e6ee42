package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weightfs/tests/proxy"
)

// lastingCase is a fault that does not pass, with the errno of its readers and
// what the log must name as the cause.
type lastingCase struct {
	storageCase
	errno, cause string
	// atStart is what gpuload without a mount says where it cannot even begin, in
	// place of the cause and a range.
	atStart string
}

func lasting() []lastingCase {
	always := func(fault proxy.Fault) func(*scene) {
		return func(r *scene) { r.proxy.SetRules(1, proxy.Rule{Op: "GET", Fault: fault}) }
	}
	return []lastingCase{
		{storageCase{"refused for ever", refuse}, "EIO", "connection refused", "nothing listens there"},
		{storageCase{"stalled for ever", always(proxy.Fault{End: proxy.Stall})}, "EIO", "no byte in time", ""},
		{storageCase{"reset for ever", always(proxy.Fault{End: proxy.Reset})}, "EIO", "connection reset", ""},
		{storageCase{"500 for ever", always(proxy.Fault{Status: 500, Code: "InternalError"})}, "EIO", "InternalError", ""},
		{storageCase{"503 for ever", always(proxy.Fault{Status: 503, Code: "SlowDown"})}, "EIO", "SlowDown", ""},
		{storageCase{"truncated to nothing for ever", always(proxy.Fault{End: proxy.Truncate})}, "EIO", "unexpected EOF", ""},
		{storageCase{"Content-Length wrong for ever", always(proxy.Fault{End: proxy.Shorten})}, "EIO", "unexpected EOF", ""},
		{storageCase{"206 of another range for ever", always(proxy.Fault{Edit: otherRange})}, "EIO", "another range", ""},
		{storageCase{"200 in place of 206 for ever", always(proxy.Fault{Edit: wholeAnswer})}, "EIO", "in place of 206", ""},
		{storageCase{"ETag corrupted for ever", always(proxy.Fault{Response: otherETag()})}, "ESTALE", "ETag", ""},
		{storageCase{"latency without end", always(proxy.Fault{Latency: time.Hour})}, "EIO", "no byte in time", ""},
		{storageCase{"access revoked", always(proxy.Fault{Status: 403, Code: "AccessDenied"})}, "EACCES", "AccessDenied", ""},
		{storageCase{"KMS access denied", always(proxy.Fault{Status: 403, Code: "KMS.AccessDeniedException"})}, "EACCES", "KMS.AccessDenied", ""},
	}
}

// TestLastingFaults holds that faults which do not pass end in the right errno,
// in time, for every reader, and with a line in the log; and that the mount
// works again as soon as the store does.
func TestLastingFaults(t *testing.T) {
	for _, c := range lasting() {
		for _, way := range append(ways(), direct) {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				r := newScene(t, timeLimit()...)
				succeed(t, "stat", r.file())
				r.checkLasting(c, way)
			})
		}
	}
}

// timeLimit are the flags, of mountd and of gpuload, for faults that last.
func timeLimit() []string { return []string{"--read-timeout", theStage.readTimeout.String()} }

// checkLasting has a reader meet the fault, and then the store that works again.
func (r *scene) checkLasting(c lastingCase, way string) {
	r.t.Helper()
	errno := map[string]string{"mapped": "SIGBUS", direct: "exit 1"}[way]
	if errno == "" {
		errno = c.errno
	}
	theStage.table.add(r.t, errno+", then intact", &r.seen)
	r.beginCounting()
	c.inflict(r)
	r.loadFlags = timeLimit()
	o := r.read(way)
	fmt.Fprintf(&r.seen, "%v", o)
	r.checkFailure(o, way, errno)
	if way == direct {
		r.checkRefusal(o, c)
	} else {
		r.checkLog(way, c.cause)
	}
	r.checkFired()
	limit := rateLimit(way)
	if way == "parallel" && c.errno != "EACCES" && o.givenUp() {
		// A reader that opens the file after that has all asked for once more.
		limit += suspects * (theStage.size/theStage.partSize() + 1)
	}
	r.checkRate(limit)
	checkQuiet(r.t, r.mount) // what was asked before is answered as it was then
	r.heal()
	r.checkHealed(way)
	checkQuiet(r.t, r.mount)
}

// checkHealed holds that a reader gets the object at once: as soon as the proxy's
// pace lets it, or on a machine too busy for that, as soon as one to whom nothing
// happened. One that failed on a machine that stood still for most of the read
// time-out may try again.
func (r *scene) checkHealed(way string) {
	r.t.Helper()
	o := r.read(way)
	if !o.intact() && o.late.total > theStage.readTimeout/2 {
		fmt.Fprintf(&r.seen, "; then %v, where the machine stood still for %v", o, o.late.total)
		o = r.read(way)
	}
	fmt.Fprintf(&r.seen, "; then %v", o)
	if !o.intact() {
		r.t.Errorf("after the fault the reader got: %v", o)
	}
	limit := healed() + o.late.total
	if o.Seconds <= limit.Seconds() {
		return
	}
	other := newScene(r.t, timeLimit()...).read(way)
	fmt.Fprintf(&r.seen, ", without a fault %v", other)
	if !other.intact() || o.Seconds > other.Seconds+lateSlack.Seconds() {
		r.t.Errorf("after the fault the reader took %.1f s, at most %v allowed, or %v more than without it: %v",
			o.Seconds, limit, lateSlack, other)
	}
}

// healed is how long a read may take once the store works again: what the
// proxy's pace makes of it, and two seconds for the children to start and for
// a machine that runs as many cases at once as the Makefile says.
func healed() time.Duration {
	return time.Duration(float64(theStage.size)/paceTotal*float64(time.Second)) + 2*time.Second
}

// checkFailure holds that every reader got the errno within the read time-out.
func (r *scene) checkFailure(o outcome, way, errno string) {
	r.t.Helper()
	want := map[string]int{"parallel": 16}[way]
	if len(o.Failures) != max(want, 1) {
		r.t.Errorf("%d readers failed, want %d", len(o.Failures), max(want, 1))
	}
	limit := o.late.allow(theStage.readTimeout)
	for _, f := range o.Failures {
		if f.Errno != errno {
			r.t.Errorf("a reader got %s, want %s", f.Errno, errno)
		}
		if f.Seconds > limit.Seconds() {
			r.t.Errorf("a reader waited %.1f s, at most %v allowed", f.Seconds, limit)
		}
	}
}

// checkRefusal holds that gpuload without a mount failed with a message that
// names file, range and cause.
func (r *scene) checkRefusal(o outcome, c lastingCase) {
	r.t.Helper()
	parts := []string{object + " [", c.cause}
	if c.atStart != "" {
		parts = []string{object, c.atStart}
	}
	for _, part := range parts {
		if !strings.Contains(o.message, part) {
			r.t.Errorf("gpuload does not name %q: %s", part, o.message)
		}
	}
}

// checkLog holds that the log names process, file, range and cause.
func (r *scene) checkLog(way, cause string) {
	r.t.Helper()
	process := "reader"
	if way == "load" {
		process = "gpuload"
	}
	logged := func() bool { return logNames(r.mount.Output(), process, cause) }
	if !eventually(quietLimit, logged) {
		r.t.Errorf("no line of the log names process %s, file %s, range and cause %q", process, object, cause)
	}
}

func logNames(log, process, cause string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "request failed") && strings.Contains(line, "process="+process) &&
			strings.Contains(line, "file="+object) && strings.Contains(line, object+" [") && strings.Contains(line, cause) {
			return true
		}
	}
	return false
}

// heal ends every fault.
func (r *scene) heal() {
	r.t.Helper()
	r.proxy.SetRules(1)
	if r.names != nil {
		r.names.fail.Store(false)
	}
	if err := r.proxy.Accept(); err != nil {
		r.t.Fatal(err)
	}
}
