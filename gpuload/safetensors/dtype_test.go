package safetensors

import "testing"

func TestDTypes(t *testing.T) {
	widths := map[int][]string{
		4:  {"F4"},
		6:  {"F6_E2M3", "F6_E3M2"},
		8:  {"BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"},
		16: {"I16", "U16", "F16", "BF16"},
		32: {"I32", "U32", "F32"},
		64: {"C64", "F64", "I64", "U64"},
	}
	count := 0
	for bits, names := range widths {
		for _, name := range names {
			d, ok := ParseDType(name)
			if !ok || d.Bits() != bits || d.String() != name {
				t.Errorf("%s: %t, %d bits, called %s; want %d bits", name, ok, d.Bits(), d, bits)
			}
			if want := int64(max(bits/8, 1)); d.Alignment() != want {
				t.Errorf("%s: alignment %d, want %d", name, d.Alignment(), want)
			}
			count++
		}
	}
	if count != int(U64) {
		t.Errorf("%d dtypes tested, the package has %d", count, U64)
	}
	for _, d := range []DType{0, U64 + 1} {
		if d.Bits() != 0 || d.Alignment() != 1 {
			t.Errorf("%s is no dtype and has %d bits, alignment %d", d, d.Bits(), d.Alignment())
		}
	}
}
