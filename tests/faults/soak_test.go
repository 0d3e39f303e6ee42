//go:build soak

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

const (
	// soakObjects is how many copies of the object there are to read: more than
	// the memory holds.
	soakObjects = 6
	// soakSample is the time between two looks at what mountd holds.
	soakSample = 2 * time.Second
	// soakFault is how long each fault lasts.
	soakFault = 3 * time.Second
	// soakMemory is the mount's memory limit, in MiB, and soakResident what it may
	// have resident, as docs/semantics.md promises.
	soakMemory, soakResident = 64, soakMemory + 128
	// soakGrowth is how much more, in parts of the whole, may be held at the end
	// than in the middle.
	soakGrowth = 0.1
)

// soak is a mount that is read for a long time under changing faults.
type soak struct {
	*scene
	ctx           context.Context // ends with the soak
	reads, faults atomic.Int64
	samples       []usage // by the one who samples
}

// TestSoak holds that readers of all kinds get what is right for a long time
// under random faults, and that mountd does not grow.
func TestSoak(t *testing.T) {
	const bucket = "soak"
	noError(t, theStage.Server.CreateBucket(t.Context(), bucket))
	for i := range soakObjects {
		noError(t, theStage.Server.PutFile(t.Context(), bucket, soakKey(i), theStage.original))
	}
	s := &soak{scene: &scene{t: t, proxy: proxy.Start(t, theStage.Server.Endpoint)}}
	s.proxy.SetShape(proxy.Shape{FirstByte: 2 * time.Millisecond, PerConnection: 20e6, Total: 100e6})
	s.mount = mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket, Args: []string{"--memory-limit", fmt.Sprint(soakMemory, "Mi"), "--metadata-ttl", "2s", "--log-level", "error"},
		Env: append(theStage.Server.Env(), "AWS_ENDPOINT_URL="+s.proxy.Endpoint),
	})
	ctx, cancel := context.WithTimeout(t.Context(), theStage.soak)
	defer cancel()
	s.ctx = ctx
	t.Run("with", func(t *testing.T) {
		for _, way := range ways() {
			t.Run(way, func(t *testing.T) { s.readForEver(t, way) })
		}
		t.Run("killed readers", s.killReaders)
		t.Run("faults", s.inflictFaults)
		t.Run("samples", s.sample)
	})
	s.heal()
	checkQuiet(t, s.mount)
	spoilt := s.proxy.Stats().Faults
	if spoilt == 0 {
		t.Error("no request met a fault")
	}
	t.Logf("%d reads, %d faults, which %d requests met", s.reads.Load(), s.faults.Load(), spoilt)
	s.checkGrowth(t)
}

func soakKey(i int) string { return fmt.Sprintf("%d/%s", i, object) }

// readForEver reads one object after the other in one way.
func (s *soak) readForEver(t *testing.T, way string) {
	t.Parallel()
	for i := 0; i == 0 || s.ctx.Err() == nil; i++ {
		path := filepath.Join(s.mount.Dir, soakKey(i%soakObjects))
		if way == "load" {
			must(t, loadFile(t, nil, path))
		} else {
			must(t, readFile(t, way, path))
		}
		s.reads.Add(1)
	}
}

// killReaders kills readers in the middle of what they do.
func (s *soak) killReaders(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	for i := 0; s.ctx.Err() == nil; i++ {
		reader := startReader(t)
		noError(t, reader.ask(order{Op: ways()[random.IntN(3)], Path: filepath.Join(s.mount.Dir, soakKey(i%soakObjects))}))
		wait(s.ctx, time.Duration(random.Int64N(int64(500*time.Millisecond))))
		noError(t, reader.Kill())
	}
}

// inflictFaults has one fault follow the other, with times of health between.
func (s *soak) inflictFaults(t *testing.T) {
	t.Parallel()
	get := func(probability float64, fault proxy.Fault) proxy.Rule {
		return proxy.Rule{Op: "GET", Probability: probability, Fault: fault}
	}
	faults := []proxy.Rule{
		get(0.2, proxy.Fault{End: proxy.Reset}),
		get(0.2, proxy.Fault{End: proxy.Reset, After: 300_000}),
		get(0.2, proxy.Fault{End: proxy.Truncate, After: 200_000}),
		get(0.2, proxy.Fault{End: proxy.Shorten, After: 200_000}),
		get(0.1, proxy.Fault{End: proxy.Stall, After: 100_000}),
		get(0.5, failing(503, "SlowDown")),
		get(0.3, failing(500, "InternalError")),
		get(0.2, proxy.Fault{Latency: time.Second}),
		{OneIn: 10, Fault: proxy.Fault{Bandwidth: 200e3}},
	}
	random := rand.New(rand.NewPCG(2, 2))
	for seed := uint64(0); s.ctx.Err() == nil; seed++ {
		switch pick := random.IntN(len(faults) + 1); pick {
		case len(faults): // an outage
			noError(t, s.proxy.Refuse())
			wait(s.ctx, soakFault)
			noError(t, s.proxy.Accept())
		default:
			s.proxy.SetRules(seed, faults[pick])
			wait(s.ctx, soakFault)
			s.proxy.SetRules(seed)
		}
		s.faults.Add(1)
		wait(s.ctx, soakFault/3)
	}
}

// sample notes what mountd holds, at intervals.
func (s *soak) sample(t *testing.T) {
	t.Parallel()
	for s.ctx.Err() == nil {
		s.samples = append(s.samples, usageOf(t, s.mount))
		wait(s.ctx, soakSample)
	}
}

// checkGrowth holds that the last quarter of the samples is not above the second
// one.
func (s *soak) checkGrowth(t *testing.T) {
	t.Helper()
	quarter := len(s.samples) / 4
	if quarter < 2 {
		t.Fatalf("only %d samples", len(s.samples))
	}
	for _, kind := range []struct {
		name  string
		value func(usage) int64
		slack int64
	}{
		{"MiB", func(u usage) int64 { return u.resident >> 20 }, 16},
		{"descriptors", func(u usage) int64 { return int64(u.descriptors()) }, 20},
		{"goroutines", func(u usage) int64 { return int64(u.goroutines) }, 50},
		{"threads", func(u usage) int64 { return int64(u.threads) }, 10},
	} {
		most := func(samples []usage) (n int64) {
			for _, sample := range samples {
				n = max(n, kind.value(sample))
			}
			return n
		}
		before, after := most(s.samples[quarter:2*quarter]), most(s.samples[3*quarter:])
		t.Logf("%d then %d %s", before, after, kind.name)
		if float64(after) > float64(before)*(1+soakGrowth)+float64(kind.slack) {
			t.Errorf("%s grew from %d to %d", kind.name, before, after)
		}
		if all := most(s.samples); kind.name == "MiB" && all > soakResident {
			t.Errorf("%d MiB were resident", all)
		}
	}
}
