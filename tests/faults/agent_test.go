package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// order and answer are as the reader program has them.
type order struct {
	Op           string
	Path         string
	Handle       int
	Offset, Size int64
	Direct       bool
}

type answer struct {
	Errno  string
	Names  []string
	Size   int64
	Dir    bool
	SHA256 string
}

// same tells whether two reads came to the same.
func (a answer) same(b answer) bool {
	return a.Errno == b.Errno && a.Size == b.Size && a.SHA256 == b.SHA256
}

// agent is a child that does file system calls for us.
type agent struct {
	process *rig.Process
	stdin   *os.File
	orders  *json.Encoder
	answers *json.Decoder
}

// startAgent runs an agent until the test ends.
func startAgent(t *testing.T) *agent {
	t.Helper()
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(theStage.reader, "agent")
	cmd.Stdin, cmd.Stdout = in, out
	process, err := rig.StartProcess(cmd)
	in.Close()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := process.Kill(); err != nil {
			t.Error(err)
		}
		stdout.Close()
	})
	return &agent{process, stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)}
}

// failer is what a testing.T and a rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// do has the agent do one thing. One that does not answer is killed.
func (a *agent) do(t failer, o order) answer {
	t.Helper()
	r, err := a.try(o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return r
}

// try is do for other goroutines than the test's.
func (a *agent) try(o order) (answer, error) {
	late := time.AfterFunc(childLimit, func() { a.process.Signal(os.Kill) })
	defer late.Stop()
	var r answer
	if err := a.orders.Encode(o); err != nil {
		return r, fmt.Errorf("order %+v: %w", o, err)
	}
	if err := a.answers.Decode(&r); err == io.EOF {
		return r, fmt.Errorf("the agent ended at %+v", o)
	} else if err != nil {
		return r, fmt.Errorf("answer to %+v: %w", o, err)
	}
	return r, nil
}
