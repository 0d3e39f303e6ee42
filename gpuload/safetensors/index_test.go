package safetensors

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParseIndex(t *testing.T) {
	tests := []struct {
		name string
		json string
		want map[string]string
		size int64
	}{
		{"usual", `{"metadata":{"total_size":1000},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}` + "\n",
			map[string]string{"a": "m-1.safetensors", "b": "m-2.safetensors"}, 1000},
		{"no metadata, unknown fields", `{"x":[{}],"weight_map":{}}`, map[string]string{}, 0},
		{"metadata is null", `{"weight_map":{},"metadata":null}`, map[string]string{}, 0},
		{"size as a float", `{"metadata":{"total_parameters":1,"total_size":1.5e9},"weight_map":{}}`, map[string]string{}, 1_500_000_000},
		{"size as a fraction", `{"metadata":{"total_size":1.5},"weight_map":{}}`, map[string]string{}, 0},
		{"size as a string", `{"metadata":{"total_size":"1"},"weight_map":{}}`, map[string]string{}, 0},
		{"negative size", `{"metadata":{"total_size":-1},"weight_map":{}}`, map[string]string{}, 0},
		{"huge size", `{"metadata":{"total_size":1e300},"weight_map":{}}`, map[string]string{}, 0},
		{"paths inside", `{"weight_map":{"a":"./m","b":"s/m","c":"..m","d":"a b\u00e9"}}`,
			map[string]string{"a": "m", "b": "s/m", "c": "..m", "d": "a bé"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x, err := ParseIndex("m.json", []byte(tt.json))
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(x.WeightMap, tt.want) || x.TotalSize != tt.size || x.Name != "m.json" {
				t.Errorf("index %+v, want %v and %d bytes", x, tt.want, tt.size)
			}
		})
	}
}

func TestParseIndexRefuses(t *testing.T) {
	tests := []struct {
		name string
		json string
		want error
		says string
	}{
		{"empty", "", ErrInvalidIndex, "end of JSON"},
		{"not UTF-8", "{\"\xff\":1}", ErrInvalidIndex, "byte 2"},
		{"no weight_map", `{"metadata":{}}`, ErrInvalidIndex, "no weight_map"},
		{"weight_map is null", `{"weight_map":null}`, ErrInvalidIndex, "instead of '{'"},
		{"file is a number", `{"weight_map":{"a":1}}`, ErrInvalidIndex, "instead of a string"},
		{"trailing data", `{"weight_map":{}}}`, ErrInvalidIndex, "instead of end of JSON"},
		{"two weight_maps", `{"weight_map":{},"weight_map":{}}`, ErrDuplicateKey, "two weight_map"},
		{"tensor twice", `{"weight_map":{"a":"m","a":"m"}}`, ErrDuplicateKey, `tensor "a"`},
		{"absolute", `{"weight_map":{"a":"/m"}}`, ErrInvalidIndex, `"/m" is not a file inside`},
		{"parent", `{"weight_map":{"a":"../m"}}`, ErrInvalidIndex, `"../m"`},
		{"parent within", `{"weight_map":{"a":"s/../m"}}`, ErrInvalidIndex, `"s/../m"`},
		{"parent at the end", `{"weight_map":{"a":"s/.."}}`, ErrInvalidIndex, `"s/.."`},
		{"the folder", `{"weight_map":{"a":"."}}`, ErrInvalidIndex, `"."`},
		{"a folder", `{"weight_map":{"a":"s/"}}`, ErrInvalidIndex, `"s/"`},
		{"no name", `{"weight_map":{"a":""}}`, ErrInvalidIndex, `""`},
		{"NUL", `{"weight_map":{"a":"m\u0000"}}`, ErrInvalidIndex, `"m\x00"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseIndex("m.json", []byte(tt.json))
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "m.json") {
				t.Errorf("error %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
}

// FuzzParseIndex: nothing panics, and no file leaves the folder.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":1.5e9},"weight_map":{"a":"./m","b":"s/m"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../m","\u0061":"/m"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := ParseIndex("m.json", data)
		if err != nil {
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		for _, file := range x.Files() {
			if file == "" || file[0] == '/' || slices.Contains(strings.Split(file, "/"), "..") {
				t.Fatalf("file %q", file)
			}
		}
		if x.TotalSize < 0 {
			t.Fatalf("total size %d", x.TotalSize)
		}
	})
}
