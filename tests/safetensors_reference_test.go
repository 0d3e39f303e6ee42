package tests

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weightfs/gpuload/safetensors"
)

// TestSafetensorsReference holds our parser against the reference
// implementation, as Python's safetensors package has it: valid files, one of
// each fault, and thousands of files with one or two random changes. Both must
// accept and refuse the same ones, for the same reason, and find the same
// tensors. The one difference is that we refuse duplicate keys.
func TestSafetensorsReference(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var files []referenceFile
	for _, prefix := range []uint64{0, 3, 100_000_000, 100_000_001, 1 << 63, math.MaxUint64} {
		content := append(binary.LittleEndian.AppendUint64(nil, prefix), "{}"...)
		files = append(files, referenceFile{content: content}, referenceFile{content: content[:8]},
			referenceFile{content: content[:7]}, referenceFile{})
	}
	for _, header := range oddHeaders() {
		for _, data := range []int{0, 1, 4} {
			files = append(files, referenceFile{content: layOut([]byte(header), data)})
		}
	}
	for i := range 4000 {
		files = append(files, randomFile(rng, i%3))
	}
	kinds := make(map[error]int)
	for i, want := range askReference(t, files) {
		kinds[compareWithReference(t, files[i], want)]++
	}
	if n := kinds[nil]; n < len(files)/4 || n > len(files)*3/4 {
		t.Errorf("%d of %d files are valid: the test is lopsided", n, len(files))
	}
	for _, kind := range append(slices.Collect(maps.Values(referenceKinds())), safetensors.ErrDuplicateKey) {
		if kinds[kind] == 0 {
			t.Errorf("no file is refused for %v", kind)
		}
	}
}

// referenceFile is a file for both parsers.
type referenceFile struct {
	content []byte
	// faults is how many random changes it has. With several, which is
	// reported first is nobody's promise.
	faults int
}

// referenceAnswer is what the script says of a file.
type referenceAnswer struct {
	Error    string            `json:"error"`
	Tensors  [][4]any          `json:"tensors"` // name, dtype, shape, hexadecimal data
	Metadata map[string]string `json:"metadata"`
	// Duplicate says whether there is a duplicate key, nil where Python, which
	// stops at the first fault, cannot tell.
	Duplicate *bool `json:"duplicate"`
}

// askReference runs the reference over all files.
func askReference(t *testing.T, files []referenceFile) []referenceAnswer {
	t.Helper()
	var in bytes.Buffer
	for _, file := range files {
		in.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(file.content))))
		in.Write(file.content)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join("..", ".venv", "bin", "python"),
		filepath.Join("python", "read_safetensors.py"))
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v (make .venv makes what it needs): %s", err, &stderr)
	}
	var answers []referenceAnswer
	lines := bufio.NewReader(bytes.NewReader(out))
	for decoder := json.NewDecoder(lines); decoder.More(); {
		decoder.UseNumber()
		var answer referenceAnswer
		if err := decoder.Decode(&answer); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
	}
	if len(answers) != len(files) {
		t.Fatalf("%d answers for %d files", len(answers), len(files))
	}
	return answers
}

// compareWithReference returns the sentinel for which we refuse the file, or nil.
func compareWithReference(t *testing.T, file referenceFile, want referenceAnswer) error {
	t.Helper()
	h, err := safetensors.Read("m", bytes.NewReader(file.content), int64(len(file.content)))
	duplicate := errors.Is(err, safetensors.ErrDuplicateKey)
	switch known := want.Duplicate != nil; {
	case known && *want.Duplicate && err == nil, duplicate && known && !*want.Duplicate, duplicate && !known && want.Error == "":
		t.Errorf("%q:\nwe say %v of a duplicate key, the reference %q", file.content, err, want.Error)
	case duplicate:
	case (err == nil) != (want.Error == ""):
		t.Errorf("%q:\nwe say %v, the reference %q", file.content, err, want.Error)
	case err != nil && file.faults < 2 && !errors.Is(err, referenceKind(want.Error)):
		t.Errorf("%q:\nwe say %v, the reference %q", file.content, err, want.Error)
	case err == nil:
		compareTensors(t, file, h, want)
		return nil
	}
	return errors.Unwrap(err)
}

