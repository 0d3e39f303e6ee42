package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// file lays out a file: the header's length, the header, and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

// read parses a whole file held in memory.
func read(b []byte) (*Header, error) {
	return Read("m.safetensors", bytes.NewReader(b), int64(len(b)))
}

func TestReadAccepts(t *testing.T) {
	long := strings.Repeat("n", 64<<10)
	tests := []struct {
		name   string
		header string
		data   int
		want   []Tensor
		meta   map[string]string
	}{
		{name: "no tensors", header: `{}`},
		{name: "white space", header: " \t\r\n{ \"a\" : { \"dtype\" : \"I8\" , \"shape\" : [ 2 ] ,\n\"data_offsets\" : [ 0 , 2 ] } }\n   ", data: 2,
			want: []Tensor{{"a", I8, []uint64{2}, 0, 2}}},
		{name: "scalar", header: `{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, data: 4,
			want: []Tensor{{"a", F32, []uint64{}, 0, 4}}},
		{name: "fields in any order, unknown fields",
			header: `{"a":{"x":{"y":[1,-2.5e3,null,true,false,"s",{}]},"data_offsets":[0,1],"shape":[1],"z":[],"dtype":"BOOL"}}`, data: 1,
			want: []Tensor{{"a", Bool, []uint64{1}, 0, 1}}},
		{name: "sorted by offset",
			header: `{"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, data: 3,
			want: []Tensor{{"a", U8, []uint64{2}, 0, 2}, {"b", U8, []uint64{1}, 2, 3}}},
		{name: "zero size anywhere",
			header: `{"z2":{"dtype":"F64","shape":[0],"data_offsets":[3,3]},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},` +
				`"z1":{"dtype":"F64","shape":[4,0],"data_offsets":[3,3]},"z0":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}`, data: 3,
			want: []Tensor{{"z0", F64, []uint64{0}, 0, 0}, {"a", U8, []uint64{3}, 0, 3},
				{"z2", F64, []uint64{0}, 3, 3}, {"z1", F64, []uint64{4, 0}, 3, 3}}},
		{name: "huge dimension beside 0", header: `{"a":{"dtype":"U8","shape":[9223372036854775808,0],"data_offsets":[0,0]}}`,
			want: []Tensor{{"a", U8, []uint64{1 << 63, 0}, 0, 0}}},
		{name: "0 before what would overflow",
			header: `{"a":{"dtype":"U64","shape":[0,18446744073709551615,18446744073709551615],"data_offsets":[0,0]}}`,
			want:   []Tensor{{"a", U64, []uint64{0, math.MaxUint64, math.MaxUint64}, 0, 0}}},
		{name: "sub-byte", header: `{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},"b":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[1,4]}}`, data: 4,
			want: []Tensor{{"a", F4, []uint64{2}, 0, 1}, {"b", F6E2M3, []uint64{4}, 1, 4}}},
		{name: "metadata", header: `{"__metadata__":{"format":"pt","":"\u00e9\ud83d\ude00\n"}}`,
			meta: map[string]string{"format": "pt", "": "é😀\n"}},
		{name: "empty metadata", header: `{"__metadata__":{}}`, meta: map[string]string{}},
		{name: "null metadata", header: `{"__metadata__":null}`},
		{name: "names", data: 6, header: `{"a/b c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},` +
			`"\"\\\/\b\f\n\r\t\u0000":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},` +
			`"名\u00E9\uD83D\uDE00":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},` +
			`"":{"dtype":"U8","shape":[1],"data_offsets":[3,4]},` +
			`"__metadata":{"dtype":"U8","shape":[1],"data_offsets":[4,5]},` +
			`"` + long + `":{"dt\u0079pe":"U\u0038","shape":[1],"data_offsets":[5,6]}}`,
			want: []Tensor{{"a/b c", U8, []uint64{1}, 0, 1}, {"\"\\/\b\f\n\r\t\x00", U8, []uint64{1}, 1, 2},
				{"名é😀", U8, []uint64{1}, 2, 3}, {"", U8, []uint64{1}, 3, 4},
				{"__metadata", U8, []uint64{1}, 4, 5}, {long, U8, []uint64{1}, 5, 6}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := read(file(tt.header, tt.data))
			if err != nil {
				t.Fatal(err)
			}
			if len(h.Tensors)+len(tt.want) > 0 && !reflect.DeepEqual(h.Tensors, tt.want) {
				t.Errorf("tensors %+v, want %+v", h.Tensors, tt.want)
			}
			if !reflect.DeepEqual(h.Metadata, tt.meta) {
				t.Errorf("metadata %q, want %q", h.Metadata, tt.meta)
			}
			checkInvariants(t, h, int64(PrefixBytes+len(tt.header)+tt.data))
		})
	}
}

// checkInvariants holds what a header promises once it was accepted.
func checkInvariants(t *testing.T, h *Header, size int64) {
	t.Helper()
	var end int64
	for _, x := range h.Tensors {
		if x.Begin != end || x.End < x.Begin {
			t.Fatalf("tensor %q has [%d,%d) after %d", x.Name, x.Begin, x.End, end)
		}
		end = x.End
		if bits, ok := bitsOf(x.DType, x.Shape); !ok || bits != uint64(x.Size())*8 {
			t.Fatalf("tensor %q has %d bytes, where its shape has %d bits (%t)", x.Name, x.Size(), bits, ok)
		}
		if got, ok := h.Lookup(x.Name); !ok || !reflect.DeepEqual(got, x) {
			t.Fatalf("lookup of %q: %+v, %t", x.Name, got, ok)
		}
	}
	if len(h.byName) != len(h.Tensors) {
		t.Fatalf("%d names for %d tensors", len(h.byName), len(h.Tensors))
	}
	if h.DataSize() != end || h.DataStart+end != size {
		t.Fatalf("data [%d,+%d) in a file of %d bytes, tensors end at %d", h.DataStart, h.DataSize(), size, end)
	}
}

func TestReadRefuses(t *testing.T) {
	entry := func(dtype, shape, offsets string) string {
		return `"a":{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + offsets + `}`
	}
	one := func(dtype, shape, offsets string) string { return "{" + entry(dtype, shape, offsets) + "}" }
	const b = `,"b":{"dtype":"U8","shape":[2],"data_offsets":`
	tests := []struct {
		name   string
		header string
		data   int
		want   error
		tensor string
		says   string // in the message
	}{
		{"not UTF-8", "{\"\xff\":1}", 0, ErrInvalidHeader, "", "byte 2"},
		{"surrogate in UTF-8", "{\"\xed\xa0\x80\":1}", 0, ErrInvalidHeader, "", "byte 2"},
		{"empty", "", 0, ErrInvalidHeaderDeserialization, "", "end of JSON instead of '{'"},
		{"NUL padding", "{}\x00", 0, ErrInvalidHeaderDeserialization, "", `'\x00' instead of end of JSON at byte 2`},
		{"byte order mark", "\ufeff{}", 0, ErrInvalidHeaderDeserialization, "", ""},
		{"array", "[]", 0, ErrInvalidHeaderDeserialization, "", "'[' instead of '{'"},
		{"two values", "{}{}", 0, ErrInvalidHeaderDeserialization, "", ""},
		{"unfinished", `{"a":`, 0, ErrInvalidHeaderDeserialization, "a", "end of JSON"},
		{"unfinished string", `{"a`, 0, ErrInvalidHeaderDeserialization, "", "end of JSON in a string"},
		{"unfinished escaped string", `{"\na`, 0, ErrInvalidHeaderDeserialization, "", "end of JSON in a string"},
		{"unfinished escape", `{"\`, 0, ErrInvalidHeaderDeserialization, "", "invalid escape"},
		{"trailing comma", `{"__metadata__":{},}`, 0, ErrInvalidHeaderDeserialization, "", "instead of a string"},
		{"missing comma", `{"__metadata__":{} "a":{}}`, 0, ErrInvalidHeaderDeserialization, "", "instead of ',' or '}'"},
		{"missing colon", `{"a" {}}`, 0, ErrInvalidHeaderDeserialization, "", "instead of ':'"},
		{"control character", "{\"\n\":1}", 0, ErrInvalidHeaderDeserialization, "", "control character"},
		{"control character after an escape", "{\"\\n\n\":1}", 0, ErrInvalidHeaderDeserialization, "", "control character"},
		{"unknown escape", `{"\x41":1}`, 0, ErrInvalidHeaderDeserialization, "", "invalid escape"},
		{"hexadecimal escape", `{"\u00g0":1}`, 0, ErrInvalidHeaderDeserialization, "", "invalid escape"},
		{"high surrogate alone", `{"\ud83d":1}`, 0, ErrInvalidHeaderDeserialization, "", "lone surrogate"},
		{"low surrogate first", `{"\ude00\ud83d":1}`, 0, ErrInvalidHeaderDeserialization, "", "lone surrogate"},
		{"two high surrogates", `{"\ud83d\ud83d":1}`, 0, ErrInvalidHeaderDeserialization, "", "lone surrogate"},
		{"entry is null", `{"a":null}`, 0, ErrInvalidHeaderDeserialization, "a", "instead of '{'"},
		{"no dtype", `{"a":{"shape":[],"data_offsets":[0,0]}}`, 0, ErrInvalidHeaderDeserialization, "a", "no dtype"},
		{"no shape", `{"a":{"dtype":"U8","data_offsets":[0,0]}}`, 0, ErrInvalidHeaderDeserialization, "a", "no shape"},
		{"no offsets", `{"a":{"dtype":"U8","shape":[]}}`, 0, ErrInvalidHeaderDeserialization, "a", "no data_offsets"},
		{"field twice", `{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, ErrInvalidHeaderDeserialization, "a", "second dtype"},
		{"unknown dtype", one("F33", "[1]", "[0,4]"), 4, ErrInvalidHeaderDeserialization, "a", `unknown dtype "F33"`},
		{"dtype in lower case", one("f32", "[1]", "[0,4]"), 4, ErrInvalidHeaderDeserialization, "a", "unknown dtype"},
		{"empty dtype", one("", "[1]", "[0,4]"), 4, ErrInvalidHeaderDeserialization, "a", "unknown dtype"},
		{"dtype is a number", `{"a":{"dtype":1,"shape":[],"data_offsets":[0,0]}}`, 0, ErrInvalidHeaderDeserialization, "a", "instead of a string"},
		{"negative dimension", one("U8", "[-1]", "[0,1]"), 1, ErrInvalidHeaderDeserialization, "a", "'-' instead of a number"},
		{"fraction", one("U8", "[1.0]", "[0,1]"), 1, ErrInvalidHeaderDeserialization, "a", "not an integer"},
		{"exponent", one("U8", "[1e0]", "[0,1]"), 1, ErrInvalidHeaderDeserialization, "a", "not an integer"},
		{"leading zero", one("U8", "[01]", "[0,1]"), 1, ErrInvalidHeaderDeserialization, "a", "leading zero"},
		{"beyond 64 bits", one("U8", "[18446744073709551616]", "[0,1]"), 1, ErrInvalidHeaderDeserialization, "a", "beyond 64 bits"},
		{"far beyond 64 bits", one("U8", "[99999999999999999999999]", "[0,1]"), 1, ErrInvalidHeaderDeserialization, "a", "beyond 64 bits"},
		{"shape is a number", one("U8", "1", "[0,1]"), 1, ErrInvalidHeaderDeserialization, "a", "instead of '['"},
		{"shape is a string", one("U8", `"1"`, "[0,1]"), 1, ErrInvalidHeaderDeserialization, "a", "instead of '['"},
		{"one offset", one("U8", "[0]", "[0]"), 0, ErrInvalidHeaderDeserialization, "a", "fewer than 2"},
		{"three offsets", one("U8", "[0]", "[0,0,0]"), 0, ErrInvalidHeaderDeserialization, "a", "more than 2"},
		{"negative offset", one("U8", "[1]", "[-1,0]"), 1, ErrInvalidHeaderDeserialization, "a", "instead of a number"},
		{"number in metadata", `{"__metadata__":{"a":1}}`, 0, ErrInvalidHeaderDeserialization, "", "instead of a string"},
		{"metadata is a string", `{"__metadata__":"a"}`, 0, ErrInvalidHeaderDeserialization, "", "instead of '{'"},
		{"unknown field too deep", `{"a":{"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`, 0, ErrInvalidHeaderDeserialization, "a", "too deep"},
		{"unknown field malformed", `{"a":{"x":-}}`, 0, ErrInvalidHeaderDeserialization, "a", "malformed number"},
		{"unknown field out of range", `{"a":{"x":1e999}}`, 0, ErrInvalidHeaderDeserialization, "a", "out of range"},
		{"unknown field not a value", `{"a":{"x":nul}}`, 0, ErrInvalidHeaderDeserialization, "a", "instead of null"},
		{"duplicate tensor", "{" + entry("U8", "[1]", "[0,1]") + "," + entry("U8", "[1]", "[1,2]") + "}", 2, ErrDuplicateKey, "a", "two entries"},
		{"duplicate tensor, escaped", "{" + entry("U8", "[1]", "[0,1]") + `,"\u0061":{}}`, 2, ErrDuplicateKey, "a", "two entries"},
		{"duplicate metadata", `{"__metadata__":{},"__metadata__":{}}`, 0, ErrDuplicateKey, "", "two __metadata__"},
		{"duplicate metadata key", `{"__metadata__":{"k":"1","k":"2"}}`, 0, ErrDuplicateKey, "", `two "k" in __metadata__`},
		{"first not at 0", one("U8", "[1]", "[1,2]"), 2, ErrInvalidOffset, "a", "begins at 1, where the tensors before it end at 0"},
		{"hole", "{" + entry("U8", "[2]", "[0,2]") + b + "[3,5]}}", 5, ErrInvalidOffset, "b", "begins at 3"},
		{"overlap", "{" + entry("U8", "[2]", "[0,2]") + b + "[1,3]}}", 3, ErrInvalidOffset, "b", "begins at 1"},
		{"swapped offsets", one("U8", "[0]", "[0,0]")[:1] + entry("U8", "[2]", "[0,2]") + b + "[2,0]}}", 2, ErrInvalidOffset, "b", "begins at 2 and ends at 0"},
		{"offsets near 2^64", one("U8", "[1]", "[18446744073709551614,18446744073709551615]"), 1, ErrInvalidOffset, "a", "18446744073709551614"},
		{"end near 2^64", one("U8", "[1]", "[0,18446744073709551615]"), 1, ErrTensorInvalidInfo, "a", "18446744073709551615"},
		{"product overflows", one("U8", "[4294967296,4294967296]", "[0,0]"), 0, ErrValidationOverflow, "a", "4294967296 4294967296"},
		{"product overflows before 0", one("U8", "[4294967296,4294967296,0]", "[0,0]"), 0, ErrValidationOverflow, "a", ""},
		{"bits overflow", one("U8", "[9223372036854775808]", "[0,9223372036854775808]"), 0, ErrValidationOverflow, "a", ""},
		{"half a byte", one("F4", "[1]", "[0,1]"), 1, ErrMisalignedSlice, "a", "4 bits"},
		{"three quarters of a byte", one("F6_E3M2", "[3]", "[0,2]"), 2, ErrMisalignedSlice, "a", "18 bits"},
		{"more than the shape", one("F32", "[2]", "[0,12]"), 12, ErrTensorInvalidInfo, "a", "takes 8 bytes, where [0,12) has 12"},
		{"less than the shape", one("F32", "[2]", "[0,4]"), 4, ErrTensorInvalidInfo, "a", ""},
		{"truncated", one("F32", "[2]", "[0,8]"), 7, ErrMetadataIncompleteBuffer, "a", "8 bytes, the file has 7"},
		{"trailing byte", one("F32", "[2]", "[0,8]"), 9, ErrMetadataIncompleteBuffer, "", "8 bytes, the file has 9"},
		{"data without tensors", `{}`, 1, ErrMetadataIncompleteBuffer, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := read(file(tt.header, tt.data))
			checkRefusal(t, err, tt.want, tt.tensor, tt.says)
		})
	}
}

// checkRefusal checks a FormatError: its kind, tensor, and a part of the text.
func checkRefusal(t *testing.T, err, want error, tensor, says string) {
	t.Helper()
	format, ok := errors.AsType[*FormatError](err)
	if !ok || !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	if format.File != "m.safetensors" || format.Tensor != tensor {
		t.Errorf("error names file %q and tensor %q, want %q", format.File, format.Tensor, tensor)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("error %q does not say %q", err, says)
	}
}

func TestReadRefusesPrefix(t *testing.T) {
	prefix := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	tests := []struct {
		name string
		file []byte
		want error
		says string
	}{
		{"empty file", nil, ErrHeaderTooSmall, "0 bytes"},
		{"7 bytes", make([]byte, 7), ErrHeaderTooSmall, "7 bytes"},
		{"no header", prefix(0), ErrInvalidHeaderDeserialization, "end of JSON"},
		{"too large", prefix(MaxHeaderBytes + 1), ErrHeaderTooLarge, "100000001 bytes"},
		{"largest number", prefix(math.MaxUint64), ErrHeaderTooLarge, "18446744073709551615 bytes"},
		{"largest header, short file", prefix(MaxHeaderBytes), ErrInvalidHeaderLength, "100000000 bytes"},
		{"header cut", append(prefix(3), "{}"...), ErrInvalidHeaderLength, "file has 10"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := read(tt.file)
			checkRefusal(t, err, tt.want, "", tt.says)
		})
	}
}

func TestReadReportsTheReader(t *testing.T) {
	whole := file(`{}`, 0)
	size := int64(len(whole))
	if _, err := Read("m", bytes.NewReader(whole[:9]), size); !errors.Is(err, io.ErrUnexpectedEOF) ||
		!strings.Contains(err.Error(), `"m" [8,10)`) {
		t.Errorf("a file shorter than its size: %v", err)
	}
	failing := readerAt{iotest.ErrReader(iotest.ErrTimeout)}
	if _, err := Read("m", failing, size); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a failing reader: %v", err)
	}
}

// readerAt reads on from wherever r is.
type readerAt struct{ r io.Reader }

func (r readerAt) ReadAt(p []byte, _ int64) (int, error) { return r.r.Read(p) }

func TestErrorCutsLongNames(t *testing.T) {
	err := &FormatError{File: "m", Tensor: strings.Repeat("\x00", 64<<10), Kind: ErrInvalidOffset}
	if s := err.Error(); len(s) > 2000 || !strings.Contains(s, "65536 bytes") {
		t.Errorf("%d bytes of message: %.100s", len(s), s)
	}
	many := strings.Repeat("1,", 1000) + "3"
	_, long := read(file(`{"a":{"dtype":"U8","shape":[`+many+`],"data_offsets":[0,1]}}`, 1))
	if !errors.Is(long, ErrTensorInvalidInfo) || len(long.Error()) > 500 || !strings.Contains(long.Error(), "1001 dimensions") {
		t.Errorf("error of a tensor of many dimensions: %.1000v", long)
	}
}

// TestParseMemoryIsBounded holds the promise of a small multiple against
// headers made to break it.
func TestParseMemoryIsBounded(t *testing.T) {
	const size, multiple = 1 << 20, 8
	fill := func(before, unit, after string) []byte {
		return []byte(before + strings.Repeat(unit, (size-len(before)-len(after))/len(unit)) + after)
	}
	tensors, data := checkpoint(size/140, nil)
	tests := []struct {
		name   string
		header []byte
		data   int64
	}{
		{"tensors", tensors, data},
		{"one shape", fill(`{"a":{"dtype":"U8","shape":[`, "0,", `0],"data_offsets":[0,0]}}`), 0},
		{"open objects", fill("", "{", ""), 0},
		{"nested arrays", fill(`{"a":{"x":`, "[", ""), 0},
		{"commas", fill(`{"a":{"dtype":"U8","shape":[0`, ",", ""), 0},
		{"escapes", fill(`{"`, `\u0001`, `":{}}`), 0},
		{"braces in a name", fill(`{"`, `{`, `":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _ = Parse("m", tt.header, PrefixBytes+int64(len(tt.header))+tt.data)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > multiple*uint64(len(tt.header)) {
				t.Errorf("%d bytes allocated for a header of %d", got, len(tt.header))
			}
		})
	}
}
