package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// errno is the only failure, or "".
func (o outcome) errno() string {
	if len(o.Failures) == 0 {
		return ""
	}
	return o.Failures[0]
}

// intact tells whether the reader got the object's bytes.
func (o outcome) intact() bool { return len(o.Failures) == 0 && o.SHA256 == theStage.digest }

// same tells whether two reads came to the same.
func (o outcome) same(p outcome) bool {
	return o.errno() == p.errno() && o.Size == p.Size && o.SHA256 == p.SHA256
}

func (o outcome) String() string {
	switch {
	case o.intact():
		return "intact"
	case len(o.Failures) == 0:
		return "WRONG BYTES"
	}
	return fmt.Sprintf("%s x%d", o.errno(), len(o.Failures))
}

// must holds that o is intact.
func must(t *testing.T, o outcome) {
	t.Helper()
	if !o.intact() {
		t.Errorf("the reader got: %v", o)
	}
}

// reader is a child that does file system calls for us.
type reader struct {
	*rig.Process
	stdin, stdout *os.File
	orders        *json.Encoder
	answers       *json.Decoder
}

// startReader runs a reader, under the command prefix, until the test ends.
func startReader(t *testing.T, prefix ...string) *reader {
	t.Helper()
	in, stdin, err := os.Pipe()
	noError(t, err)
	stdout, out, err := os.Pipe()
	noError(t, err)
	command := append(append([]string{}, prefix...), theStage.reader)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout = in, out
	process, err := rig.StartProcess(cmd)
	in.Close()
	out.Close()
	noError(t, err)
	r := &reader{process, stdin, stdout, json.NewEncoder(stdin), json.NewDecoder(stdout)}
	atEnd(t, func() error { return errors.Join(r.Kill(), stdin.Close(), stdout.Close()) })
	return r
}

// readFile has a reader of its own read a file in one way, under the command
// prefix.
func readFile(t *testing.T, way, path string, prefix ...string) outcome {
	t.Helper()
	r := startReader(t, prefix...)
	defer r.Kill()
	return r.do(t, order{Op: way, Path: path})
}

// failer is what a testing.T and a rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// do has the reader do one thing. One that does not answer is killed.
func (r *reader) do(t failer, o order) outcome {
	t.Helper()
	got, err := r.try(o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return got
}

// try is do for other goroutines than the test's.
func (r *reader) try(o order) (outcome, error) {
	if err := r.ask(o); err != nil {
		return outcome{}, err
	}
	return r.answer()
}

// ask does not wait for the answer.
func (r *reader) ask(o order) error { return r.orders.Encode(o) }

func (r *reader) answer() (o outcome, err error) {
	late := time.AfterFunc(childLimit, func() { r.Signal(os.Kill) })
	defer late.Stop()
	if err := r.answers.Decode(&o); err == io.EOF {
		return o, fmt.Errorf("the reader ended without an answer: %s", r.Output())
	} else if err != nil {
		return o, fmt.Errorf("answer: %w", err)
	}
	return o, nil
}

// heldReader has a file open and reads on where the test wants it to.
type heldReader struct {
	*reader
	t    *testing.T
	size int64
	left int64 // that was not asked for
}

// hold starts a reader that has the file open, and perhaps mapped.
func hold(t *testing.T, path string, mapped bool) *heldReader {
	t.Helper()
	h := &heldReader{reader: startReader(t), t: t}
	h.size = h.do(t, order{Op: "stat", Path: path}).Size
	h.left = h.size
	if o := h.do(t, order{Op: "open", Path: path, Mapped: mapped}); o.errno() != "" {
		t.Fatalf("open %s: %v", path, o)
	}
	return h
}

// askHalf begins to read a half of the file.
func (h *heldReader) askHalf() {
	h.t.Helper()
	h.left -= h.size / 2
	noError(h.t, h.ask(order{Op: "next", Size: h.size / 2}))
}

// awaitHalf waits until it is read.
func (h *heldReader) awaitHalf() {
	h.t.Helper()
	if o, err := h.answer(); err != nil || o.errno() != "" {
		h.t.Fatalf("the first half: %v, %v", o, err)
	}
}

// finish reads to the end of what was opened, closes, and returns what came of
// all of it.
func (h *heldReader) finish() outcome {
	h.t.Helper()
	o := h.do(h.t, order{Op: "next", Size: h.left})
	noError(h.t, h.Kill())
	return o
}
