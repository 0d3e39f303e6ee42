package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Stage is what the tests of a package share. They do not change it.
type Stage struct {
	*Programs
	// Server has no bucket until somebody makes one.
	Server *Server
	// Scratch is a folder that everybody may enter, with the programs. It is
	// removed at the end.
	Scratch string

	ends []func() error
}

// AtEnd has end called after the tests, before what was there at the time of the
// call goes.
func (s *Stage) AtEnd(end func() error) { s.ends = append(s.ends, end) }

// Main is what TestMain of a package does: it makes a stage, named after the package
// and with a server of opts, has prepare complete it, runs the tests m, takes the
// stage down, and exits. Where any of that fails it says so and does not exit with 0.
func Main(m interface{ Run() int }, name string, opts ServerOptions, prepare func(context.Context, *Stage) error) {
	code, err := runOnStage(m, name, opts, prepare)
	if err != nil {
		fmt.Fprintf(os.Stderr, "tests of %s: %v\n", name, err)
		code = 1
	}
	os.Exit(code)
}

func runOnStage(m interface{ Run() int }, name string, opts ServerOptions, prepare func(context.Context, *Stage) error) (code int, err error) {
	ctx := context.Background()
	s := &Stage{}
	defer func() {
		for _, end := range slices.Backward(s.ends) {
			err = errors.Join(err, end())
		}
	}()
	if s.Scratch, err = os.MkdirTemp("", "weightfs-"+name+"-"); err != nil {
		return 1, err
	}
	s.AtEnd(func() error { return os.RemoveAll(s.Scratch) })
	if err := os.Chmod(s.Scratch, 0o755); err != nil {
		return 1, err
	}
	if s.Programs, err = Build(ctx, s.Scratch); err != nil {
		return 1, err
	}
	if s.Server, err = NewServer(ctx, opts); err != nil {
		return 1, err
	}
	s.AtEnd(s.Server.Close)
	if err := prepare(ctx, s); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
