package handoff

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"weightfs/prefetch/arena"
)

// Version is that of the protocol.
const Version = 1

const (
	// maxMessage is the longest message, in bytes.
	maxMessage = 16 << 10
	// maxPath is the longest path of an OPEN.
	maxPath = 4096
	// maxPieces is how many pieces a LEASE may have.
	maxPieces = 64

	headerSize = 8
	magic      = "weightfs"
)

// messageType is the first field of a message.
type messageType uint16

// The messages. Clients send those with odd numbers.
const (
	typeHello   messageType = 1
	typeWelcome messageType = 2
	typeOpen    messageType = 3
	typeOpened  messageType = 4
	typeWant    messageType = 5
	typeLease   messageType = 6
	typeGive    messageType = 7
	typeCancel  messageType = 9
	typeClose   messageType = 11
)

// Mode says what a client may do with the memory that it maps.
type Mode uint16

// The modes.
const (
	ReadOnly Mode = 0
	Writable Mode = 1
)

// featureReuse is a feature: a second descriptor, an eventfd, comes with the WELCOME. It
// can be read from before the memory of the connection is used again, and never where the
// process of the server ends before.
const featureReuse = 1

// errProtocol says that the other side sent what it must not.
var errProtocol = errors.New("handoff: message against the protocol")

// header begins every message: type, 0, tag.
func header(kind messageType, tag uint32) []byte {
	b := binary.LittleEndian.AppendUint16(make([]byte, 0, 64), uint16(kind))
	b = binary.LittleEndian.AppendUint16(b, 0)
	return binary.LittleEndian.AppendUint32(b, tag)
}

// parseHeader splits a message.
func parseHeader(message []byte) (kind messageType, tag uint32, body []byte, err error) {
	if len(message) < headerSize || len(message) > maxMessage || binary.LittleEndian.Uint16(message[2:]) != 0 {
		return 0, 0, nil, fmt.Errorf("%w: %d bytes begin %x", errProtocol, len(message), message[:min(len(message), headerSize)])
	}
	return messageType(binary.LittleEndian.Uint16(message)), binary.LittleEndian.Uint32(message[4:]), message[headerSize:], nil
}

// fields encodes or decodes a body of fixed layout.
func fields(kind messageType, body []byte, into any) (rest []byte, err error) {
	n, err := binary.Decode(body, binary.LittleEndian, into)
	if err != nil {
		return nil, fmt.Errorf("%w: type %d has %d bytes", errProtocol, kind, len(body))
	}
	return body[n:], nil
}

func appendFields(to []byte, from any) []byte {
	to, err := binary.Append(to, binary.LittleEndian, from)
	if err != nil {
		panic(fmt.Sprintf("handoff: encode %T: %v", from, err))
	}
	return to
}

// hello is a client's first message.
type hello struct {
	Magic          [8]byte
	Oldest, Newest uint16 // versions that it speaks
	Mode           Mode   // that it asks for
	_              uint16
	Features       uint32 // that it knows
}

func parseHello(body []byte) (h hello, err error) {
	rest, err := fields(typeHello, body, &h)
	if err == nil && (len(rest) > 0 || string(h.Magic[:]) != magic) {
		err = fmt.Errorf("%w: not a hello", errProtocol)
	}
	return h, err
}

// welcome is the answer, with the descriptor unless Errno is set.
type welcome struct {
	Errno     uint32
	Version   uint16
	Mode      Mode   // that is granted
	Features  uint32 // of those, what the server does
	BlockSize uint32
	MaxLength uint32 // of a WANT
	MaxWants  uint32 // wanted or leased at once
	MaxFiles  uint32 // open at once
	_         uint32
	Size      uint64 // of the memory
	Watermark uint64 // end of the memory that was ever used
	Cap       uint64 // bytes that all clients together may hold
}

func parseWelcome(body []byte) (w welcome, err error) {
	rest, err := fields(typeWelcome, body, &w)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes too many in a welcome", errProtocol, len(rest))
	}
	return w, err
}

