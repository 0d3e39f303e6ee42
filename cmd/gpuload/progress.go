package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cheggaaa/pb/v3"
	"github.com/dustin/go-humanize"
	"golang.org/x/term"

	"weightfs/cmd/cli"
)

// progressMode is how a load shows that it advances.
type progressMode uint8

const (
	progressNone progressMode = iota
	progressPlain
	progressBar
)

// parseProgress reads the value of --progress. auto is a bar where stderr is
// a terminal that tells its width, lines where it is not, and nothing beside
// JSON.
func parseProgress(text string, json bool, stderr io.Writer) (progressMode, error) {
	switch text {
	case "none":
		return progressNone, nil
	case "plain":
		return progressPlain, nil
	case "auto":
	default:
		return 0, cli.Usagef("progress %q: want auto, plain or none", text)
	}
	if json {
		return progressNone, nil
	}
	if f, ok := stderr.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return progressBar, nil
		}
	}
	return progressPlain, nil
}

// progress shows how many bytes have arrived.
type progress interface {
	// add is called by many goroutines at once.
	add(n int64)
	finish()
}

func (m progressMode) start(total int64, w io.Writer) progress {
	switch m {
	case progressBar:
		bar := pb.Full.New(0).SetTotal(total).Set(pb.Bytes, true).SetWriter(w)
		return &barProgress{bar.Start()}
	case progressPlain:
		return newPlainProgress(total, w)
	}
	return noProgress{}
}

type noProgress struct{}

func (noProgress) add(int64) {}
func (noProgress) finish()   {}

// barProgress is a bar on a terminal.
type barProgress struct{ bar *pb.ProgressBar }

func (p *barProgress) add(n int64) { p.bar.Add64(n) }
func (p *barProgress) finish()     { p.bar.Finish() }

// plainSteps is how many lines a whole load writes.
const plainSteps = 10

// plainProgress writes a line for every tenth of the whole. A goroutine of its
// own writes them, so that a pipe that nobody reads holds no copy up.
type plainProgress struct {
	total   int64
	lines   chan string // has room for all lines
	writing sync.WaitGroup

	mu   sync.Mutex
	done int64 // guarded by mu
}

func newPlainProgress(total int64, w io.Writer) *plainProgress {
	p := &plainProgress{total: total, lines: make(chan string, plainSteps)}
	p.writing.Go(func() {
		for line := range p.lines {
			_, _ = io.WriteString(w, line) // as of any message
		}
	})
	return p
}

func (p *plainProgress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.done * plainSteps / p.total
	p.done += n
	if p.done*plainSteps/p.total == before {
		return
	}
	p.lines <- fmt.Sprintf("gpuload: %d%%, %s of %s\n", p.done*100/p.total,
		humanize.Bytes(uint64(p.done)), humanize.Bytes(uint64(p.total)))
}

// finish waits until all lines are written.
func (p *plainProgress) finish() {
	close(p.lines)
	p.writing.Wait()
}
