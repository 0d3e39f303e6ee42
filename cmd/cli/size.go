package cli

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes as a flag value: "8MiB" and "8Mi" are binary, "8MB"
// and "8M" decimal, "8388608" plain bytes. It implements pflag.Value.
type Size int64

// ParseSize reads a size of at least 0 bytes. A lower-case "m" alone is
// refused: to Kubernetes it is a thousandth, to others a million or a mebi.
func ParseSize(text string) (int64, error) {
	text = strings.TrimSpace(text)
	if text == "" || text[0] < '0' || text[0] > '9' {
		return 0, fmt.Errorf("%q is not a size: write bytes, or a number with Ki, Mi, Gi, k, M or G", text)
	}
	if strings.HasSuffix(text, "m") {
		return 0, fmt.Errorf("size %q is ambiguous: write Mi for 1024*1024 or M for 1000*1000 bytes", text)
	}
	n, err := humanize.ParseBytes(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: write bytes, or a number with Ki, Mi, Gi, k, M or G", text)
	}
	if n > math.MaxInt64 {
		return 0, errors.New("size is larger than the largest file")
	}
	return int64(n), nil
}

// FormatSize writes n, at least 0, exactly, in the largest binary unit that
// leaves a whole number: "8MiB", "1500". ParseSize reads it back.
func FormatSize(n int64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	unit := 0
	for n != 0 && n%1024 == 0 && unit < len(units)-1 {
		n /= 1024
		unit++
	}
	return fmt.Sprintf("%d%s", n, units[unit])
}

// Set implements pflag.Value.
func (s *Size) Set(text string) error {
	n, err := ParseSize(text)
	if err != nil {
		return err
	}
	*s = Size(n)
	return nil
}

// String implements pflag.Value.
func (s *Size) String() string { return FormatSize(int64(*s)) }

// Type implements pflag.Value.
func (s *Size) Type() string { return "size" }
