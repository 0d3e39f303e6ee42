package stream

import "fmt"

// Mode says how much is fetched before it is asked for.
type Mode uint8

// The modes.
const (
	// Auto follows the streams it recognises.
	Auto Mode = iota
	// Sequential takes every read as the beginning of a stream.
	Sequential
	// Off fetches what is asked for and nothing else.
	Off
)

func (m Mode) String() string {
	switch m {
	case Auto:
		return "auto"
	case Sequential:
		return "sequential"
	case Off:
		return "off"
	default:
		return fmt.Sprintf("Mode(%d)", uint8(m))
	}
}
