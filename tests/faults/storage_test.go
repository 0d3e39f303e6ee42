package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/harness"
	"weightfs/tests/proxy"
)

const (
	// refetchLimit is how many times the object may be fetched in a fault that
	// passes.
	refetchLimit = 1.1
	// rateLimit is how many requests a second may reach a sick store: retries
	// are paced to 200 a second, and nothing else is asked that often.
	rateLimit = 300
)

// storageCase is a fault of the store.
type storageCase struct {
	name string
	// inflict makes the store sick; the reading begins when it returns.
	inflict func(r *rig)
}

// passing are the faults of which a reader must notice nothing but the time.
func passing() []storageCase {
	get := func(fault proxy.Fault, conditions proxy.Rule) func(*rig) {
		conditions.Op, conditions.Fault = "GET", fault
		return func(r *rig) { r.proxy.SetRules(1, conditions) }
	}
	some := proxy.Rule{Probability: 0.2}
	twice := proxy.Rule{Skip: 3, Count: 2}
	half := theStage.partSize() / 2
	return []storageCase{
		{"refused for a while", refuseForAWhile},
		{"reset in the body", get(proxy.Fault{End: proxy.Reset, After: half}, some)},
		{"reset at once", get(proxy.Fault{End: proxy.Reset}, some)},
		{"stalled in the body", get(proxy.Fault{End: proxy.Stall, After: half}, proxy.Rule{Skip: 3, Count: 4})},
		{"one connection in ten stalled for ever", get(proxy.Fault{End: proxy.Stall}, proxy.Rule{OneIn: 10})},
		{"one connection in ten slow", get(proxy.Fault{Bandwidth: 200e3}, proxy.Rule{OneIn: 10})},
		{"half 500", storm(proxy.Fault{Status: 500, Code: "InternalError"})},
		{"half 503", storm(proxy.Fault{Status: 503, Code: "SlowDown"})},
		{"half 503 with Retry-After", storm(proxy.Fault{Status: 503, Code: "SlowDown", RetryAfter: "1"})},
		{"truncated, Content-Length right", get(proxy.Fault{End: proxy.Truncate, After: half}, some)},
		{"truncated, Content-Length wrong", get(proxy.Fault{End: proxy.Shorten, After: half}, some)},
		{"206 of another range, twice", get(proxy.Fault{Response: otherRange()}, twice)},
		{"200 in place of 206, twice", get(proxy.Fault{Edit: wholeAnswer}, twice)},
		{"ETag corrupted, twice", get(proxy.Fault{Response: otherETag()}, twice)},
		{"latency of 2 s", func(r *rig) { r.proxy.SetRules(1, proxy.Rule{Fault: proxy.Fault{Latency: 2 * time.Second}}) }},
	}
}

// lastingCase is a fault that does not pass, with the errno of its readers and
// what mountd's log must name as the cause.
type lastingCase struct {
	storageCase
	errno, cause string
}

func lasting() []lastingCase {
	always := func(fault proxy.Fault) func(*rig) {
		return func(r *rig) { r.proxy.SetRules(1, proxy.Rule{Op: "GET", Fault: fault}) }
	}
	return []lastingCase{
		{storageCase{"refused for ever", refuse}, "EIO", "connection refused"},
		{storageCase{"stalled for ever", always(proxy.Fault{End: proxy.Stall})}, "EIO", "no byte in time"},
		{storageCase{"reset for ever", always(proxy.Fault{End: proxy.Reset})}, "EIO", "connection reset"},
		{storageCase{"500 for ever", always(proxy.Fault{Status: 500, Code: "InternalError"})}, "EIO", "InternalError"},
		{storageCase{"503 for ever", always(proxy.Fault{Status: 503, Code: "SlowDown"})}, "EIO", "SlowDown"},
		{storageCase{"truncated to nothing for ever", always(proxy.Fault{End: proxy.Truncate})}, "EIO", "unexpected EOF"},
		{storageCase{"206 of another range for ever", always(proxy.Fault{Response: otherRange()})}, "EIO", "another range"},
		{storageCase{"200 in place of 206 for ever", always(proxy.Fault{Edit: wholeAnswer})}, "EIO", "in place of 206"},
		{storageCase{"ETag corrupted for ever", always(proxy.Fault{Response: otherETag()})}, "ESTALE", "ETag"},
		{storageCase{"latency without end", always(proxy.Fault{Latency: time.Hour})}, "EIO", "no byte in time"},
		{storageCase{"access revoked", always(proxy.Fault{Status: 403, Code: "AccessDenied"})}, "EACCES", "AccessDenied"},
		{storageCase{"KMS access denied", always(proxy.Fault{Status: 403, Code: "KMS.AccessDeniedException"})}, "EACCES", "KMS.AccessDenied"},
	}
}