// referenceKind is our sentinel for a message of the reference.
func referenceKind(message string) error {
	for part, kind := range referenceKinds() {
		if strings.Contains(message, part) {
			return kind
		}
	}
	return fmt.Errorf("the reference says something new: %s", message)
}

// referenceKinds are our sentinels by a part of the reference's message.
func referenceKinds() map[string]error {
	return map[string]error{
		"header too small":                   safetensors.ErrHeaderTooSmall,
		"header too large":                   safetensors.ErrHeaderTooLarge,
		"invalid header length":              safetensors.ErrInvalidHeaderLength,
		"invalid UTF-8 in header":            safetensors.ErrInvalidHeader,
		"invalid JSON in header":             safetensors.ErrInvalidHeaderDeserialization,
		"invalid offset for tensor":          safetensors.ErrInvalidOffset,
		"overflow computing buffer size":     safetensors.ErrValidationOverflow,
		"does not end up at a byte boundary": safetensors.ErrMisalignedSlice,
		"invalid shape, data type, or":       safetensors.ErrTensorInvalidInfo,
		"incomplete metadata":                safetensors.ErrMetadataIncompleteBuffer,
	}
}

// compareTensors compares names, dtypes, shapes, bytes and metadata.
func compareTensors(t *testing.T, file referenceFile, h *safetensors.Header, want referenceAnswer) {
	t.Helper()
	var got, expected []string
	for _, x := range h.Tensors {
		data := file.content[h.Offset(x):][:x.Size()]
		got = append(got, fmt.Sprintf("%q %s %v %s", x.Name, x.DType, x.Shape, hex.EncodeToString(data)))
	}
	for _, x := range want.Tensors {
		expected = append(expected, fmt.Sprintf("%q %s %v %s", x[0], x[1], x[2], x[3]))
	}
	slices.Sort(got)
	slices.Sort(expected)
	if !slices.Equal(got, expected) {
		t.Errorf("%q:\nwe find %q, the reference %q", file.content, got, expected)
	}
	if !maps.Equal(h.Metadata, want.Metadata) {
		t.Errorf("%q:\nwe find metadata %q, the reference %q", file.content, h.Metadata, want.Metadata)
	}
}

// layOut makes a file of a header and n bytes of data.
func layOut(header []byte, n int) []byte {
	content := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	content = append(content, header...)
	for i := range n {
		content = append(content, byte(i+1))
	}
	return content
}

// randomFile is a valid file of a few tensors, and then changed so many times.
func randomFile(rng *rand.Rand, faults int) referenceFile {
	entries, data := randomEntries(rng)
	header := []byte("{" + strings.Join(entries, ",") + "}")
	header = append(header, strings.Repeat(" ", rng.IntN(8))...)
	cut := 0
	for range faults {
		switch rng.IntN(4) {
		case 0:
			cut = rng.IntN(3) - 1
		case 1: // of the alphabet of headers
			header[rng.IntN(len(header))] = `{}[]",:0123456789.-eE\u ntF`[rng.IntN(27)]
		case 2:
			i := rng.IntN(len(header))
			header = slices.Delete(header, i, i+1)
		case 3:
			header[rng.IntN(len(header))] = byte(rng.IntN(256))
		}
	}
	return referenceFile{layOut(header, max(data+cut, 0)), faults}
}

