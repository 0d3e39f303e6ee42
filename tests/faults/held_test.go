package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// heldReader is a reader that waits where the test wants it to.
type heldReader struct {
	t *testing.T
	*rig.Process
	stdin  io.WriteCloser
	said   *bufio.Reader
	stdout *bytes.Buffer
}

// hold is holdIn for a reader that does not map.
func hold(t *testing.T, path string) *heldReader {
	t.Helper()
	return holdIn(t, "held", path)
}

// holdIn starts a reader, held or held-mapped, and returns once it has the file
// open. The test's end kills it.
func holdIn(t *testing.T, way, path string) *heldReader {
	t.Helper()
	r := &heldReader{t: t, stdout: &bytes.Buffer{}}
	cmd := exec.Command(theStage.reader, way, path)
	cmd.Stdout = r.stdout
	said, err := startWithPipes(cmd, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			t.Error(err)
		}
		r.stdin.Close()
		said.Close()
	})
	r.await("open")
	return r
}

// startWithPipes starts the reader with pipes of ours, which do not keep Wait
// from returning.
func startWithPipes(cmd *exec.Cmd, r *heldReader) (said *os.File, err error) {
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	said, stderr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd.Stdin, cmd.Stderr = in, stderr
	r.stdin, r.said = stdin, bufio.NewReader(said)
	r.Process, err = rig.StartProcess(cmd)
	return said, err
}

// await waits until the reader has said word.
func (r *heldReader) await(word string) {
	r.t.Helper()
	line, err := r.said.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != word {
		r.t.Fatalf("the reader said %q in place of %q, %v", line, word, err)
	}
}

// goOn lets the reader take its next step.
func (r *heldReader) goOn() {
	r.t.Helper()
	if _, err := io.WriteString(r.stdin, "\n"); err != nil {
		r.t.Fatal(err)
	}
}

// finish lets the reader read to the end and returns what came of it.
func (r *heldReader) finish() outcome {
	r.t.Helper()
	if err := r.stdin.Close(); err != nil {
		r.t.Fatal(err)
	}
	if code := r.Wait(); code != 0 {
		r.t.Fatalf("the reader ended with %d", code)
	}
	var o outcome
	if err := json.Unmarshal(r.stdout.Bytes(), &o); err != nil {
		r.t.Fatal(err)
	}
	return o
}
