package names

import (
	"fmt"
	"strconv"
	"strings"
)

// nextShard returns the name of the shard that follows name in a checkpoint cut
// into files called PREFIX-NNNNN-of-NNNNNSUFFIX, and false for the last shard
// and for every other name. The last such pair in name counts.
func nextShard(name string) (string, bool) {
	for end := len(name); ; {
		of := strings.LastIndex(name[:end], "-of-")
		if of < 0 {
			return "", false
		}
		if next, ok := nextAround(name, of); ok {
			return next, true
		}
		end = of
	}
}

// nextAround is nextShard for the "-of-" at name[of].
func nextAround(name string, of int) (string, bool) {
	start := of
	for start > 0 && isDigit(name[start-1]) {
		start--
	}
	rest := name[of+len("-of-"):]
	width := 0
	for width < len(rest) && isDigit(rest[width]) {
		width++
	}
	if start == 0 || name[start-1] != '-' {
		return "", false
	}
	// Parsing at 32 bits refuses empty and absurd numbers alike.
	index, errIndex := strconv.ParseUint(name[start:of], 10, 32)
	total, errTotal := strconv.ParseUint(rest[:width], 10, 32)
	if errIndex != nil || errTotal != nil || index >= total {
		return "", false
	}
	return fmt.Sprintf("%s%0*d%s", name[:start], of-start, index+1, name[of:]), true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