// randomEntries returns the members of a valid header, shuffled, and the bytes
// of data that they describe.
func randomEntries(rng *rand.Rand) (entries []string, data int) {
	names := []string{"a", "b/c d", `q\"\\\/`, `\u0000\n`, `\ud83d\ude00`, "名", "", "__metadata", "weight"}
	for _, name := range names[:rng.IntN(len(names)+1)] {
		dtype := safetensors.DType(1 + rng.IntN(int(safetensors.U64)))
		shape := make([]int, rng.IntN(4))
		bits := dtype.Bits()
		for i := range shape {
			shape[i] = rng.IntN(4)
			bits *= shape[i]
		}
		if bits%8 != 0 {
			shape, bits = append(shape, 4), bits*4
		}
		dims := strings.ReplaceAll(fmt.Sprint(shape), " ", ",")
		entries = append(entries, fmt.Sprintf(`"%s":{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			name, dtype, dims, data, data+bits/8))
		data += bits / 8
	}
	if rng.IntN(2) == 0 {
		entries = append(entries, `"__metadata__":{"format":"pt","\u00e9":""}`)
	}
	rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	return entries, data
}

// oddHeaders are headers whose treatment is a detail of the reference.
func oddHeaders() []string {
	entry := func(dtype, shape, offsets string) string {
		return `{"a":{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + offsets + `}}`
	}
	unknown := func(value string) string {
		return `{"a":{"dtype":"U8","x":` + value + `,"shape":[1],"data_offsets":[0,1]}}`
	}
	headers := []string{
		``, ` `, `{}`, ` {} `, "{}\x00", "\ufeff{}", `[]`, `null`, `{}{}`, "{\"\xff\":1}", `{"a":null}`, `{"a":{}}`,
		`{"__metadata__":{}}`, `{"__metadata__":null}`, `{"__metadata__":[]}`, `{"__metadata__":{"a":1}}`,
		`{"__metadata__":{"a":null}}`, `{"__metadata__":{},"__metadata__":{}}`, `{"__meta\u0064ata__":{"a":"b"}}`,
		entry("U8", "[1]", "[0,1]"), entry("U8", "[]", "[0,1]"), entry("F32", "[1]", "[0,4]"), entry("u8", "[1]", "[0,1]"),
		entry("U8", "[-0]", "[0,0]"), entry("U8", "[0.0]", "[0,0]"), entry("U8", "[0e0]", "[0,0]"), entry("U8", "[00]", "[0,0]"),
		entry("U8", "[18446744073709551615,0]", "[0,0]"), entry("U8", "[18446744073709551616,0]", "[0,0]"),
		entry("U8", "[0,18446744073709551615,18446744073709551615]", "[0,0]"), entry("U8", "[9223372036854775808,0]", "[0,0]"),
		entry("U8", "[4294967296,4294967296,0]", "[0,0]"), entry("U8", "[2305843009213693952]", "[0,2305843009213693952]"),
		entry("U8", "[1]", "[18446744073709551615,18446744073709551615]"), entry("U8", "[1]", "[0,18446744073709551615]"),
		entry("U8", "[1]", "[1,0]"), entry("U8", "[1]", "[1,1]"), entry("U8", "[1]", "[0]"), entry("U8", "[1]", "[0,1,1]"),
		entry("F4", "[1]", "[0,0]"), entry("F4", "[2]", "[0,1]"), entry("F6_E3M2", "[2]", "[0,1]"), entry("F64", "null", "[0,0]"),
		`{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`,
		`{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, `{"\udc00\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`,
		`{"` + strings.Repeat("n", 64<<10) + `":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`,
	}
	for _, value := range []string{`1e999`, `-1e-999`, `1.`, `.5`, `-`, `+1`, `01`, `1e`, `1e+5`, `99999999999999999999999`,
		`nul`, `true`, `"\ud800"`, `"\x"`, `[,]`, `{"a":1,}`, `{"a":1,"a":2}`, `NaN`, "\"\t\""} {
		headers = append(headers, unknown(value))
	}
	for _, depth := range []int{124, 125, 126, 127, 128} {
		headers = append(headers, unknown(strings.Repeat("[", depth)+strings.Repeat("]", depth)))
	}
	return headers
}
