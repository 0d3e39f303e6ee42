package safetensors

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestFindIndex(t *testing.T) {
	tests := []struct {
		name  string
		names []string
		want  string
		err   error
	}{
		{"none", []string{"model.safetensors", "config.json", "pytorch_model.bin.index.json"}, "", nil},
		{"the usual one", []string{"model.safetensors.index.json"}, "model.safetensors.index.json", nil},
		{"another name", []string{"diffusion.fp16.safetensors.index.json"}, "diffusion.fp16.safetensors.index.json", nil},
		{"the usual one decides", []string{"consolidated.safetensors.index.json", "model.safetensors.index.json"}, "model.safetensors.index.json", nil},
		{"hidden", []string{"._model.safetensors.index.json"}, "", nil},
		{"ambiguous", []string{"b.safetensors.index.json", "a.safetensors.index.json"}, "", ErrAmbiguousIndex},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FindIndex(tt.names)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("found %q (%v), want %q (%v)", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestSelectFiles(t *testing.T) {
	index := func(files ...string) *Index {
		x := &Index{Name: "model.safetensors.index.json", WeightMap: make(map[string]string)}
		for i, file := range files {
			x.WeightMap[fmt.Sprint("t", i)] = file
		}
		return x
	}
	tests := []struct {
		name  string
		names []string
		index *Index
		want  []string
		err   error
		says  string
	}{
		{name: "by suffix, sorted", names: []string{"b.safetensors", "README.md", "a.safetensors", "c.safetensors.tmp", "._a.safetensors"},
			want: []string{"a.safetensors", "b.safetensors"}},
		{name: "none", names: []string{"a.bin", "sub/"}, err: ErrNoFiles, says: "2 files"},
		{name: "the index decides", index: index("m1.safetensors", "m2.safetensors", "m1.safetensors"),
			names: []string{"consolidated.safetensors", "m2.safetensors", "m1.safetensors"}, want: []string{"m1.safetensors", "m2.safetensors"}},
		{name: "the index names what is missing", index: index("m1.safetensors", "m2.safetensors", "m3.safetensors"),
			names: []string{"m2.safetensors"}, err: ErrMissingShard, says: `model.safetensors.index.json: missing shard: "m1.safetensors", "m3.safetensors"`},
		{name: "the index names a subfolder", index: index("s/m.safetensors"), want: []string{"s/m.safetensors"}},
		{name: "the index names nothing", index: index(), names: []string{"m.safetensors"}, err: ErrNoFiles, says: "weight_map is empty"},
		{name: "numbered", names: []string{"m-2-of-2.safetensors", "m-1-of-2.safetensors"}, want: []string{"m-1-of-2.safetensors", "m-2-of-2.safetensors"}},
		{name: "a number is missing", names: []string{"m-1-of-3.safetensors", "m-3-of-3.safetensors"}, err: ErrMissingShard, says: "missing: 2"},
		{name: "with an index, numbers do not count", index: index("m-1-of-3.safetensors"), names: []string{"m-1-of-3.safetensors"}, want: []string{"m-1-of-3.safetensors"}},
		{name: "one rank", names: []string{"model-rank-3-part-1.safetensors", "model-rank-3-part-0.safetensors"},
			err: ErrRankNotChosen, says: "files of rank 3"},
		{name: "ranks, and an index", names: []string{"model-rank-0-part-0.safetensors", "m.safetensors"}, index: index("m.safetensors"),
			want: []string{"m.safetensors"}},
		{name: "two ranks", names: []string{"model-rank-0-part-0.safetensors", "model-rank-1-part-0.safetensors"},
			err: ErrRankNotChosen, says: "2 ranks from 0 to 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := SelectFiles(tt.names, tt.index)
			if !errors.Is(err, tt.err) || !slices.Equal(got, tt.want) {
				t.Fatalf("selected %q (%v), want %q (%v)", got, err, tt.want, tt.err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
}

func TestSurvey(t *testing.T) {
	names := []string{"a-1-of-3.safetensors", "a-01-of-3.safetensors", "b-2-of-2.safetensors", "c.safetensors"}
	files, problems := Survey(names, nil)
	if len(files) != 4 {
		t.Errorf("%d files are there, want 4: %q", len(files), files)
	}
	var got []string
	for _, problem := range problems {
		got = append(got, problem.Error())
	}
	want := []string{
		`missing shard: 1 of 3 shards of "a" are there; missing: 2-3`,
		`duplicate shard: "a-01-of-3.safetensors", "a-1-of-3.safetensors"`,
		`missing shard: 1 of 2 shards of "b" are there; missing: 1`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems %q, want %q", got, want)
	}
	index := &Index{Name: "i", WeightMap: map[string]string{"t": "c.safetensors", "u": "d.safetensors"}}
	files, problems = Survey(names, index)
	if !slices.Equal(files, names[3:]) || len(problems) != 1 || !errors.Is(problems[0], ErrMissingShard) {
		t.Errorf("with an index: %q and %v", files, problems)
	}
}

// loaded is a file with empty tensors of those names.
func loaded(t *testing.T, name string, tensors ...string) File {
	t.Helper()
	var entries []string
	for _, tensor := range tensors {
		entries = append(entries, fmt.Sprintf(`%q:{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, tensor))
	}
	h, err := read(file("{"+strings.Join(entries, ",")+"}", 0))
	if err != nil {
		t.Fatal(err)
	}
	return File{Name: name, Header: h}
}

func TestConflicts(t *testing.T) {
	files := []File{loaded(t, "1", "a", "b"), loaded(t, "2", "c", "b", "a"), loaded(t, "3"), loaded(t, "4", "a")}
	tests := []struct {
		name  string
		files []File
		index map[string]string
		want  []string
	}{
		{"none", files[:1], nil, nil},
		{"no files", nil, nil, nil},
		{"an index that holds", files[:1], map[string]string{"a": "1", "b": "1"}, nil},
		{"tensors beside the index", files[:1], map[string]string{"a": "1"}, nil},
		{"duplicates", files, nil, []string{
			`duplicate tensor "b" in "1" and "2"`, `duplicate tensor "a" in "1" and "2"`, `duplicate tensor "a" in "1" and "4"`}},
		{"unreadable files", []File{files[0], {Name: "2"}}, map[string]string{"a": "1", "c": "2"}, nil},
		{"promises not kept", files[2:], map[string]string{"y": "3", "x": "3", "a": "4", "z": "6", "b": "5"}, []string{
			`m.index: missing shard: "5"`, `m.index: missing shard: "6"`,
			`m.index: missing tensor "x" in "3"`, `m.index: missing tensor "y" in "3"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var index *Index
			if tt.index != nil {
				index = &Index{Name: "m.index", WeightMap: tt.index}
			}
			var got []string
			for problem := range Conflicts(tt.files, index) {
				got = append(got, problem.Error())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("conflicts %q, want %q", got, tt.want)
			}
			for problem := range Conflicts(tt.files, index) { // a caller may stop anywhere
				if problem.Error() != tt.want[0] {
					t.Errorf("first conflict %q, want %q", problem, tt.want[0])
				}
				break
			}
		})
	}
}

func TestShardErrorCutsLists(t *testing.T) {
	err := &ShardError{Kind: ErrMissingShard, Files: slices.Repeat([]string{"f"}, 1000)}
	if s := err.Error(); !strings.HasSuffix(s, "and 992 more") || len(s) > 100 {
		t.Errorf("message %q", s)
	}
	sparse := ShardSet{Total: 100}
	for i := range 50 {
		sparse.Missing = append(sparse.Missing, NumberRange{2 * i, 2 * i})
	}
	if s := sparse.Problems()[0].Error(); !strings.HasSuffix(s, "12, 14, ...") {
		t.Errorf("message %q", s)
	}
}
