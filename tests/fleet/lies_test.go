package fleet

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// tierReport is what mountd and gpuload say of the cache.
type tierReport struct {
	HitRate     *float64         `json:"hit_rate"`
	Bytes       int64            `json:"bytes"`
	DirectBytes int64            `json:"direct_bytes"`
	Fallbacks   map[string]int64 `json:"fallbacks"`
	Instances   []struct {
		URL, State string
		Failures   int64
	} `json:"instances"`
}

// reportOf asks a mount's daemon.
func reportOf(t *testing.T, m *rig.Mount) tierReport {
	t.Helper()
	var report struct {
		Tier tierReport `json:"tier"`
	}
	noError(t, json.Unmarshal([]byte(rig.Succeed(t, nil, theStage.Mountd, "status", "--json", m.Dir)), &report))
	return report.Tier
}

// TestLyingTier holds that an answer which is not what was asked for is caught and
// counted, and that no reader gets it.
func TestLyingTier(t *testing.T) {
	t.Parallel()
	s := newSmallScene(t, 1)
	for name, c := range map[string]struct {
		fault proxy.Fault
		cause string
	}{
		"another version": {proxy.Fault{Response: map[string]string{"ETag": `"0123456789abcdef"`}}, "wrong"},
		"another range":   {proxy.Fault{Response: map[string]string{"Content-Range": "bytes 1-8388608/0"}}, "wrong"},
		"another length":  {proxy.Fault{End: proxy.Shorten, After: 1000}, "wrong"},
		"200":             {proxy.Fault{Edit: func(r *http.Response) { r.StatusCode = 200 }}, "wrong"},
		"502":             {proxy.Fault{Status: 502, Code: "BadGateway"}, "status"},
		"412":             {proxy.Fault{Status: 412, Code: "PreconditionFailed"}, "changed"},
		"403":             {proxy.Fault{Status: 403, Code: "AccessDenied"}, "forbidden"},
		"truncated":       {proxy.Fault{End: proxy.Truncate, After: 100_000}, "broken"},
		"reset":           {proxy.Fault{End: proxy.Reset, After: 100_000}, "broken"},
		"slow":            {proxy.Fault{Bandwidth: 64 << 10}, "slow"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := proxy.Start(t, s.tier[0].url)
			before.SetRules(1, proxy.Rule{Op: "GET", Fault: c.fault})
			args := []string{"--force-path-style", "--log-level", "debug", "--read-timeout", "16s"} // 4 s for the cache
			m := theStage.MountFor(t, rig.MountOptions{Source: "s3://" + bucket + "/TestLyingTier", Args: args,
				Env: append(s.env(), "WEIGHTFS_CACHE_URL="+before.Endpoint)})
			rig.Succeed(t, nil, "cmp", s.file, filepath.Join(m.Dir, object))
			got := reportOf(t, m)
			if got.Fallbacks[c.cause] == 0 || got.DirectBytes == 0 || got.Instances[0].Failures == 0 {
				t.Errorf("counted %+v", got)
			}
			if said := m.Output(); !strings.Contains(said, "shared cache") && got.Instances[0].State != "closed" || strings.Contains(said, "X-Amz-") {
				t.Errorf("mountd says %s", said)
			}
			if c.cause != "broken" && c.cause != "slow" && got.Bytes > 0 {
				t.Errorf("%d bytes of it were served", got.Bytes)
			}
		})
	}
}

// TestNamed holds that who operates a mount or measures a load is told of the cache.
func TestNamed(t *testing.T) {
	s := newSmallScene(t, 1)
	m := s.mount()
	s.readAll([]*rig.Mount{m}, nil)
	if got := reportOf(t, m); got.Bytes < s.size || got.DirectBytes != 0 || len(got.Instances) != 1 || got.Instances[0].URL != s.tier[0].url {
		t.Errorf("%+v", got)
	}
	out := rig.Succeed(t, s.env(), theStage.Gpuload, "bench", "--device", "cpu", "--concurrency", "8", "--memory-limit", "64Mi", "--force-path-style",
		"--plot", "", "--json", "s3://"+bucket+"/"+s.key)
	var bench struct {
		Tier *tierReport `json:"tier"`
	}
	noError(t, json.Unmarshal([]byte(out), &bench))
	if got := bench.Tier; got == nil || got.HitRate == nil || *got.HitRate != 1 || got.Bytes < s.size || got.DirectBytes != 0 {
		t.Errorf("a warm cache: %s", out)
	}
}
