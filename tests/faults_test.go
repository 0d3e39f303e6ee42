package tests

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weightfs/tests/harness"
	"weightfs/tests/proxy"
)

// sick starts a proxy with these rules before the server, and returns it with
// the variables that lead clients to it.
func sick(t *testing.T, rules ...proxy.Rule) (*proxy.Proxy, []string) {
	t.Helper()
	p := proxy.Start(t, theStage.server.Endpoint)
	p.SetRules(1, rules...)
	return p, append(theStage.server.Env(), "AWS_ENDPOINT_URL="+p.Endpoint)
}

// wholeAnswer makes of a partial answer one that claims to be the whole object.
func wholeAnswer(_ proxy.Request, h *proxy.Head) {
	if h.Status() == http.StatusPartialContent {
		h.SetStatus(http.StatusOK, "OK")
		h.Set("Content-Range", "")
	}
}

// otherRange makes of a partial answer one that claims to be of other bytes.
func otherRange(_ proxy.Request, h *proxy.Head) {
	_, total, _ := strings.Cut(h.Get("Content-Range"), "/")
	h.Set("Content-Range", "bytes 5-9/"+total)
}

// sicknesses are servers that a reader must not notice. Probabilities are of
// one request, and far above what a real store does.
func sicknesses() map[string][]proxy.Rule {
	get := func(probability float64, fault proxy.Fault) proxy.Rule {
		return proxy.Rule{Name: string(fault.End), Op: "GET", Probability: probability, Fault: fault}
	}
	return map[string][]proxy.Rule{
		"errors": {
			{Probability: 0.1, Fault: proxy.Fault{Status: 503, Code: "SlowDown"}},
			{Probability: 0.1, Fault: proxy.Fault{Status: 500, Code: "InternalError", RetryAfter: "0"}},
		},
		"resets":        {get(0.1, proxy.Fault{End: proxy.Reset}), get(0.2, proxy.Fault{End: proxy.Reset, After: 300_000})},
		"truncated":     {get(0.1, proxy.Fault{End: proxy.Truncate, After: 1_000_000}), get(0.1, proxy.Fault{End: proxy.Shorten, After: 999})},
		"wrong range":   {{Op: "GET", Skip: 3, Count: 2, Fault: proxy.Fault{Edit: otherRange}}},
		"whole object":  {{Op: "GET", Skip: 3, Count: 2, Fault: proxy.Fault{Edit: wholeAnswer}}},
		"stalls":        {{Op: "GET", Skip: 5, Count: 4, Fault: proxy.Fault{End: proxy.Stall, After: 500_000}}},
		"slow minority": {{Op: "GET", OneIn: 8, Fault: proxy.Fault{Bandwidth: 10_000_000}}},
		"like Google":   {{Fault: proxy.Fault{Request: map[string]string{"Accept-Encoding": "identity,gzip(gfe)"}}}},
	}
}

// TestFaultsStayUnnoticed reads through mounts of sick servers.
func TestFaultsStayUnnoticed(t *testing.T) {
	m := theStage.model(t, "sharded")
	want := sums(t, m.dir)
	for name, rules := range sicknesses() {
		t.Run("mount/"+name, func(t *testing.T) {
			p, env := sick(t, rules...)
			mnt := mountWith(t, harness.MountOptions{Source: "s3://" + bucket + "/" + m.name, Env: env})
			if got := sums(t, mnt.Dir); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if p.Stats().Faults == 0 {
				t.Error("no fault was injected")
			}
		})
		t.Run("gpuload/"+name, func(t *testing.T) {
			_, env := sick(t, rules...)
			r := runWith(t, env, theStage.Gpuload, "load", "--device", "cpu", "--verify", "s3://"+bucket+"/"+m.name)
			if r.Code != 0 {
				t.Errorf("exit %d: %s", r.Code, r.Stderr)
			}
		})
	}
}

