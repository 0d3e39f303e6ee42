package safetensors

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects may nest, as in the reference's JSON
// library, so that an ignored field cannot exhaust the stack.
const maxDepth = 127

// scanner reads JSON from a buffer of valid UTF-8, strictly by RFC 8259. What the
// reference implementation refuses encoding/json lets pass: the second of two equal
// keys, a field's name in another case, half of a surrogate pair. It also takes four
// times as long: see BenchmarkParse.
type scanner struct {
	data    []byte
	pos     int
	scratch []byte // holds the last string that had escapes
}

// syntaxError says what the scanner met where it expected something else. The
// caller gives it the file's name.
type syntaxError struct {
	pos  int
	what string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.what, e.pos) }

func (s *scanner) fail(pos int, what string) error { return &syntaxError{pos, what} }

func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.data) {
		return s.fail(s.pos, "end of JSON instead of "+want)
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return s.fail(s.pos, strconv.QuoteRune(r)+" instead of "+want)
}

// peek skips white space and returns the next byte, or 0 at the end. A NUL
// byte is no JSON either.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// expect consumes the punctuation c.
func (s *scanner) expect(c byte) error {
	if s.peek() != c {
		return s.unexpected(strconv.QuoteRune(rune(c)))
	}
	s.pos++
	return nil
}

// end fails unless nothing but white space is left.
func (s *scanner) end() error {
	s.peek()
	if s.pos < len(s.data) {
		return s.unexpected("end of JSON")
	}
	return nil
}

// object calls member for each key of the object that comes next; member
// consumes the value. The key is valid until the next string is read.
func (s *scanner) object(member func(key []byte) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		s.peek()
		key, err := s.string()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		if more, err := s.more('}'); !more {
			return err
		}
	}
}

// array calls element for each element of the array that comes next; element
// consumes it.
func (s *scanner) array(element func() error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if more, err := s.more(']'); !more {
			return err
		}
	}
}

// more consumes a comma and says true, or the closing byte and says false.
func (s *scanner) more(closing byte) (bool, error) {
	switch s.peek() {
	case ',':
		s.pos++
		return true, nil
	case closing:
		s.pos++
		return false, nil
	}
	return false, s.unexpected("',' or " + strconv.QuoteRune(rune(closing)))
}

// string returns the string that comes next. It aliases the buffer or the
// scanner's scratch and is valid until the next call.
func (s *scanner) string() ([]byte, error) {
	if s.peek() != '"' {
		return nil, s.unexpected("a string")
	}
	start := s.pos + 1
	for i := start; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			return s.data[start:i], nil
		case c == '\\':
			return s.escaped(start, i)
		case c < ' ':
			return nil, s.fail(i, "control character in a string")
		}
	}
	return nil, s.fail(len(s.data), "end of JSON in a string")
}

// escaped is string from the first escape on, at byte i.
func (s *scanner) escaped(start, i int) ([]byte, error) {
	out := append(s.scratch[:0], s.data[start:i]...)
	for i < len(s.data) {
		switch c := s.data[i]; {
		case c == '"':
			s.pos, s.scratch = i+1, out
			return out, nil
		case c == '\\':
			r, n, err := s.escape(i)
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
			i += n
		case c < ' ':
			return nil, s.fail(i, "control character in a string")
		default:
			out = append(out, c)
			i++
		}
	}
	return nil, s.fail(len(s.data), "end of JSON in a string")
}

// escape decodes the escape sequence at byte i, n bytes long.
func (s *scanner) escape(i int) (r rune, n int, err error) {
	const plain, meaning = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if i+1 < len(s.data) {
		if k := bytes.IndexByte([]byte(plain), s.data[i+1]); k >= 0 {
			return rune(meaning[k]), 2, nil
		}
	}
	hi, ok := s.unit(i)
	if !ok {
		return 0, 0, s.fail(i, "invalid escape in a string")
	}
	if hi < 0xD800 || hi > 0xDFFF {
		return hi, 6, nil
	}
	lo, ok := s.unit(i + 6)
	if hi > 0xDBFF || !ok || lo < 0xDC00 || lo > 0xDFFF {
		return 0, 0, s.fail(i, "lone surrogate in a string")
	}
	return (hi-0xD800)<<10 + (lo - 0xDC00) + 0x10000, 12, nil
}

// unit decodes the UTF-16 code unit \uXXXX at byte i.
func (s *scanner) unit(i int) (rune, bool) {
	if i+6 > len(s.data) || s.data[i] != '\\' || s.data[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s.data[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// uint returns the number that comes next: digits alone, without sign,
// fraction or exponent, that fit 64 bits.
func (s *scanner) uint() (uint64, error) {
	s.peek()
	start, n := s.pos, uint64(0)
	for ; s.pos < len(s.data); s.pos++ {
		c := s.data[s.pos] - '0'
		if c > 9 {
			break
		}
		if n > (math.MaxUint64-uint64(c))/10 {
			return 0, s.fail(start, "number beyond 64 bits")
		}
		n = n*10 + uint64(c)
	}
	switch digits := s.pos - start; {
	case digits == 0:
		return 0, s.unexpected("a number of 0 or more")
	case digits > 1 && s.data[start] == '0':
		return 0, s.fail(start, "number with a leading zero")
	case s.pos < len(s.data) && bytes.IndexByte([]byte(".eE"), s.data[s.pos]) >= 0:
		return 0, s.fail(start, "number that is not an integer")
	}
	return n, nil
}
