package safetensors

import "fmt"

// DType is the type of a tensor's elements. The zero value is not a dtype.
type DType uint8

// The dtypes of the format, by the width of an element: Bits relies on that order.
const (
	F4 DType = iota + 1
	F6E2M3
	F6E3M2
	Bool
	U8
	I8
	F8E5M2
	F8E4M3
	F8E8M0
	F8E4M3FNUZ
	F8E5M2FNUZ
	I16
	U16
	F16
	BF16
	I32
	U32
	F32
	C64
	F64
	I64
	U64
)

// dtypeNames is what headers call the dtypes.
func dtypeNames() [U64 + 1]string {
	return [...]string{
		F4: "F4", F6E2M3: "F6_E2M3", F6E3M2: "F6_E3M2",
		Bool: "BOOL", U8: "U8", I8: "I8", F8E5M2: "F8_E5M2", F8E4M3: "F8_E4M3",
		F8E8M0: "F8_E8M0", F8E4M3FNUZ: "F8_E4M3FNUZ", F8E5M2FNUZ: "F8_E5M2FNUZ",
		I16: "I16", U16: "U16", F16: "F16", BF16: "BF16",
		I32: "I32", U32: "U32", F32: "F32",
		C64: "C64", F64: "F64", I64: "I64", U64: "U64",
	}
}

// ParseDType returns the dtype that headers call name, "BF16" for instance.
// Names are case-sensitive.
func ParseDType(name string) (DType, bool) { return dtypeOf([]byte(name)) }

func dtypeOf(name []byte) (DType, bool) {
	names := dtypeNames()
	for d := F4; d <= U64; d++ {
		if string(name) == names[d] {
			return d, true
		}
	}
	return 0, false
}

// String returns the name of the dtype in a header.
func (d DType) String() string {
	if d < F4 || d > U64 {
		return fmt.Sprintf("DType(%d)", uint8(d))
	}
	names := dtypeNames()
	return names[d]
}

// Bits is the width of one element: 4, 6, or a multiple of 8; 0 if d is none
// of the dtypes.
func (d DType) Bits() int {
	switch { // the constants are ordered by width
	case d < F4 || d > U64:
		return 0
	case d == F4:
		return 4
	case d <= F6E3M2:
		return 6
	case d <= F8E5M2FNUZ:
		return 8
	case d <= BF16:
		return 16
	case d <= F32:
		return 32
	}
	return 64
}

// Alignment is the number of bytes that the address of a tensor of this dtype
// should be a multiple of: the size of an element, at least 1.
func (d DType) Alignment() int64 { return int64(max(d.Bits()/8, 1)) }