// TestFaultyAnswersAreNotServed holds that a server that answers with other bytes
// than asked for fails the reader at once or is asked again, and that its bytes
// are never taken for the right ones.
func TestFaultyAnswersAreNotServed(t *testing.T) {
	m := theStage.model(t, "sharded")
	for name, fault := range map[string]proxy.Fault{
		"other range":  {Edit: otherRange},
		"whole object": {Edit: wholeAnswer},
	} {
		rule := proxy.Rule{Op: "GET", Key: "00002-of", Fault: fault}
		t.Run("mount/"+name, func(t *testing.T) {
			_, env := sick(t, rule)
			mnt := mountWith(t, harness.MountOptions{
				Source: "s3://" + bucket + "/" + m.name, Env: env, Args: []string{"--read-timeout", "2s"},
			})
			r := run(t, "cat", filepath.Join(mnt.Dir, "model-00002-of-00004.safetensors"))
			if r.Code == 0 || !strings.Contains(r.Stderr, "Input/output error") {
				t.Errorf("exit %d with %d bytes: %s", r.Code, len(r.Stdout), r.Stderr)
			}
		})
		t.Run("gpuload/"+name, func(t *testing.T) {
			_, env := sick(t, rule)
			failure{args: []string{"load", "--device", "cpu", "s3://" + bucket + "/" + m.name}, code: 1, names: "00002-of"}.check(t, env, theStage.Gpuload)
		})
	}
}

// TestFaultOutageIsSatOut holds that a server that refuses connections for a while
// delays readers and does no more.
func TestFaultOutageIsSatOut(t *testing.T) {
	m := theStage.model(t, "sharded")
	p, env := sick(t)
	p.SetShape(proxy.Shape{Total: 200e6}) // so that the outage falls into the reading
	mnt := mountWith(t, harness.MountOptions{Source: "s3://" + bucket + "/" + m.name, Env: env})
	over := make(chan error, 1)
	p.SetRules(1, proxy.Rule{Op: "GET", Skip: 10, Count: 1, Fault: proxy.Fault{Edit: func(proxy.Request, *proxy.Head) {
		go func() { over <- outage(t.Context(), p) }()
	}}})
	if got, want := sums(t, mnt.Dir), sums(t, m.dir); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// outage refuses connections for a time.
func outage(ctx context.Context, p *proxy.Proxy) error {
	if err := p.Refuse(); err != nil {
		return err
	}
	select {
	case <-time.After(1500 * time.Millisecond):
	case <-ctx.Done():
	}
	return p.Accept()
}

// TestFaultDeadStoreFailsReaders holds that a read of a store that is gone ends with
// an error once --read-timeout is over, and that the mount recovers with it.
func TestFaultDeadStoreFailsReaders(t *testing.T) {
	m := theStage.model(t, "trained")
	p, env := sick(t)
	mnt := mountWith(t, harness.MountOptions{
		Source: "s3://" + bucket + "/" + m.name, Env: env, Args: []string{"--read-timeout", "2s"},
	})
	file := filepath.Join(mnt.Dir, "model.safetensors")
	output(t, "stat", file)
	if err := p.Refuse(); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "cat", file); r.Code == 0 || !strings.Contains(r.Stderr, "Input/output error") {
		t.Errorf("exit %d: %s", r.Code, r.Stderr)
	}
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	if got, want := sums(t, mnt.Dir), sums(t, m.dir); got != want {
		t.Errorf("after the outage: got\n%swant\n%s", got, want)
	}
}

// TestFaultReplacedObject holds that a reader of an object that is replaced gets an
// error in place of a mixture, and that who opens it later gets the new one.
func TestFaultReplacedObject(t *testing.T) {
	const name, size = "replaced", 64 << 20
	theStage.server.Fill(t, name, map[string][]byte{"object": []byte(strings.Repeat("a", size))})
	mnt := mountWith(t, harness.MountOptions{
		Source: "s3://" + name, Args: []string{"--metadata-ttl", "1ms", "--memory-limit", "64Mi", "--prefetch", "off"},
	})
	file := filepath.Join(mnt.Dir, "object")
	reader, stdin := startReader(t, file)
	theStage.server.MustPut(t, name, "object", []byte(strings.Repeat("b", size)))
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if code := reader.Wait(); code == 0 || !strings.Contains(reader.Output(), "Stale file handle") {
		t.Errorf("the reader of the old one: exit %d: %s", code, reader.Output())
	}
	if got := output(t, "sh", "-c", `tr -d b <"$0" | wc -c; wc -c <"$0"`, file); strings.Join(strings.Fields(got), " ") != "0 67108864" {
		t.Errorf("the new one: %q", got)
	}
}
