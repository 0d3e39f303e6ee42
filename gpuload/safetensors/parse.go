package safetensors

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf8"
)

// metadataKey is the one key of a header that is not a tensor.
const metadataKey = "__metadata__"

// parser turns the JSON of a header into tensors, in the header's order. What
// it accepts has the right schema; whether it makes sense is validate's.
type parser struct {
	scanner
	tensors  []Tensor
	byName   map[string]int32
	metadata map[string]string
	sawMeta  bool
	dims     []uint64 // the rest of the slab that shapes are cut from
}

// parse reads a header. Errors are [*FormatError] without the file's name.
func parse(header []byte) (*Header, error) {
	if !utf8.Valid(header) {
		return nil, &FormatError{Kind: ErrInvalidHeader, Detail: "not UTF-8 from byte " +
			strconv.Itoa(validPrefix(header))}
	}
	n := entriesHint(header)
	p := parser{scanner: scanner{data: header}, tensors: make([]Tensor, 0, n), byName: make(map[string]int32, n)}
	err := p.object(p.member)
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, err
	}
	return &Header{Tensors: p.tensors, Metadata: p.metadata, byName: p.byName}, nil
}

// entriesHint is about how many entries a well-formed header has, so that
// tables are made once. It is bounded by what fits, whatever the bytes are.
func entriesHint(header []byte) int {
	const shortest = len(`"":{"dtype":"F4","shape":[],"data_offsets":[0,0]},`)
	return min(bytes.Count(header, []byte("{")), len(header)/shortest)
}

// member reads one member of the header's object.
func (p *parser) member(key []byte) error {
	if string(key) == metadataKey {
		return p.readMetadata()
	}
	name := string(key)
	if _, ok := p.byName[name]; ok {
		return &FormatError{Tensor: name, Kind: ErrDuplicateKey, Detail: "two entries in the header"}
	}
	t, err := p.entry()
	if err != nil {
		return inTensor(name, err)
	}
	t.Name = name
	p.byName[name] = int32(len(p.tensors)) // a header of 100 MB has no 2^31 entries
	p.tensors = append(p.tensors, t)
	return nil
}

// readMetadata reads the value of __metadata__: an object of strings, or null
// for none.
func (p *parser) readMetadata() error {
	if p.sawMeta {
		return &FormatError{Kind: ErrDuplicateKey, Detail: "two " + metadataKey}
	}
	p.sawMeta = true
	if p.peek() == 'n' {
		return p.literal("null")
	}
	m, err := p.stringMap(metadataKey)
	p.metadata = m
	return err
}

// stringMap reads an object whose values are strings, of the name what.
func (s *scanner) stringMap(what string) (map[string]string, error) {
	m := make(map[string]string)
	err := s.object(func(k []byte) error {
		key := string(k)
		if _, ok := m[key]; ok {
			return &FormatError{Kind: ErrDuplicateKey, Detail: "two " + quote(key) + " in " + what}
		}
		value, err := s.string()
		if err != nil {
			return err
		}
		m[key] = string(value)
		return nil
	})
	return m, err
}

// The fields of an entry, as bits of what has been seen.
const (
	fieldDType = 1 << iota
	fieldShape
	fieldOffsets
)

// fieldOf returns the field of that name, or 0.
func fieldOf(key []byte) int {
	switch string(key) {
	case "dtype":
		return fieldDType
	case "shape":
		return fieldShape
	case "data_offsets":
		return fieldOffsets
	}
	return 0
}

// entry reads the object that describes one tensor.
func (p *parser) entry() (Tensor, error) {
	var t Tensor
	var offsets [2]uint64
	seen, start := 0, p.pos
	err := p.object(func(key []byte) (err error) {
		field := fieldOf(key)
		if seen&field != 0 {
			return p.fail(p.pos, "second "+string(key))
		}
		seen |= field
		switch field {
		case fieldDType:
			t.DType, err = p.dtype()
		case fieldShape:
			t.Shape, err = p.shape()
		case fieldOffsets:
			offsets, err = p.offsets()
		default:
			err = p.skip(3)
		}
		return err
	})
	if err != nil {
		return t, err
	}
	for i, name := range [...]string{"dtype", "shape", "data_offsets"} {
		if seen&(1<<i) == 0 {
			return t, p.fail(start, "no "+name+" in the entry")
		}
	}
	// Beyond int64 these wrap; validate reads them as unsigned again.
	t.Begin, t.End = int64(offsets[0]), int64(offsets[1])
	return t, nil
}

func (p *parser) dtype() (DType, error) {
	p.peek()
	start := p.pos
	name, err := p.string()
	if err != nil {
		return 0, err
	}
	d, ok := dtypeOf(name)
	if !ok {
		return 0, p.fail(start, "unknown dtype "+quote(string(name)))
	}
	return d, nil
}

// shape reads an array of lengths twice: once to count and check them, once to
// keep them in memory of just that size, however long a hostile shape is.
func (p *parser) shape() ([]uint64, error) {
	start, n := p.pos, 0
	err := p.array(func() error {
		n++
		_, err := p.uint()
		return err
	})
	if err != nil {
		return nil, err
	}
	p.pos = start
	shape := p.cut(n)
	return shape, p.array(func() (err error) {
		shape[len(shape)-n], err = p.uint()
		n--
		return err
	})
}

// cut returns n lengths of the slab, so that one allocation serves many
// tensors.
func (p *parser) cut(n int) []uint64 {
	const slab = 4096
	if n >= len(p.dims) { // also for 0, so that a scalar's shape is not nil
		p.dims = make([]uint64, max(n, slab))
	}
	shape := p.dims[:n:n]
	p.dims = p.dims[n:]
	return shape
}

func (p *parser) offsets() ([2]uint64, error) {
	var offsets [2]uint64
	start, count := p.pos, 0
	err := p.array(func() (err error) {
		if count == len(offsets) {
			return p.fail(start, "more than 2 data_offsets")
		}
		offsets[count], err = p.uint()
		count++
		return err
	})
	if err == nil && count < len(offsets) {
		err = p.fail(start, "fewer than 2 data_offsets")
	}
	return offsets, err
}

// inTensor says that err was met in the entry of that tensor.
func inTensor(name string, err error) error {
	if syntax, ok := errors.AsType[*syntaxError](err); ok {
		return &FormatError{Tensor: name, Kind: ErrInvalidHeaderDeserialization, Detail: syntax.Error()}
	}
	return err
}

// named gives err the name of the file, and the kind to a syntax error.
func named(file string, kind, err error) error {
	if format, ok := errors.AsType[*FormatError](err); ok {
		format.File = file
		return format
	}
	return &FormatError{File: file, Kind: kind, Detail: err.Error()}
}

// validPrefix is the length of the longest prefix of b that is UTF-8.
func validPrefix(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}
