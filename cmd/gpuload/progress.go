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
		return &plainProgress{total: total, w: w}
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

// plainProgress writes a line for every tenth of the whole.
type plainProgress struct {
	total int64

	mu   sync.Mutex
	w    io.Writer // guarded by mu
	done int64     // guarded by mu
}

func (p *plainProgress) add(n int64) {
	const steps = 10
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.done * steps / p.total
	p.done += n
	if p.done*steps/p.total == before {
		return
	}
	fmt.Fprintf(p.w, "gpuload: %d%%, %s of %s\n", p.done*100/p.total,
		humanize.Bytes(uint64(p.done)), humanize.Bytes(uint64(p.total)))
}

func (p *plainProgress) finish() {}
