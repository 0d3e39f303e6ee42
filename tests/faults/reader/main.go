// Command reader reads a file as programs do that know nothing of weightfs, and
// prints as JSON what came of it:
//
//	reader WAY FILE
//	reader agent
//
// The agent does what it is told on standard input, see order.
//
// The ways: sequential reads from the beginning to the end; parallel has 16
// readers with a handle and a part of the file each; mapped touches every page of
// a mapping; opens opens, reads and closes it 10,000 times, and handles has 1,000
// handles at once, each reading a little; held says "open" on standard error once
// the file is open and "read" once half of it is read, after each of which it waits
// for a line on standard input, and held-mapped does so with a mapping. The digest of opens and handles is of the
// file's first page. An error of a reader is reported and does not fail the
// command.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readers is how many parallel has.
const readers = 16

// step is the length of one read.
const step = 1 << 20

// failure is the error of one reader.
type failure struct {
	Errno   string  `json:"errno"`
	Seconds float64 `json:"seconds"` // from its beginning
}

// report is what is printed.
type report struct {
	SHA256   string    `json:"sha256"` // of what was read, "" after a failure
	Seconds  float64   `json:"seconds"`
	Failures []failure `json:"failures"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "agent" {
		if err := (&agent{files: map[int]*os.File{}}).serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "reader:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: reader WAY FILE")
		os.Exit(2)
	}
	read, ok := ways()[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "reader: unknown way %q\n", os.Args[1])
		os.Exit(2)
	}
	if err := json.NewEncoder(os.Stdout).Encode(run(read, os.Args[2])); err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(1)
	}
}

func ways() map[string]func(path string) ([]byte, []failure) {
	return map[string]func(string) ([]byte, []failure){
		"sequential":  sequential,
		"parallel":    parallel,
		"mapped":      mapped,
		"opens":       opens,
		"handles":     handles,
		"held":        held,
		"held-mapped": heldMapped,
	}
}

func run(read func(string) ([]byte, []failure), path string) report {
	start := time.Now()
	sum, failures := read(path)
	r := report{Seconds: time.Since(start).Seconds(), Failures: failures}
	if len(failures) == 0 {
		r.SHA256 = hex.EncodeToString(sum)
	}
	return r
}

// failed names the errno of err.
func failed(start time.Time, err error) []failure {
	name := err.Error()
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		name = unix.ErrnoName(errno)
	}
	return []failure{{name, time.Since(start).Seconds()}}
}

func sequential(path string) ([]byte, []failure) {
	start := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return nil, failed(start, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, step)); err != nil {
		return nil, failed(start, err)
	}
	return h.Sum(nil), nil
}

func parallel(path string) ([]byte, []failure) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, failed(time.Now(), err)
	}
	content := make([]byte, info.Size())
	share := (len(content) + readers - 1) / readers
	var mu sync.Mutex
	var failures []failure
	var group sync.WaitGroup
	for low := 0; low < len(content); low += share {
		group.Go(func() {
			start := time.Now()
			if err := readPart(path, content[low:min(low+share, len(content))], int64(low)); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, failed(start, err)...)
			}
		})
	}
	group.Wait()
	sum := sha256.Sum256(content)
	return sum[:], failures
}

// readPart fills part from the file at path at off, by a handle of its own.
func readPart(path string, part []byte, off int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for low := 0; low < len(part); low += step {
		piece := part[low:min(low+step, len(part))]
		if _, err := f.ReadAt(piece, off+int64(low)); err != nil {
			return err
		}
	}
	return nil
}
