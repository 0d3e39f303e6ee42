// Command reader does to files what programs do that know nothing of weightfs, as
// it is told: each line of standard input is an order, each line of standard
// output the answer to it, both JSON. It ends with its input.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// order is what to do. Of a path:
//
//	list        the names in it, of directories with a slash at the end
//	stat        its size, and whether it is a directory
//	sequential  read the file from the beginning to the end
//	parallel    have 16 readers with a handle and a part of it each
//	mapped      touch every page of a mapping
//	open        open the file as Handle: past the page cache if Direct, without
//	            readahead if Random, mapped too if Mapped
//
// And of a handle:
//
//	read   Size bytes at Offset
//	map    the same by a mapping of its own
//	next   Size more bytes than so far, by its mapping if it has one
//	drop   let the kernel forget its pages
//	close
type order struct {
	Op                     string
	Path                   string
	Handle                 int
	Offset, Size           int64
	Direct, Random, Mapped bool
}

// answer is what came of it.
type answer struct {
	Failures []failure // none where it was done
	Seconds  float64
	Names    []string
	Size     int64
	Dir      bool
	SHA256   string // of what was read; of next, with all before
}

// failure is the error of one reader: the name of an errno, or SIGBUS.
type failure struct {
	Errno   string
	Seconds float64 // from its beginning
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	handles := map[int]*handle{}
	orders, answers := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		began := time.Now()
		a, err := do(o, handles)
		if err != nil {
			a.Failures = []failure{failed(began, err)}
		}
		a.Seconds = time.Since(began).Seconds()
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func do(o order, handles map[int]*handle) (answer, error) {
	switch o.Op {
	case "list":
		return list(o.Path)
	case "stat":
		info, err := os.Stat(o.Path)
		if err != nil {
			return answer{}, err
		}
		return answer{Size: info.Size(), Dir: info.IsDir()}, nil
	case "sequential":
		return sequential(o.Path)
	case "parallel":
		return parallel(o.Path)
	case "mapped":
		return mapped(o.Path)
	case "open":
		h, err := open(o)
		if err == nil {
			handles[o.Handle] = h
		}
		return answer{}, err
	}
	h, ok := handles[o.Handle]
	if !ok {
		return answer{}, fmt.Errorf("no handle %d", o.Handle)
	}
	if o.Op == "close" {
		delete(handles, o.Handle)
	}
	return h.do(o)
}

// errSIGBUS is the fault of a mapping, in place of the signal.
var errSIGBUS = errors.New("SIGBUS")

// failed names the errno of err.
func failed(began time.Time, err error) failure {
	name := err.Error()
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		name = unix.ErrnoName(errno)
	}
	return failure{name, time.Since(began).Seconds()}
}

// digest is the answer with what was read.
func digest(data []byte) answer {
	sum := sha256.Sum256(data)
	return answer{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}
