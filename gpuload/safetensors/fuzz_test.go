package safetensors

import (
	"encoding/json"
	"errors"
	"testing"
)

// FuzzParse feeds headers of files with some bytes of data: nothing panics,
// refusals are FormatErrors that print, and what is accepted keeps its promises
// and is what encoding/json reads too. More seeds lie in testdata.
func FuzzParse(f *testing.F) {
	f.Add([]byte(``), uint16(0))
	f.Add([]byte(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  `), uint16(8))
	f.Add([]byte(`{"b":{"dtype":"F4","shape":[2],"data_offsets":[4,5]},`+
		`"\ud83d\ude00":{"dtype":"U64","shape":[0],"data_offsets":[4,4],"x":[-1.5e3,{"y":null}]},`+
		`"a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}`), uint16(5))
	f.Add([]byte(`{"a":{"dtype":"U8","shape":[18446744073709551615,0],`+
		`"data_offsets":[18446744073709551614,18446744073709551615]}}`), uint16(0))
	f.Fuzz(func(t *testing.T, header []byte, data uint16) {
		size := int64(PrefixBytes + len(header) + int(data))
		h, err := Parse("m", header, size)
		if err != nil {
			if format, ok := errors.AsType[*FormatError](err); !ok || format.Kind == nil || err.Error() == "" {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		checkInvariants(t, h, size)
		checkAgainstJSON(t, h, header)
	})
}

// checkAgainstJSON reads an accepted header with encoding/json.
func checkAgainstJSON(t *testing.T, h *Header, header []byte) {
	t.Helper()
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(header, &entries); err != nil {
		t.Fatalf("encoding/json refuses what was accepted: %v", err)
	}
	delete(entries, metadataKey)
	if len(entries) != len(h.Tensors) {
		t.Fatalf("%d tensors, encoding/json finds %d", len(h.Tensors), len(entries))
	}
	for name, raw := range entries {
		// A map and not a struct, whose fields would match in any case.
		var fields map[string]json.RawMessage
		var shape []uint64
		if err := errors.Join(json.Unmarshal(raw, &fields), json.Unmarshal(fields["shape"], &shape)); err != nil {
			t.Fatalf("encoding/json refuses the entry %q: %v", name, err)
		}
		x, ok := h.Lookup(name)
		if !ok || len(shape) != len(x.Shape) {
			t.Fatalf("tensor %q: found %t, shape %v; encoding/json finds %v", name, ok, x.Shape, shape)
		}
		for i := range shape {
			if shape[i] != x.Shape[i] {
				t.Fatalf("tensor %q has shape %v, encoding/json finds %v", name, x.Shape, shape)
			}
		}
	}
}
