package proxy

import (
	"slices"
	"testing"
)

func TestRuleSetPicks(t *testing.T) {
	get := func(key string) Request { return Request{Op: "GET", Key: key, Conn: 1} }
	a, b, c := Fault{Code: "a"}, Fault{Code: "b"}, Fault{Code: "c"}
	tests := []struct {
		name  string
		rules []Rule
		reqs  []Request
		want  []string
	}{
		{"first that applies", []Rule{{Fault: a, Op: "HEAD"}, {Fault: b}, {Fault: c}},
			[]Request{get("x")}, []string{"b"}},
		{"by key", []Rule{{Fault: a, Key: "shard-2"}},
			[]Request{get("m/shard-1"), get("m/shard-2.s")}, []string{"", "a"}},
		{"skip and count", []Rule{{Fault: a, Skip: 1, Count: 2}},
			[]Request{get("x"), get("x"), get("x"), get("x")}, []string{"", "a", "a", ""}},
		{"spent rules give way", []Rule{{Fault: a, Count: 1}, {Fault: b}},
			[]Request{get("x"), get("x")}, []string{"a", "b"}},
		{"one connection in three", []Rule{{Fault: a, OneIn: 3}},
			[]Request{{Conn: 1}, {Conn: 2}, {Conn: 3}, {Conn: 4}}, []string{"a", "", "", "a"}},
		{"by callback", []Rule{{Fault: a, When: func(r Request) bool { return r.Offset > 5 }}},
			[]Request{{Offset: 5}, {Offset: 6}}, []string{"", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s ruleSet
			s.SetRules(1, tt.rules...)
			var got []string
			for _, req := range tt.reqs {
				rule, _ := s.pick(req)
				got = append(got, rule.Code)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRuleProbabilityFollowsTheSeed(t *testing.T) {
	choices := func(seed uint64) (hits []bool) {
		var s ruleSet
		s.SetRules(seed, Rule{Probability: 0.25})
		for range 1000 {
			_, hit := s.pick(Request{})
			hits = append(hits, hit)
		}
		return hits
	}
	first := choices(7)
	if !slices.Equal(first, choices(7)) {
		t.Error("the same seed chose differently")
	}
	n := 0
	for _, hit := range first {
		if hit {
			n++
		}
	}
	if n < 200 || n > 300 {
		t.Errorf("%d of 1000 hits at a probability of 0.25", n)
	}
}
