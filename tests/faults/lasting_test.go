package faults

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// lastingCase is a fault that does not pass, with the errno of its readers and
// what the log must name as the cause.
type lastingCase struct {
	storageCase
	errno, cause string
	attempts     int // of one request
	// atStart is what gpuload without a mount says where it cannot even begin, in
	// place of the cause and a range.
	atStart string
}

func lasting() []lastingCase {
	cases := []lastingCase{
		{storageCase{name: "refused for ever", inflict: refuse}, "EIO", "connection refused", maxAttempts, "nothing listens there"},
	}
	for _, c := range []struct {
		name         string
		fault        proxy.Fault
		errno, cause string
		attempts     int
		pause        time.Duration
	}{
		{"stalled for ever", proxy.Fault{End: proxy.Stall}, "EIO", "no byte in time", maxAttempts, 0},
		{"latency without end", proxy.Fault{Latency: time.Hour}, "EIO", "no byte in time", maxAttempts, 0},
		{"reset for ever", proxy.Fault{End: proxy.Reset}, "EIO", "connection reset", maxAttempts, 0},
		{"truncated to nothing for ever", proxy.Fault{End: proxy.Truncate}, "EIO", "unexpected EOF", maxAttempts, 0},
		{"Content-Length wrong for ever", proxy.Fault{End: proxy.Shorten}, "EIO", "unexpected EOF", maxAttempts, 0},
		{"500 for ever", failing(500, "InternalError"), "EIO", "InternalError", maxAttempts, shortPause},
		{"503 for ever", failing(503, "SlowDown"), "EIO", "SlowDown", maxAttempts, shortPause},
		{"206 of another range for ever", proxy.Fault{Edit: otherRange}, "EIO", "another range", suspects, 0},
		{"200 in place of 206 for ever", proxy.Fault{Edit: wholeAnswer}, "EIO", "in place of 206", suspects, 0},
		{"ETag corrupted for ever", proxy.Fault{Response: otherETag()}, "ESTALE", "ETag", suspects, 0},
		{"access revoked", failing(403, "AccessDenied"), "EACCES", "AccessDenied", 1, 0},
		{"KMS access denied", failing(403, "KMS.AccessDeniedException"), "EACCES", "KMS.AccessDenied", 1, 0},
	} {
		fault := storageCase{name: c.name, inflict: inflicting(c.fault, proxy.Rule{}), pause: c.pause}
		cases = append(cases, lastingCase{fault, c.errno, c.cause, c.attempts, ""})
	}
	return cases
}

// TestLastingFaults holds that faults which do not pass end in the right errno
// for every reader, after no more attempts than they are worth, and with a line in
// the log; and that the mount works again as soon as the store does.
func TestLastingFaults(t *testing.T) {
	t.Parallel()
	for _, c := range lasting() {
		for _, way := range everyWay() {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				r := newScene(t, c.timeLimit()...)
				succeed(t, "stat", r.file())
				r.checkLasting(c, way)
			})
		}
	}
}

// timeLimit are the flags, of mountd and of gpuload, for faults that are waited for.
func (c lastingCase) timeLimit() []string {
	if c.errno != "EIO" {
		return nil
	}
	return []string{"--read-timeout", theStage.readTimeout.String()}
}

// checkLasting has a reader meet the fault, and then the store that works again.
func (r *scene) checkLasting(c lastingCase, way string) {
	r.t.Helper()
	r.beginCounting()
	c.inflict(r)
	r.loadFlags = c.timeLimit()
	o := r.read(way)
	r.t.Log(o)
	r.checkFailure(o, way, c)
	if c.atStart == "" || r.names != nil { // a connection that is refused is seen by nobody
		r.checkFired()
	}
	checkQuiet(r.t, r.mount) // what was asked before is answered as it was then
	r.checkAttempts(c.storageCase, way, c.attempts)
	r.heal()
	r.checkHealed(way)
	checkQuiet(r.t, r.mount)
}

