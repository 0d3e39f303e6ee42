package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weightfs/cmd/cli"
)

// writeShard writes a safetensors file of that header, padded as writers do, and
// n bytes of data.
func writeShard(t testing.TB, dir, name, header string, n int64) {
	t.Helper()
	header += strings.Repeat(" ", -len(header)&7)
	content := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, append(content, header...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(content)+len(header))+n); err != nil {
		t.Fatal(err)
	}
}

// runInspect runs the command by itself.
func runInspect(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := newApp(nil, &out, &errs)
	code = cli.Execute(t.Context(), newInspectCommand(a), args, a.env, &errs)
	return code, out.String(), errs.String()
}

func TestInspectTables(t *testing.T) {
	dir := t.TempDir()
	writeShard(t, dir, "m-1-of-2.safetensors", `{"__metadata__":{"format":"pt"},"b i":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},`+
		`"w":{"dtype":"F32","shape":[2,2],"data_offsets":[3,19]}}`, 19)
	writeShard(t, dir, "m-2-of-2.safetensors", `{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4)
	code, got, stderr := runInspect(t, dir)
	if code != cli.ExitOK || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	want := `TENSOR  DTYPE  SHAPE  BYTES  OFFSET  ALIGNMENT      FILE
"b i"   U8     [3]    3      152     8              m-1-of-2.safetensors
w       F32    [2,2]  16     155     1 (unaligned)  m-1-of-2.safetensors
s       F32    []     4      64      64             m-2-of-2.safetensors

FILE                  TENSORS  BYTES  HEADER
m-1-of-2.safetensors  2        19     152
m-2-of-2.safetensors  1        4      64

DTYPE  TENSORS  BYTES
F32    2        20
U8     1        3

3 tensors in 2 files, 23 bytes (23 B); 1 not aligned to their element size
`
	if got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

func TestInspectJSON(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.safetensors")
	writeShard(t, dir, "m.safetensors", `{"__metadata__":{"format":"pt"},"<w>":{"dtype":"BF16","shape":[2,0],"data_offsets":[0,0]}}`, 0)
	code, got, stderr := runInspect(t, "--json", path)
	if code != cli.ExitOK || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	want := fmt.Sprintf(`{"source":%q,"files":[{"file":"m.safetensors","path":%q,"file_bytes":104,"header_bytes":104,`+
		`"metadata":{"format":"pt"},"tensors":1,"bytes":0}],"tensors":[{"name":"<w>","dtype":"BF16","shape":[2,0],`+
		`"file":"m.safetensors","offset":104,"nbytes":0,"alignment":8,"aligned":true}],"dtypes":{"BF16":{"tensors":1,"bytes":0}},`+
		`"total":{"tensors":1,"bytes":0},"unaligned_tensors":0,"problems":[]}`+"\n", path, path)
	if got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

func TestInspectProblems(t *testing.T) {
	const one = `{"%s":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`
	shard := func(name string) string { return fmt.Sprintf(one, name) }
	const index = "model.safetensors.index.json"
	tests := []struct {
		name    string
		files   map[string]string // headers, of files with a byte of data
		index   string
		tensors int
		want    []string // parts of each problem
	}{
		{"missing number", map[string]string{"m-1-of-3.safetensors": shard("a")}, "", 1,
			[]string{`1 of 3 shards of "m" are there; missing: 2-3`}},
		{"missing shard", map[string]string{"a.safetensors": shard("a")},
			`{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}`, 1, []string{index + `: missing shard: "b.safetensors"`}},
		{"several problems", map[string]string{"a.safetensors": shard("a"), "c.safetensors": `{`},
			`{"weight_map":{"a":"a.safetensors","x":"a.safetensors","y":"a.safetensors","b":"b.safetensors","c":"c.safetensors"}}`, 1,
			[]string{"c.safetensors: invalid header", `missing shard: "b.safetensors"`, `missing tensor "x"`, `missing tensor "y"`}},
		{"duplicate shards", map[string]string{"m-1-of-1.safetensors": shard("a"), "m-01-of-1.safetensors": shard("b")}, "", 2,
			[]string{`duplicate shard: "m-01-of-1.safetensors", "m-1-of-1.safetensors"`}},
		{"ranks", map[string]string{"model-rank-0-part-0.safetensors": shard("a")}, "", 0, []string{"no rank chosen: the folder has files of rank 0"}},
		{"no files", nil, "", 0, []string{"no safetensors files"}},
		{"missing tensor", map[string]string{"a.safetensors": shard("a")}, `{"weight_map":{"b":"a.safetensors"}}`, 1,
			[]string{`missing tensor "b"`}},
		{"duplicate tensors", map[string]string{"a.safetensors": shard("x"), "b.safetensors": shard("x"), "c.safetensors": shard("x")}, "", 3,
			[]string{`duplicate tensor "x"`, `duplicate tensor "x"`}},
		{"damaged headers", map[string]string{"a.safetensors": shard("a"), "b.safetensors": `{`, "c.safetensors": `{}`}, "", 1,
			[]string{"b.safetensors: invalid header deserialization", "c.safetensors: metadata incomplete buffer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, header := range tt.files {
				writeShard(t, dir, name, header, 1)
			}
			if tt.index != "" {
				if err := os.WriteFile(filepath.Join(dir, index), []byte(tt.index), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, stdout, stderr := runInspect(t, dir, "--json")
			var found inspection
			if err := json.Unmarshal([]byte(stdout), &found); err != nil {
				t.Fatalf("%v in %s", err, stdout)
			}
			if code != cli.ExitFailure || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			if !slices.EqualFunc(found.Problems, tt.want, strings.Contains) || found.Total.Tensors != tt.tensors {
				t.Errorf("%d tensors and problems %q, want %d and %q", found.Total.Tensors, found.Problems, tt.tensors, tt.want)
			}
			_, table, _ := runInspect(t, dir)
			if got := strings.Count(table, "\nproblem: "); got != len(tt.want) {
				t.Errorf("%d problems in the table, want %d:\n%s", got, len(tt.want), table)
			}
		})
	}
}

func TestInspectFails(t *testing.T) {
	if code, stdout, stderr := runInspect(t, filepath.Join(t.TempDir(), "absent")); code != cli.ExitFailure || stdout != "" || !strings.Contains(stderr, "absent") {
		t.Errorf("a source that does not exist: exit code %d, %q, %q", code, stdout, stderr)
	}
	if code, _, _ := runInspect(t); code != cli.ExitUsage {
		t.Errorf("no source: exit code %d", code)
	}
}

func TestPrintable(t *testing.T) {
	for name, want := range map[string]string{
		"model.weight": "model.weight", "名é": "名é", "a/b": "a/b",
		"": `""`, "a b": `"a b"`, "a\tb": `"a\tb"`, `"`: `"\""`, "\x00": `"\x00"`,
		strings.Repeat("n", 65536): strings.Repeat("n", 200) + "... (65536 bytes)",
	} {
		if got := printable(name); got != want {
			t.Errorf("%.20q is printed as %.300s, want %s", name, got, want)
		}
	}
}

// BenchmarkInspect reads 100,000 tensors in one file, and in 40, whose data is a
// hole. The promise is less than a second.
func BenchmarkInspect(b *testing.B) {
	const tensors, size = 100_000, 1 << 20
	for _, files := range []int{1, 40} {
		dir := b.TempDir()
		for f := range files {
			var header strings.Builder
			for i := range tensors / files {
				separator := ","
				if i == 0 {
					separator = "{"
				}
				fmt.Fprintf(&header, `%s"model.layers.%d.mlp.experts.%d.gate_proj.weight":{"dtype":"BF16","shape":[1024,512],"data_offsets":[%d,%d]}`,
					separator, f, i, i*size, (i+1)*size)
			}
			writeShard(b, dir, fmt.Sprintf("m-%05d-of-%05d.safetensors", f+1, files), header.String()+"}", int64(tensors/files)*size)
		}
		for _, args := range [][]string{{dir}, {dir, "--json"}} {
			b.Run(fmt.Sprint("files=", files, args[1:]), func(b *testing.B) {
				for b.Loop() {
					if code, _, stderr := runInspect(b, args...); code != cli.ExitOK {
						b.Fatal(stderr)
					}
				}
			})
		}
	}
}
