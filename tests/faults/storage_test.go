package faults

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/proxy"
)

// storageCase is a fault of the store.
type storageCase struct {
	name string
	// inflict makes the store sick; the reading begins when it returns.
	inflict func(r *scene)
	// pause is the least time between a request that the fault answers and the
	// next attempt; 0 where that may follow at once.
	pause time.Duration
	// wasted tells that the body of an answer which meets the fault is of no use.
	wasted bool
}

const (
	// shortPause is half of the first back-off: the other half is luck.
	shortPause = 50 * time.Millisecond
	// retryAfter is what the store asks for where it does.
	retryAfter = time.Second
)

// failing answers with a status.
func failing(status int, code string) proxy.Fault { return proxy.Fault{Status: status, Code: code} }

// inflicting sets one rule, for GETs.
func inflicting(fault proxy.Fault, conditions proxy.Rule) func(*scene) {
	conditions.Op, conditions.Fault = "GET", fault
	return func(r *scene) { r.proxy.SetRules(1, conditions) }
}

// passing are the faults of which a reader must notice nothing but the time.
func passing() []storageCase {
	const half = partSize / 2
	some, tenth, twice := proxy.Rule{Probability: 0.2}, proxy.Rule{OneIn: 10}, proxy.Rule{Skip: 3, Count: 2}
	cases := []storageCase{
		{name: "refused for a while", inflict: func(r *scene) { outageAfter(r, 5) }},
		{name: "reset in the body", inflict: inflicting(proxy.Fault{End: proxy.Reset, After: half}, some)},
		{name: "reset at once", inflict: inflicting(proxy.Fault{End: proxy.Reset}, some)},
		{name: "stalled in the body", inflict: inflicting(proxy.Fault{End: proxy.Stall, After: half}, proxy.Rule{Skip: 3, Count: 4})},
		{name: "one connection in ten stalled for ever", inflict: inflicting(proxy.Fault{End: proxy.Stall}, tenth)},
		{name: "one connection in ten slow", inflict: inflicting(proxy.Fault{Bandwidth: 200e3}, tenth)},
		{name: "truncated, Content-Length right", inflict: inflicting(proxy.Fault{End: proxy.Truncate, After: half}, some)},
		{name: "truncated, Content-Length wrong", inflict: inflicting(proxy.Fault{End: proxy.Shorten, After: half}, some)},
		{name: "206 of another range, twice", inflict: inflicting(proxy.Fault{Edit: otherRange}, twice), wasted: true},
		{name: "200 in place of 206, twice", inflict: inflicting(proxy.Fault{Edit: wholeAnswer}, twice), wasted: true},
		{name: "ETag corrupted, twice", inflict: inflicting(proxy.Fault{Response: otherETag()}, twice), wasted: true},
		{name: "signed header rewritten", inflict: func(r *scene) { // as Google's front end does to every request
			r.proxy.SetRules(1, proxy.Rule{Fault: proxy.Fault{Request: map[string]string{"Accept-Encoding": "identity,gzip(gfe)"}}})
		}},
		{name: "latency of 2 s", wasted: true, inflict: func(r *scene) {
			r.proxy.SetRules(1, proxy.Rule{Fault: proxy.Fault{Latency: 2 * time.Second}})
		}},
	}
	for name, fault := range map[string]proxy.Fault{"half 500": failing(500, "InternalError"), "half 503": failing(503, "SlowDown")} {
		cases = append(cases, storageCase{name: name, inflict: func(r *scene) { storm(r, fault) }, pause: shortPause})
		fault.RetryAfter = "1"
		cases = append(cases, storageCase{name: name + " with Retry-After", inflict: func(r *scene) { storm(r, fault) }, pause: retryAfter})
	}
	return cases
}

// otherRange makes of a partial answer one that claims to be of other bytes of
// the same object.
func otherRange(r *http.Response) {
	if r.StatusCode == http.StatusPartialContent {
		_, total, _ := strings.Cut(r.Header.Get("Content-Range"), "/")
		r.Header.Set("Content-Range", "bytes 5-9/"+total)
	}
}

func otherETag() map[string]string {
	return map[string]string{"ETag": `"00000000000000000000000000000000"`}
}

// wholeAnswer makes of a partial answer one that claims to be the whole object.
func wholeAnswer(r *http.Response) {
	if r.StatusCode == http.StatusPartialContent {
		r.StatusCode = http.StatusOK
		r.Header.Del("Content-Range")
	}
}

func refuse(r *scene) {
	if err := r.proxy.Refuse(); err != nil {
		r.t.Error(err)
	}
}

// outageAfter refuses connections for a while, from the GET after that many,
// which is cut off.
func outageAfter(r *scene, gets int) {
	begun := r.before("GET", gets, func() { refuse(r) })
	r.during(begun, r.proxy.Accept)
}

// before has do happen before the answer to a request of op that comes after skip
// others, and returns what is closed then.
func (r *scene) before(op string, skip int, do func()) <-chan struct{} {
	done := make(chan struct{})
	r.proxy.SetRules(1, proxy.Rule{Op: op, Skip: skip, Count: 1, Fault: proxy.Fault{Edit: func(*http.Response) {
		do()
		close(done)
	}}})
	return done
}

// storm fails one request, and then half of all until it has failed enough.
func storm(r *scene, fault proxy.Fault) {
	r.proxy.SetRules(1, proxy.Rule{Count: 1, Fault: fault}, proxy.Rule{Probability: 0.5, Count: theStage.storm, Fault: fault})
}

// wait lets a fault last.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// during ends a fault once it has begun and lasted for a while, or with the test,
// which fails where it did not begin.
func (r *scene) during(begun <-chan struct{}, end func() error) {
	done, ctx := make(chan error, 1), r.t.Context() // over before the test's end
	go func() {
		select {
		case <-begun:
			wait(ctx, theStage.outage)
			done <- end()
		case <-ctx.Done():
			done <- errors.New("the fault did not begin")
		}
	}()
	atEnd(r.t, func() error { return <-done })
}

// TestPassingFaults holds that faults which pass are invisible but for time.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	for _, c := range passing() {
		for _, way := range everyWay() {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				newScene(t).checkPassing(c, way)
			})
		}
	}
}

// checkPassing has a reader notice nothing of a fault.
func (r *scene) checkPassing(c storageCase, way string) {
	r.t.Helper()
	r.beginCounting()
	c.inflict(r)
	must(r.t, r.read(way))
	r.checkFired()
	checkQuiet(r.t, r.mount) // what is still asked for is in no log yet
	r.checkRefetched(c)
	r.checkAttempts(c, way, maxAttempts)
}

// putSparse stores an object of zeroes without sending it.
func putSparse(t *testing.T, key string, size int64) error {
	t.Helper()
	path := filepath.Join(theStage.Server.Dir, bucket, key)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	t.Cleanup(func() { os.Remove(path) })
	return errors.Join(os.Truncate(path, size), unix.Setxattr(path, "user.etag", []byte("0123456789abcdef"), 0))
}
