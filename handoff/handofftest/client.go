package handofftest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"weightfs/handoff"
)

// RunClient is the Go client in the terms of [Run]: it connects to a socket and
// answers each line of in by one of out.
func RunClient(socket string, in io.Reader, out io.Writer) error {
	c, err := handoff.Dial(context.Background(), socket, handoff.Options{})
	if err != nil {
		_, err = fmt.Fprintln(out, failure(err))
		return err
	}
	defer c.Close()
	r := &runner{client: c, files: map[string]*handoff.RemoteFile{}}
	fmt.Fprintln(out, "ok connected")
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		answer, err := r.do(strings.Fields(lines.Text()))
		if err != nil {
			answer = failure(err)
		} else {
			answer = "ok " + answer
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// failure is "error ENOENT", or "gone".
func failure(err error) string {
	if errors.Is(err, handoff.ErrGone) {
		return "gone"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return "error " + unix.ErrnoName(errno)
	}
	return "error " + err.Error()
}

type runner struct {
	client *handoff.Client
	files  map[string]*handoff.RemoteFile
	held   []*handoff.Want
}

func (r *runner) do(words []string) (string, error) {
	var name string
	var off, n int64
	if len(words) > 2 {
		name = words[1]
		if _, err := fmt.Sscan(strings.Join(words[2:], " "), &off, &n); err != nil {
			return "", err
		}
	}
	switch {
	case len(words) == 2 && words[0] == "open":
		f, err := r.open(words[1])
		if err != nil {
			return "", err
		}
		return fmt.Sprint(f.Size(), " ", f.Version(), " ", f.Inode()), nil
	case len(words) == 4 && words[0] == "read":
		return r.read(name, off, n)
	case len(words) == 4 && words[0] == "hold":
		return r.hold(name, off, n)
	case len(words) == 1 && words[0] == "check":
		sum := sha256.New()
		for _, w := range r.held {
			for _, s := range w.Slices() {
				sum.Write(s)
			}
		}
		return hex.EncodeToString(sum.Sum(nil)), nil
	case len(words) == 1 && words[0] == "give":
		var err error
		for _, w := range r.held {
			err = errors.Join(err, w.Give())
		}
		r.held = nil
		return "", err
	}
	return "", fmt.Errorf("unknown request %q", words)
}

// open opens a file once.
func (r *runner) open(name string) (*handoff.RemoteFile, error) {
	if f := r.files[name]; f != nil {
		return f, nil
	}
	f, err := r.client.Open(context.Background(), name)
	if err == nil {
		r.files[name] = f
	}
	return f, err
}

// ranges cuts [off, off+n) into the longest that may be wanted.
func (r *runner) ranges(off, n int64) (ranges []handoff.Range) {
	for end := off + n; off < end; off += r.client.MaxLength() {
		ranges = append(ranges, handoff.Range{Offset: off, Length: min(end-off, r.client.MaxLength())})
	}
	return ranges
}

// hold leases a range, which is read once, and keeps it.
func (r *runner) hold(name string, off, n int64) (string, error) {
	f, err := r.open(name)
	if err != nil {
		return "", err
	}
	wants, err := f.Want(r.ranges(off, n)...)
	if err != nil {
		return "", err
	}
	for _, w := range wants {
		if err := w.Wait(context.Background()); err != nil {
			return "", err
		}
	}
	r.held = append(r.held, wants...)
	return "", nil
}

// read is the digest of a range, of which as much is wanted ahead as may be.
func (r *runner) read(name string, off, n int64) (string, error) {
	f, err := r.open(name)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	var under []*handoff.Want
	buffer := make([]byte, r.client.MaxLength())
	for ranges := r.ranges(off, n); len(ranges) > 0 || len(under) > 0; {
		if room := min(r.client.MaxWants()/2-len(under), len(ranges)); room > 0 {
			wants, err := f.Want(ranges[:room]...)
			if err != nil {
				return "", err
			}
			under, ranges = append(under, wants...), ranges[room:]
		}
		w := under[0]
		under = under[1:]
		if err := w.Copy(context.Background(), buffer[:w.Range().Length]); err != nil {
			for _, w := range under {
				_ = w.Give()
			}
			return "", err
		}
		sum.Write(buffer[:w.Range().Length])
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