// parseOpen checks a path: relative to the mount, without empty, "." or ".."
// components.
func parseOpen(body []byte) (string, error) {
	path := string(body)
	if len(path) == 0 || len(path) > maxPath || strings.IndexByte(path, 0) >= 0 {
		return "", fmt.Errorf("%w: a path of %d bytes", errProtocol, len(path))
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return "", fmt.Errorf("%w: path %q", errProtocol, path)
		}
	}
	return path, nil
}

// opened is the answer to OPEN; the version follows, or the text of the error.
type opened struct {
	Errno uint32
	File  uint32
	Size  uint64
	Inode uint64
	Flags uint32
	_     uint32
}

// flagByKernel is a flag of OPENED: the kernel reads the file by itself.
const flagByKernel = 1

func parseOpened(body []byte) (o opened, text string, err error) {
	rest, err := fields(typeOpened, body, &o)
	return o, string(rest), err
}

// wanted is one entry of a WANT.
type wanted struct {
	Tag, File uint32
	Offset    uint64
	Length    uint32
	_         uint32
}

const wantedSize = 24

func parseWants(body []byte) ([]wanted, error) {
	if len(body) == 0 || len(body)%wantedSize != 0 {
		return nil, fmt.Errorf("%w: wants of %d bytes", errProtocol, len(body))
	}
	wants := make([]wanted, len(body)/wantedSize)
	_, err := fields(typeWant, body, wants)
	return wants, err
}

// parseTags is the body of GIVE and CANCEL.
func parseTags(body []byte) ([]uint32, error) {
	if len(body) == 0 || len(body)%4 != 0 {
		return nil, fmt.Errorf("%w: tags of %d bytes", errProtocol, len(body))
	}
	tags := make([]uint32, len(body)/4)
	_, err := fields(typeGive, body, tags)
	return tags, err
}

// leased is the answer to an entry of a WANT; its pieces follow, or the text of
// the error.
type leased struct {
	Errno     uint32
	Pieces    uint32
	Watermark uint64
}

// encodeLease is the LEASE of what lies in pieces.
func encodeLease(tag uint32, pieces []arena.Piece, watermark int64) []byte {
	b := appendFields(header(typeLease, tag), leased{Pieces: uint32(len(pieces)), Watermark: uint64(watermark)})
	for _, p := range pieces {
		b = appendFields(b, [2]uint64{uint64(p.Offset), uint64(p.Length)})
	}
	return b
}

// encodeFailure is the LEASE or OPENED of what failed.
func encodeFailure(kind messageType, tag uint32, errno syscall.Errno, text string) []byte {
	b := header(kind, tag)
	if kind == typeLease {
		b = appendFields(b, leased{Errno: uint32(errno)})
	} else {
		b = appendFields(b, opened{Errno: uint32(errno)})
	}
	return append(b, text[:min(len(text), 1024)]...)
}

// parseLease checks the pieces: they lie in a memory of so many bytes.
func parseLease(body []byte, size int64) (l leased, pieces []arena.Piece, text string, err error) {
	rest, err := fields(typeLease, body, &l)
	switch {
	case err != nil:
		return l, nil, "", err
	case l.Errno != 0:
		return l, nil, string(bytes.ToValidUTF8(rest, []byte("?"))), nil
	case l.Pieces == 0 || l.Pieces > maxPieces || len(rest) != 16*int(l.Pieces):
		return l, nil, "", fmt.Errorf("%w: %d pieces in %d bytes", errProtocol, l.Pieces, len(rest))
	}
	for ; len(rest) > 0; rest = rest[16:] {
		off, n := binary.LittleEndian.Uint64(rest), binary.LittleEndian.Uint64(rest[8:])
		if n == 0 || off > uint64(size) || n > uint64(size)-off {
			return l, nil, "", fmt.Errorf("%w: piece [%d,+%d) of %d bytes", errProtocol, off, n, size)
		}
		pieces = append(pieces, arena.Piece{Offset: int64(off), Length: int64(n)})
	}
	return l, pieces, "", nil
}

// errnoOf is the errno that a client gets for an error.
func errnoOf(err error) syscall.Errno {
	if errno, ok := errors.AsType[syscall.Errno](err); ok && errno != 0 {
		return errno
	}
	return syscall.EIO
}

// isCanceled tells whether an error is that of a wait which was cancelled.
func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }
