package proxy

import (
	"reflect"
	"testing"
	"time"
)

func TestParseRules(t *testing.T) {
	rules, err := ParseRules([]byte(`[
		{"name": "slow", "one_in": 16, "bandwidth": 1000000},
		{"op": "GET", "key": "shard", "probability": 0.1, "end": "reset", "after": 4096},
		{"status": 503, "code": "SlowDown", "retry_after": "1", "latency": "20ms", "response": {"ETag": ""}}
	]`))
	want := []Rule{
		{Name: "slow", OneIn: 16, Fault: Fault{Bandwidth: 1e6}},
		{Op: "GET", Key: "shard", Probability: 0.1, Fault: Fault{End: Reset, After: 4096}},
		{Fault: Fault{Status: 503, Code: "SlowDown", RetryAfter: "1", Latency: 20 * time.Millisecond, Response: map[string]string{"ETag": ""}}},
	}
	if err != nil || !reflect.DeepEqual(rules, want) {
		t.Errorf("got %+v, %v", rules, err)
	}
	for _, text := range []string{``, `{}`, `[{"nme": "x"}]`, `[{"end": "boom"}]`, `[{"latency": "20"}]`, `[{"after": -1}]`} {
		if _, err := ParseRules([]byte(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add([]byte(`[{"name": "slow", "one_in": 16, "latency": "1s"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := ParseRules(data)
		if err != nil {
			return
		}
		var s ruleSet
		s.set(1, rules)
		s.pick(Request{Op: "GET", Conn: 1})
	})
}
