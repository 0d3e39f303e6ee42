package safetensors

import (
	"bytes"
	"strconv"
)

// skip consumes any value; an array or object there would be the depth-th level
// of the document. It accepts no more than a parser that reads the value would.
func (s *scanner) skip(depth int) error {
	switch c := s.peek(); {
	case (c == '{' || c == '[') && depth > maxDepth:
		return s.fail(s.pos, "JSON nested too deeply")
	case c == '{':
		return s.object(func([]byte) error { return s.skip(depth + 1) })
	case c == '[':
		return s.array(func() error { return s.skip(depth + 1) })
	case c == '"':
		_, err := s.string()
		return err
	case c == '-' || c >= '0' && c <= '9':
		_, err := s.float()
		return err
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.unexpected("a value")
}

// literal consumes the word w.
func (s *scanner) literal(w string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return s.unexpected(w)
	}
	s.pos += len(w)
	return nil
}

// float returns any JSON number that fits a float64.
func (s *scanner) float() (float64, error) {
	s.peek()
	start := s.pos
	s.accept("-")
	leading := s.pos
	whole := s.digits()
	ok := whole == 1 || whole > 1 && s.data[leading] != '0'
	if ok && s.accept(".") {
		ok = s.digits() > 0
	}
	if ok && s.accept("eE") {
		s.accept("+-")
		ok = s.digits() > 0
	}
	if !ok {
		return 0, s.fail(start, "malformed number")
	}
	f, err := strconv.ParseFloat(string(s.data[start:s.pos]), 64)
	if err != nil {
		return 0, s.fail(start, "number out of range")
	}
	return f, nil
}

// accept consumes the next byte if it is one of set.
func (s *scanner) accept(set string) bool {
	if s.pos < len(s.data) && bytes.IndexByte([]byte(set), s.data[s.pos]) >= 0 {
		s.pos++
		return true
	}
	return false
}

// digits consumes digits and returns how many.
func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos - start
}
