package safetensors

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseShardName(t *testing.T) {
	tests := []struct {
		name string
		want ShardName
		ok   bool
	}{
		{"model-00002-of-00005.safetensors", ShardName{"model", 2, 5}, true},
		{"a-of-b-1-of-2.safetensors", ShardName{"a-of-b", 1, 2}, true},
		{"-1-of-2.safetensors", ShardName{"", 1, 2}, true},
		{"model-00002-of-00005.bin", ShardName{}, false},
		{"model.safetensors", ShardName{}, false},
		{"model-2-of-.safetensors", ShardName{}, false},
		{"model--of-2.safetensors", ShardName{}, false},
		{"2-of-5.safetensors", ShardName{}, false},
		{"model-+2-of-5.safetensors", ShardName{}, false},
		{"model-0000000002-of-5.safetensors", ShardName{}, false},
	}
	for _, tt := range tests {
		if got, ok := ParseShardName(tt.name); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %+v, %t; want %+v, %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestNumbered(t *testing.T) {
	// In the tests "2/5" is model-00002-of-00005.safetensors.
	file := func(s string) string {
		number, total, _ := strings.Cut(s, "/")
		return "model-0000" + number + "-of-0000" + total + Suffix
	}
	tests := []struct {
		name  string
		files []string
		want  ShardSet
		kind  error
		says  string
	}{
		{"complete, unordered", []string{"3/3", "1/3", "2/3"}, ShardSet{Total: 3, Found: 3}, nil, ""},
		{"from 0", []string{"0/3", "1/3", "2/3"}, ShardSet{Total: 3, Found: 3}, nil, ""},
		{"gaps", []string{"2/7", "5/7"}, ShardSet{Total: 7, Found: 2, Missing: []NumberRange{{1, 1}, {3, 4}, {6, 7}}},
			ErrMissingShard, `2 of 7 shards of "model" are there; missing: 1, 3-4, 6-7`},
		{"0 and the last", []string{"0/2", "1/2", "2/2"}, ShardSet{Total: 2, Found: 2, Strays: []string{file("0/2")}},
			ErrDuplicateShard, file("0/2")},
		{"beyond the last", []string{"1/1", "4/1"}, ShardSet{Total: 1, Found: 1, Strays: []string{file("4/1")}},
			ErrDuplicateShard, file("4/1")},
		{"none of 0", []string{"1/0"}, ShardSet{Strays: []string{file("1/0")}}, ErrDuplicateShard, file("1/0")},
		{"the same number twice", []string{"1/2", "2/2", "02/2"},
			ShardSet{Total: 2, Found: 2, Duplicates: []string{file("02/2"), file("2/2")}}, ErrDuplicateShard, file("02/2")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			names := []string{"model.safetensors", "README.md"}
			for _, s := range tt.files {
				names = append(names, file(s))
			}
			tt.want.Prefix = "model"
			sets := Numbered(names)
			if len(sets) != 1 || !reflect.DeepEqual(sets[0], tt.want) {
				t.Fatalf("sets %+v, want %+v", sets, tt.want)
			}
			problems := sets[0].Problems()
			if len(problems) == 0 && tt.kind == nil {
				return
			}
			if len(problems) != 1 || !errors.Is(problems[0], tt.kind) || !strings.Contains(problems[0].Error(), tt.says) {
				t.Errorf("problems %v, want %v that says %q", problems, tt.kind, tt.says)
			}
		})
	}
}

func TestNumberedSets(t *testing.T) {
	sets := Numbered([]string{"b-1-of-2.safetensors", "a-1-of-3.safetensors", "a-1-of-1.safetensors", "x"})
	want := []ShardSet{
		{Prefix: "a", Total: 1, Found: 1},
		{Prefix: "a", Total: 3, Found: 1, Missing: []NumberRange{{2, 3}}},
		{Prefix: "b", Total: 2, Found: 1, Missing: []NumberRange{{2, 2}}},
	}
	if !reflect.DeepEqual(sets, want) {
		t.Errorf("sets %+v, want %+v", sets, want)
	}
}
