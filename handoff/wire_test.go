package handoff

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"weightfs/prefetch/arena"
)

// What is encoded is decoded to the same.
func TestWire(t *testing.T) {
	h := hello{Oldest: 1, Newest: 3, Mode: Writable, Features: 7}
	copy(h.Magic[:], magic)
	kind, tag, body, err := parseHeader(appendFields(header(typeHello, 9), h))
	if got, err2 := parseHello(body); err != nil || err2 != nil || kind != typeHello || tag != 9 || got != h {
		t.Errorf("%v %v: %d %d %+v", err, err2, kind, tag, got)
	}
	w := welcome{Version: 1, Size: 1 << 40, Cap: 5, MaxLength: 4}
	if got, err := parseWelcome(appendFields(nil, w)); err != nil || got != w {
		t.Errorf("%v: %+v", err, got)
	}
	entries := []wanted{{Tag: 1, File: 2, Offset: 1 << 50, Length: 9}, {Tag: 2, File: 2, Length: 1}}
	if got, err := parseWants(appendFields(nil, entries)); err != nil || !slices.Equal(got, entries) {
		t.Errorf("%v: %+v", err, got)
	}
	pieces := []arena.Piece{{Offset: 0, Length: 5}, {Offset: 90, Length: 10}}
	_, _, body, _ = parseHeader(encodeLease(4, pieces, 77))
	if l, got, _, err := parseLease(body, 100); err != nil || !slices.Equal(got, pieces) || l.Watermark != 77 {
		t.Errorf("%v: %+v", err, got)
	}
	if _, _, _, err := parseLease(body, 99); !errors.Is(err, errProtocol) {
		t.Errorf("a piece beyond the end: %v", err)
	}
	_, _, body, _ = parseHeader(encodeFailure(typeLease, 4, syscall.EIO, strings.Repeat("why", 1000)))
	if l, _, text, err := parseLease(body, 100); err != nil || l.Errno != uint32(syscall.EIO) || !strings.HasPrefix(text, "why") {
		t.Errorf("%v: %+v %q", err, l, text)
	}
	_, _, body, _ = parseHeader(encodeFailure(typeOpened, 4, syscall.ENOENT, "no"))
	if o, text, err := parseOpened(body); err != nil || o.Errno != uint32(syscall.ENOENT) || text != "no" {
		t.Errorf("%v: %+v %q", err, o, text)
	}
}

// What docs/handoff.md says of the layout holds byte by byte.
func TestLayout(t *testing.T) {
	h := hello{Oldest: 1, Newest: 1, Mode: ReadOnly}
	copy(h.Magic[:], magic)
	want := []byte("\x01\x00\x00\x00\x00\x00\x00\x00weightfs\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	if got := appendFields(header(typeHello, 0), h); !bytes.Equal(got, want) {
		t.Errorf("HELLO is %x, want %x", got, want)
	}
	if got := len(appendFields(header(typeWelcome, 0), welcome{})); got != headerSize+56 {
		t.Errorf("WELCOME has %d bytes", got)
	}
	if got := len(appendFields(nil, wanted{})); got != wantedSize {
		t.Errorf("an entry of WANT has %d bytes", got)
	}
	if got := len(encodeLease(1, make([]arena.Piece, 2), 0)); got != headerSize+16+2*16 {
		t.Errorf("a LEASE of two pieces has %d bytes", got)
	}
	if got := len(encodeFailure(typeOpened, 1, 0, "")); got != headerSize+32 {
		t.Errorf("OPENED has %d bytes", got)
	}
}

func TestPaths(t *testing.T) {
	for path, ok := range map[string]bool{
		"a": true, "a/b.safetensors": true, "a b/\xff": true, "...": true,
		"": false, "/a": false, "a/": false, "a//b": false, "..": false, "a/../b": false, ".": false, "a/.": false, "a\x00b": false,
		strings.Repeat("a", maxPath+1): false,
	} {
		if _, err := parseOpen([]byte(path)); (err == nil) != ok {
			t.Errorf("%.20q: %v", path, err)
		}
	}
}

// No message makes a parser panic, and what it lets through is within bounds.
func FuzzMessage(f *testing.F) {
	h := hello{Oldest: 1, Newest: 1}
	copy(h.Magic[:], magic)
	for _, seed := range [][]byte{
		appendFields(header(typeHello, 0), h), appendFields(header(typeWelcome, 0), welcome{}),
		append(header(typeOpen, 1), "a/b"...), appendFields(header(typeWant, 0), []wanted{{Length: 5}}),
		encodeLease(3, []arena.Piece{{Offset: 1, Length: 2}}, 9), encodeFailure(typeLease, 1, 5, "x"),
		appendFields(header(typeGive, 0), uint32(7)), header(typeClose, 1), nil,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		kind, _, body, err := parseHeader(message)
		if err != nil {
			return
		}
		switch kind {
		case typeHello:
			if h, err := parseHello(body); err == nil && !bytes.Equal(appendFields(nil, h)[:14], body[:14]) {
				t.Errorf("%x is read as %+v", body, h)
			}
		case typeWelcome:
			_, _ = parseWelcome(body)
		case typeOpen:
			if path, err := parseOpen(body); err == nil && (path == "" || path[0] == '/' || strings.Contains("/"+path+"/", "/../")) {
				t.Errorf("path %q", path)
			}
		case typeOpened:
			_, _, _ = parseOpened(body)
		case typeWant:
			if wants, err := parseWants(body); err == nil && len(wants) > maxMessage/wantedSize {
				t.Errorf("%d wants", len(wants))
			}
		case typeLease:
			_, pieces, _, err := parseLease(body, 1000)
			for _, p := range pieces {
				if err == nil && (p.Offset < 0 || p.Length <= 0 || p.Offset+p.Length > 1000) {
					t.Errorf("piece %+v", p)
				}
			}
		case typeGive, typeCancel:
			_, _ = parseTags(body)
		}
	})
}
