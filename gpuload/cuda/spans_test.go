//go:build cuda

package cuda

import "testing"

func TestSpansContain(t *testing.T) {
	const page = 4096
	host := make([]byte, 10*page)
	var s spans
	stagings := map[string]*staging{}
	for _, c := range []struct {
		name       string
		start, end int
	}{{"late", 6, 9}, {"early", 1, 3}, {"next", 3, 4}} {
		stagings[c.name] = &staging{}
		s.add(host[c.start*page:c.end*page], stagings[c.name])
	}
	if len(s.all()) != 3 {
		t.Fatalf("%d spans, want 3", len(s.all()))
	}
	for _, c := range []struct {
		what       string
		start, end int
		want       bool
	}{
		{"whole", page, 3 * page, true},
		{"a byte inside", 2 * page, 2*page + 1, true},
		{"the last byte", 9*page - 1, 9 * page, true},
		{"one too many", 6 * page, 9*page + 1, false},
		{"one too early", page - 1, 2 * page, false},
		{"across neighbours", 2 * page, 4 * page, false},
		{"between", 4 * page, 5 * page, false},
		{"before all", 0, page, false},
		{"after all", 9 * page, 10 * page, false},
	} {
		if got := s.holder(host[c.start:c.end]) != nil; got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	s.add(host[9*page:], stagings["early"]) // it was moved
	if s.holder(host[9*page:]) != stagings["early"] || len(s.all()) != 3 {
		t.Error("a staging of two spans is not one that both lead to")
	}
	s.remove(stagings["early"])
	s.remove(stagings["early"])
	if s.holder(host[page:2*page]) != nil || s.holder(host[9*page:]) != nil || s.holder(host[3*page:4*page]) == nil || len(s.all()) != 2 {
		t.Error("remove took other spans than those of the staging named")
	}
}

func TestVersion(t *testing.T) {
	for v, want := range map[int]string{11080: "11.8", 12090: "12.9", 13000: "13.0"} {
		if got := version(v); got != want {
			t.Errorf("version(%d) = %q, want %q", v, got, want)
		}
	}
}
