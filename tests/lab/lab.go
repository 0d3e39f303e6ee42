// Package lab is what everything that measures has in common: the benchmarks,
// the comparison with other tools, and the check for machines with a GPU.
//
// A measurement takes samples of several sides in turns (InTurns), each within a
// time limit (Within), and puts them into a Figure: the median of the pairs'
// ratios, and the target that it must meet. What the sides are compared with is
// the best of a Sweep. Programs are timed from exec to exit (Exec). Tables and
// plots are text, which Publish puts between the marks of a document.
//
// The readers themselves are children, see package workload.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
)

// Settings are the flags that all measurements have.
type Settings struct {
	Runs int
	Size cli.Size
	Rows *regexp.Regexp // the rows to measure
	Out  string
	Docs string
}

// Parse reads a command's arguments, with the values of s as the defaults. least is
// the smallest size; add adds flags of the command's own, nil for none. usage has a
// %s for all flags: --help prints it, and ends in [pflag.ErrHelp].
func (s *Settings) Parse(name, usage string, args []string, least cli.Size, add func(*pflag.FlagSet)) error {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	check := s.register(flags, least)
	if add != nil {
		add(flags)
	}
	flags.Usage = func() { fmt.Printf(usage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	return check()
}

// register adds the flags. The error of check, which is called once they have been
// parsed, says what is wrong with them.
func (s *Settings) register(flags *pflag.FlagSet, least cli.Size) (check func() error) {
	rows := flags.String("rows", "", "regular expression: the rows to measure (all)")
	flags.IntVar(&s.Runs, "runs", s.Runs, "samples of each side of a row")
	flags.Var(&s.Size, "size", "bytes of the object")
	flags.StringVar(&s.Out, "out", s.Out, "folder for the tables, the samples as JSON and the plots")
	flags.StringVar(&s.Docs, "docs", "", "publish the tables and plots there; needs all rows")
	return func() (err error) {
		if s.Rows, err = regexp.Compile(*rows); err != nil {
			return fmt.Errorf("--rows: %w", err)
		}
		if s.Docs != "" && *rows != "" {
			return errors.New("--docs is for all rows, without --rows: it replaces the whole table")
		}
		if s.Runs < 1 || s.Size < least {
			return fmt.Errorf("at least one run, and a size of at least %s", cli.FormatSize(int64(least)))
		}
		return nil
	}
}

// Main runs a command that needs root until it is done or interrupted, and exits
// with 1 where it fails.
func Main(name string, run func(ctx context.Context, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// NeedRoot is an error for who is not root. why is what needs it.
func NeedRoot(why string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s needs root", why)
	}
	return nil
}

// Within takes a sample that must not take longer than limit. The error of one
// that did says so.
func Within[T any](ctx context.Context, limit time.Duration, take func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	sample, err := take(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = errors.Join(cause, err)
	}
	return sample, err
}

// InTurns takes n rounds of a sample of each side, and returns the samples by
// round and side. Every other round goes backwards, so that no side is always
// the one that comes after another. With an error come the rounds before it.
func InTurns[T any](ctx context.Context, n int, sides ...func(context.Context) (T, error)) ([][]T, error) {
	var rounds [][]T
	for i := range n {
		round := make([]T, len(sides))
		for k := range sides {
			if i%2 == 1 {
				k = len(sides) - 1 - k
			}
			var err error
			if round[k], err = sides[k](ctx); err != nil {
				return rounds, err
			}
		}
		rounds = append(rounds, round)
	}
	return rounds, nil
}

// pollTick is how often Poll asks.
const pollTick = 10 * time.Millisecond

// Poll waits until done says so or fails. late is the error where that takes
// longer than limit, at which done's context ends.
func Poll(ctx context.Context, limit time.Duration, late string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New(late))
	defer cancel()
	tick := time.NewTicker(pollTick)
	defer tick.Stop()
	for {
		if ok, err := done(ctx); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watchTick is how often Watch looks: some of what it looks for is gone soon.
const watchTick = 100 * time.Millisecond

// Watch looks at something again and again, in a goroutine of its own, until stop
// is called, which is once; the last look is after that. What look writes may be
// read when stop has returned.
func Watch(look func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(watchTick)
		defer tick.Stop()
		for {
			look()
			select {
			case <-tick.C:
			case <-done:
				look()
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}