func otherRange() map[string]string { return map[string]string{"Content-Range": "bytes 0-9/10"} }
func otherETag() map[string]string {
	return map[string]string{"ETag": `"00000000000000000000000000000000"`}
}

// wholeAnswer makes of a partial answer one that claims to be the whole object.
func wholeAnswer(_ proxy.Request, h *proxy.Head) {
	if h.Status() == http.StatusPartialContent {
		h.SetStatus(http.StatusOK, "OK")
		h.Set("Content-Range", "")
	}
}

func refuse(r *rig) {
	if err := r.proxy.Refuse(); err != nil {
		r.t.Fatal(err)
	}
}

// refuseForAWhile refuses connections, beginning in the middle of the reading.
func refuseForAWhile(r *rig) { refuseAfter(r, 5) }

// refuseAfter refuses connections for a while after that many GETs.
func refuseAfter(r *rig, gets int) {
	begin := make(chan struct{}, 1)
	r.proxy.SetRules(1, proxy.Rule{Op: "GET", Skip: gets, Count: 1, Fault: proxy.Fault{Edit: func(proxy.Request, *proxy.Head) {
		begin <- struct{}{}
	}}})
	r.during(func(ctx context.Context) error {
		select {
		case <-begin:
		case <-ctx.Done():
			return fmt.Errorf("the outage did not begin")
		}
		if err := r.proxy.Refuse(); err != nil {
			return err
		}
		wait(ctx, theStage.outage)
		return r.proxy.Accept()
	})
}

// storm fails half of all requests for a while.
func storm(fault proxy.Fault) func(*rig) {
	return func(r *rig) {
		r.proxy.SetRules(1, proxy.Rule{Probability: 0.5, Fault: fault})
		r.during(func(ctx context.Context) error {
			wait(ctx, theStage.storm)
			r.proxy.SetRules(1)
			return nil
		})
	}
}

// wait lets a fault last.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// during runs fn beside the reading; it ends with the test at the latest.
func (r *rig) during(fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// TestPassingFaults holds that faults which pass are invisible but for time.
func TestPassingFaults(t *testing.T) {
	for _, c := range passing() {
		for _, way := range append(ways(), direct) {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				theStage.table.add(t, "intact", &r.seen)
				r.proxy.ResetStats()
				c.inflict(r)
				o := r.read(way)
				fmt.Fprintf(&r.seen, "%v", o)
				if !o.intact() {
					t.Errorf("the reader got: %v", o)
				}
				r.checkRequests()
				checkQuiet(t, r.mount)
			})
		}
	}
}

// checkRequests holds that the store was asked for little more than the object,
// at a bounded rate.
func (r *rig) checkRequests() {
	r.t.Helper()
	s := r.proxy.Stats()
	fetched := float64(s.Bytes["GET"]) / float64(theStage.size)
	fmt.Fprintf(&r.seen, ", fetched %.2fx, at most %d requests/s", fetched, s.PeakPerSecond)
	if fetched > refetchLimit {
		r.t.Errorf("fetched %.2f times the object, at most %.2f allowed", fetched, refetchLimit)
	}
	if s.PeakPerSecond > rateLimit {
		r.t.Errorf("%d requests in a second, at most %d allowed", s.PeakPerSecond, rateLimit)
	}
}

