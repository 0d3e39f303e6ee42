package safetensors

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestRankPatternSelect(t *testing.T) {
	tests := []struct {
		name    string
		pattern string
		names   []string
		rank    int
		want    []string
	}{
		{"rank 1 is not 11, 10 or 21", DefaultRankPattern, []string{
			"model-rank-11-part-0.safetensors", "model-rank-1-part-0.safetensors",
			"model-rank-10-part-1.safetensors", "model-rank-21-part-1.safetensors"}, 1,
			[]string{"model-rank-1-part-0.safetensors"}},
		{"unordered, with gaps, by number", DefaultRankPattern, []string{
			"model-rank-0-part-10.safetensors", "model-rank-0-part-9.safetensors", "model-rank-0-part-2.safetensors"}, 0,
			[]string{"model-rank-0-part-2.safetensors", "model-rank-0-part-9.safetensors", "model-rank-0-part-10.safetensors"}},
		{"empty part", DefaultRankPattern, []string{
			"model-rank-2-part-1.safetensors", "model-rank-2-part-.safetensors"}, 2,
			[]string{"model-rank-2-part-.safetensors", "model-rank-2-part-1.safetensors"}},
		{"others are left out", DefaultRankPattern, []string{
			"model.safetensors", "xmodel-rank-0-part-0.safetensors", "model-rank-0-part-0.safetensors.tmp",
			"model-rank-0-part-a.safetensors", "model-rank-00-part-0.safetensors", "model-rank--part-0.safetensors",
			"model-rank-0-part-0.safetensors\n", "model-rank-0-part-0.safetensors"}, 0,
			[]string{"model-rank-0-part-0.safetensors"}},
		{"metacharacters are literal", "m.(x)+[a]*?^$|\\-{rank}.{part}", []string{
			"m.(x)+[a]*?^$|\\-1.2", "mm(x)+[a]*?^$|\\-1.2", "m.(x)+[a]*?^$|\\-1x2"}, 1,
			[]string{"m.(x)+[a]*?^$|\\-1.2"}},
		{"part before rank", "p{part}r{rank}", []string{"p3r1", "p1r3", "p1r1", "p10r1"}, 1,
			[]string{"p1r1", "p3r1", "p10r1"}},
		{"digits around a separator", "1{rank}2x3{part}4", []string{"172x3054", "11172x354"}, 7, []string{"172x3054"}},
		{"leading zeros of parts", "{rank}-{part}", []string{"0-001", "0-1", "0-0002"}, 0, []string{"0-001", "0-1", "0-0002"}},
		{"numbers beyond int", "{rank}-{part}", []string{"0-99999999999999999999", "99999999999999999999-0", "0-1"}, 0, []string{"0-1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParseRankPattern(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Select(tt.names, tt.rank)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("selected %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func TestRankPatternSelectNames(t *testing.T) {
	p := defaultRankPattern()
	names := []string{"model-rank-11-part-0.safetensors", "model-rank-2-part-0.safetensors", "model-rank-2-part-1.safetensors"}
	_, err := p.Select(names, 1)
	if !errors.Is(err, ErrNoFiles) {
		t.Fatalf("error %v, want ErrNoFiles", err)
	}
	for _, want := range []string{DefaultRankPattern, "rank 1", "[2 11]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
	if ranks := p.Ranks(names); !slices.Equal(ranks, []int{2, 11}) {
		t.Errorf("ranks %v", ranks)
	}
	if f, ok := (RankPattern{}).Match(names[0]); ok {
		t.Errorf("the zero pattern matched %+v", f)
	}
}

func TestParseRankPatternRefuses(t *testing.T) {
	tests := []struct{ pattern, says string }{
		{"", "{rank} must stand in it once, not 0"},
		{"model-{part}.safetensors", "{rank} must stand in it once, not 0"},
		{"model-{rank}.safetensors", "{part} must stand in it once, not 0"},
		{"{rank}-{rank}-{part}", "{rank} must stand in it once, not 2"},
		{"{rank:02d}-{part}", "{rank} must stand in it once, not 0"},
		{"dir/{rank}-{part}", "slash"},
		{"{rank}{part}", "between"},
		{"{part}00{rank}", "between"},
	}
	for _, tt := range tests {
		_, err := ParseRankPattern(tt.pattern)
		if !errors.Is(err, ErrInvalidPattern) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), quote(tt.pattern)) {
			t.Errorf("%q: error %v, want one that says %q", tt.pattern, err, tt.says)
		}
	}
}
