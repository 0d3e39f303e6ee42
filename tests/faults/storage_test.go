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

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// storageCase is a fault of the store.
type storageCase struct {
	name string
	// inflict makes the store sick; the reading begins when it returns.
	inflict func(r *scene)
}

// passing are the faults of which a reader must notice nothing but the time.
func passing() []storageCase {
	get := func(fault proxy.Fault, conditions proxy.Rule) func(*scene) {
		conditions.Op, conditions.Fault = "GET", fault
		return func(r *scene) { r.proxy.SetRules(1, conditions) }
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
		{"half 500 with Retry-After", storm(proxy.Fault{Status: 500, Code: "InternalError", RetryAfter: "1"})},
		{"half 503", storm(proxy.Fault{Status: 503, Code: "SlowDown"})},
		{"half 503 with Retry-After", storm(proxy.Fault{Status: 503, Code: "SlowDown", RetryAfter: "1"})},
		{"truncated, Content-Length right", get(proxy.Fault{End: proxy.Truncate, After: half}, some)},
		{"truncated, Content-Length wrong", get(proxy.Fault{End: proxy.Shorten, After: half}, some)},
		{"206 of another range, twice", get(proxy.Fault{Edit: otherRange}, twice)},
		{"200 in place of 206, twice", get(proxy.Fault{Edit: wholeAnswer}, twice)},
		{"ETag corrupted, twice", get(proxy.Fault{Response: otherETag()}, twice)},
		{"signed header rewritten", rewriteSignedHeader},
		{"latency of 2 s", func(r *scene) { r.proxy.SetRules(1, proxy.Rule{Fault: proxy.Fault{Latency: 2 * time.Second}}) }},
	}
}

// rewriteSignedHeader is what Google's front end does to every request.
func rewriteSignedHeader(r *scene) {
	r.proxy.SetRules(1, proxy.Rule{Fault: proxy.Fault{Request: map[string]string{"Accept-Encoding": "identity,gzip(gfe)"}}})
}

// otherRange makes of a partial answer one that claims to be of other bytes of
// the same object.
func otherRange(_ proxy.Request, h *proxy.Head) {
	if h.Status() == http.StatusPartialContent {
		_, total, _ := strings.Cut(h.Get("Content-Range"), "/")
		h.Set("Content-Range", "bytes 5-9/"+total)
	}
}

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

func refuse(r *scene) {
	r.outage = true
	if err := r.proxy.Refuse(); err != nil {
		r.t.Fatal(err)
	}
}

// refuseForAWhile refuses connections, beginning in the middle of the reading.
func refuseForAWhile(r *scene) { refuseAfter(r, 5) }

// refuseAfter refuses connections for a while after that many GETs.
func refuseAfter(r *scene, gets int) {
	r.outage = true
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

// storm fails half of all requests for a while, from the first that it fails on:
// a reader that starts slowly shall not miss it.
func storm(fault proxy.Fault) func(*scene) {
	return func(r *scene) {
		r.proxy.SetRules(1, proxy.Rule{Probability: 0.5, Fault: fault})
		r.during(func(ctx context.Context) error {
			for r.proxy.Stats().Faults == 0 && ctx.Err() == nil {
				wait(ctx, lateTick)
			}
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
func (r *scene) during(fn func(context.Context) error) {
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
				r := newScene(t)
				theStage.table.add(t, "intact", &r.seen)
				r.beginCounting()
				c.inflict(r)
				o := r.read(way)
				fmt.Fprintf(&r.seen, "%v", o)
				if !o.intact() {
					t.Errorf("the reader got: %v", o)
				}
				r.checkFired()
				r.checkRefetched(o.late)
				r.checkRate(rateLimit(way))
				checkQuiet(t, r.mount)
			})
		}
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
		m := mountFor(t, rig.MountOptions{
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