// TestLastingFaults holds that faults which do not pass end in the right errno,
// in time, for every reader, and with a line in the log; and that the mount
// works again as soon as the store does.
func TestLastingFaults(t *testing.T) {
	for _, c := range lasting() {
		for _, way := range ways() {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, "--read-timeout", theStage.readTimeout.String())
				errno := c.errno
				if way == "mapped" {
					errno = "SIGBUS"
				}
				theStage.table.add(t, errno+", then intact", &r.seen)
				succeed(t, "stat", r.file())
				c.inflict(r)
				o := r.read(way)
				fmt.Fprintf(&r.seen, "%v", o)
				r.checkFailure(o, way, errno)
				r.checkLog(way, c.cause)
				checkQuiet(t, r.mount) // what was asked before is answered as it was then
				r.heal()
				o = r.read(way)
				fmt.Fprintf(&r.seen, "; then %v", o)
				if !o.intact() {
					t.Errorf("after the fault the reader got: %v", o)
				}
				checkQuiet(t, r.mount)
			})
		}
	}
}

// checkFailure holds that every reader got the errno within the read time-out.
func (r *rig) checkFailure(o outcome, way, errno string) {
	r.t.Helper()
	want := map[string]int{"parallel": 16}[way]
	if len(o.Failures) != max(want, 1) {
		r.t.Errorf("%d readers failed, want %d", len(o.Failures), max(want, 1))
	}
	for _, f := range o.Failures {
		if f.Errno != errno {
			r.t.Errorf("a reader got %s, want %s", f.Errno, errno)
		}
		// On a machine with more to do than processors, the kernel's second
		// question for a page can come after the first one is forgotten.
		if limit := 2*theStage.readTimeout + slack; f.Seconds > limit.Seconds() {
			r.t.Errorf("a reader waited %.1f s, at most %v allowed", f.Seconds, limit)
		}
	}
}

// slack is what a busy machine adds to a time-out.
const slack = 1500 * time.Millisecond

// checkLog holds that the log names process, file, range and cause.
func (r *rig) checkLog(way, cause string) {
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
func (r *rig) heal() {
	r.t.Helper()
	r.proxy.SetRules(1)
	if err := r.proxy.Accept(); err != nil {
		r.t.Fatal(err)
	}
}

// TestStallCost holds that one connection in ten that stalls for ever at most
// doubles the time of a long read.
func TestStallCost(t *testing.T) {
	seen := seenBy(t, "at most twice the undisturbed time")
	const size, key = 1 << 30, "large"
	if err := putSparse(t, key, size); err != nil {
		t.Fatal(err)
	}
	var seconds []float64
	for _, rules := range [][]proxy.Rule{nil, {{OneIn: 10, Op: "GET", Fault: proxy.Fault{End: proxy.Stall, After: 100_000}}}} {
		p := proxy.Start(t, theStage.server.Endpoint)
		p.SetShape(proxy.Shape{FirstByte: 20 * time.Millisecond, PerConnection: 20e6, Total: 150e6})
		p.SetRules(1, rules...)
		m := mountFor(t, harness.MountOptions{
			Source: "s3://" + bucket, Env: append(theStage.server.Env(), "AWS_ENDPOINT_URL="+p.Endpoint),
		})
		o := readFile(t, "sequential", filepath.Join(m.Dir, key))
		if len(o.Failures) > 0 {
			t.Fatalf("the reader got: %v", o)
		}
		seconds = append(seconds, o.Seconds)
		if rules != nil && p.Stats().Faults == 0 {
			t.Error("nothing stalled")
		}
	}
	fmt.Fprintf(seen, "%.1f s undisturbed, %.1f s with stalls", seconds[0], seconds[1])
	if seconds[1] > 2*seconds[0] {
		t.Errorf("%.1f s undisturbed, %.1f s with stalls", seconds[0], seconds[1])
	}
}

// putSparse stores an object of zeroes without sending it.
func putSparse(t *testing.T, key string, size int64) error {
	t.Helper()
	path := filepath.Join(theStage.server.Dir, bucket, key)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	t.Cleanup(func() { os.Remove(path) })
	return errors.Join(os.Truncate(path, size), unix.Setxattr(path, "user.etag", []byte("0123456789abcdef"), 0))
}