// checkHealed holds that a reader gets the object. It may fail once more where the
// machine stood still for the read time-out: then the proxy has an answer that
// nobody waited for any more.
func (r *scene) checkHealed(way string) {
	r.t.Helper()
	for {
		r.proxy.ResetStats()
		o := r.read(way)
		if len(o.Failures) == 0 {
			must(r.t, o)
			return
		}
		rig.Eventually(func() bool { return r.proxy.Stats().InFlight == 0 })
		unheard := slices.ContainsFunc(r.proxy.Log(), func(record proxy.Record) bool { return record.Err != "" })
		if !unheard {
			r.t.Errorf("after the fault the reader got: %v", o)
			return
		}
	}
}

// checkFailure holds that every reader got the errno, and that process, file,
// range and cause are named: by the log, or by gpuload without a mount.
func (r *scene) checkFailure(o outcome, way string, c lastingCase) {
	r.t.Helper()
	if want := max(map[string]int{"parallel": 16}[way], 1); len(o.Failures) != want {
		r.t.Errorf("%d readers failed, want %d", len(o.Failures), want)
	}
	if way == direct {
		parts := []string{object + " [", c.cause}
		if c.atStart != "" {
			parts = []string{object, c.atStart}
		}
		for _, part := range parts {
			if !strings.Contains(o.message, part) {
				r.t.Errorf("gpuload does not name %q: %s", part, o.message)
			}
		}
		return
	}
	for _, errno := range o.Failures {
		if want := errnoOfWay(way, c.errno); errno != want {
			r.t.Errorf("a reader got %s, want %s", errno, want)
		}
	}
	process := "reader"
	if way == "load" {
		process = "gpuload"
	}
	awaitLogged(r.t, r.mount.Process, `request failed.* file=`+object+` .*process=`+process+` .*`+object+` \[.*`+regexp.QuoteMeta(c.cause))
}

// heal ends every fault.
func (r *scene) heal() {
	r.t.Helper()
	r.proxy.SetRules(1)
	if r.names != nil {
		r.names.Fail.Store(false)
	}
	noError(r.t, r.proxy.Accept())
}

// TestWaitsOnce holds that a reader waits for the read time-out once: what the
// kernel asks again, of a page that it did not get, is answered as it was. There
// is no limit to how late a busy machine may ask: one page of some must do, and
// where they wait again, none does.
func TestWaitsOnce(t *testing.T) {
	t.Parallel()
	const pages = 4
	for _, op := range []string{"read", "map"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			r := newScene(t, "--read-timeout", "1s", "--prefetch", "off")
			reader := hold(t, r.file(), false)
			reader.do(t, order{Op: "open", Path: r.file(), Random: true})
			r.proxy.SetRules(1, proxy.Rule{Op: "GET", Fault: proxy.Fault{End: proxy.Stall}})
			for page := range int64(pages) {
				before := measures(t, r.mount.Dir)
				o := reader.do(t, order{Op: op, Offset: page << 21, Size: 1})
				if want := map[string]string{"read": "EIO", "map": "SIGBUS"}[op]; o.errno() != want {
					t.Fatalf("the reader got %v, want %s", o, want)
				}
				after := measures(t, r.mount.Dir)
				waits, answers := after["cache_misses_total"]-before["cache_misses_total"], after["read_errors_total"]-before["read_errors_total"]
				r.t.Logf("%d waits, %d answers", waits, answers)
				if waits == 1 && answers > 1 {
					return
				}
			}
			t.Error("none of the pages was waited for once, and asked for again")
		})
	}
}

// TestTenAttempts holds that gpuload without a mount makes ten attempts without a
// byte of progress, of the range that it then names.
func TestTenAttempts(t *testing.T) {
	t.Parallel()
	r := newScene(t)
	r.proxy.SetRules(1, proxy.Rule{Op: "GET", Fault: failing(500, "InternalError")})
	message := r.read(direct).message
	named := regexp.MustCompile(object + ` \[(\d+),(\d+)\).*after 10 attempts`).FindStringSubmatch(message)
	if named == nil {
		t.Fatalf("gpuload names no range and ten attempts: %s", message)
	}
	attempts := 0
	for _, record := range r.proxy.Log() {
		if record.Op == "GET" && fmt.Sprint(record.Offset) == named[1] && fmt.Sprint(record.Offset+record.Length) == named[2] {
			attempts++
		}
	}
	if attempts != maxAttempts {
		t.Errorf("%d attempts, it says: %s", attempts, message)
	}
}
