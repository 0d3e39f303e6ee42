package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// maxEnvFile bounds a file of variables.
const maxEnvFile = 1 << 20

// ReadEnvFile reads the variables of a file in the form of systemd's
// EnvironmentFile=, so that a unit and a line of fstab can share it. A line that
// systemd would pass over is an error here.
//
// The file says where credentials go, and may hold them. So it must belong to root
// or to this user, nobody else may write to it, and where it holds a secret of
// AWS's nobody else may read it. No error has a value of it.
func ReadEnvFile(path string) (map[string]string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is refused, not waited for
	if err != nil {
		return nil, fmt.Errorf("env file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("env file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("env file %s: not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxEnvFile+1))
	if err != nil {
		return nil, fmt.Errorf("env file: %w", err)
	}
	if len(text) > maxEnvFile {
		return nil, fmt.Errorf("env file %s: more than %d bytes", path, maxEnvFile)
	}
	variables, err := parseEnvironment(string(text))
	if err != nil {
		return nil, fmt.Errorf("env file %s: %w", path, err)
	}
	if err := checkPrivate(info, variables); err != nil {
		return nil, fmt.Errorf("env file %s %w", path, err)
	}
	return variables, nil
}

// secretVariables are those that let their reader in.
func secretVariables() []string {
	return []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"}
}

// checkPrivate says what is wrong with the owner or the mode of a file with these
// variables.
func checkPrivate(info os.FileInfo, variables map[string]string) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d: it must be root's, or of the user who mounts", st.Uid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("can be written to by others (mode %04o): chmod 600", info.Mode().Perm())
	}
	if info.Mode().Perm()&0o044 == 0 {
		return nil
	}
	for _, name := range secretVariables() {
		if variables[name] != "" {
			return fmt.Errorf("holds %s and can be read by others (mode %04o): chmod 600", name, info.Mode().Perm())
		}
	}
	return nil
}

// parseEnvironment reads lines NAME=VALUE. Lines that begin with # or ; are comments.
// A value is taken as it stands, without blanks around it. Parts of it may be quoted:
// by ' as they stand, by " with \ before ", \, ` and $. A \ outside of quotes takes
// the next character as it stands. A \ at the end of a line joins the next one to it,
// except in single quotes. Nothing is expanded.
func parseEnvironment(text string) (map[string]string, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, errors.New("it has a zero byte")
	}
	p := envParser{text: text, line: 1}
	variables := map[string]string{}
	for p.skipToName() {
		line := p.line
		name, ok := p.name()
		if !ok {
			return nil, fmt.Errorf("line %d: want NAME=VALUE", line)
		}
		value, ok := p.value()
		if !ok {
			return nil, fmt.Errorf("line %d: the value of %s has a quote that does not end", line, name)
		}
		variables[name] = value
	}
	return variables, nil
}

// envParser is a place in a text of variables.
type envParser struct {
	text string // what is left
	line int
}

// next takes the next byte, which there is.
func (p *envParser) next() byte {
	c := p.text[0]
	p.text = p.text[1:]
	if c == '\n' {
		p.line++
	}
	return c
}

// skipToName passes over blanks and comments, and tells whether more follows.
func (p *envParser) skipToName() bool {
	for p.text != "" {
		switch c := p.text[0]; {
		case isBlank(c), isLineEnd(c):
			p.next()
		case c == '#', c == ';':
			for p.text != "" && !isLineEnd(p.next()) {
			}
		default:
			return true
		}
	}
	return false
}

// name takes a variable's name, and the = after it.
func (p *envParser) name() (string, bool) {
	end := strings.IndexAny(p.text, "=\n\r")
	if end < 0 || p.text[end] != '=' {
		return "", false
	}
	name := strings.TrimRight(p.text[:end], " \t")
	p.text = p.text[end+1:]
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return "", false
		}
	}
	return name, name != ""
}

// value takes a value, and the line end after it.
func (p *envParser) value() (string, bool) {
	var out []byte
	kept := 0     // out without the blanks at its end
	fresh := true // where a quote begins a quoted part
	for p.text != "" {
		c := p.next()
		switch {
		case isLineEnd(c):
			return string(out[:kept]), true
		case fresh && (c == '"' || c == '\''):
			quoted, ok := p.quoted(c)
			if !ok {
				return "", false
			}
			out = append(out, quoted...)
		case fresh && isBlank(c):
		case isBlank(c):
			out = append(out, c)
			continue // is kept if more follows
		case c == '\\':
			fresh = false
			if p.text == "" {
				break
			}
			if c := p.next(); !isLineEnd(c) {
				out = append(out, c)
			}
		default:
			fresh = false
			out = append(out, c)
		}
		kept = len(out)
	}
	return string(out[:kept]), true
}

// quoted takes the rest of a part in quotes.
func (p *envParser) quoted(quote byte) ([]byte, bool) {
	var out []byte
	for p.text != "" {
		c := p.next()
		switch {
		case c == quote:
			return out, true
		case c == '\\' && quote == '"' && p.text != "":
			if c := p.next(); strings.IndexByte("\"\\`$", c) >= 0 {
				out = append(out, c)
			} else if c != '\n' {
				out = append(out, '\\', c)
			}
		default:
			out = append(out, c)
		}
	}
	return nil, false
}

func isBlank(c byte) bool   { return c == ' ' || c == '\t' }
func isLineEnd(c byte) bool { return c == '\n' || c == '\r' }
