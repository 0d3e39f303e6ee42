package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"weightfs/cmd/cli"
	"weightfs/cmd/mountd/monitor"
)

func newStatusCommand(a *app) *cobra.Command {
	asJSON, watched := false, false
	cmd := &cobra.Command{
		Use:   "status MOUNTPOINT",
		Short: "Tell what a running mountd does",
		Long: `status tells what is mounted at MOUNTPOINT, how fast it is read, what holds
readers back, what memory holds, who reads which files, and what failed.

--watch tells it anew every second, until Ctrl-C or the end of the mount: on a
terminal in place, elsewhere one block after the other, and with --json one
object a line.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s := screen{out: a.stdout, json: asJSON}
			if watched {
				return a.watchStatus(args[0], s)
			}
			r, err := findReport(a.env, args[0])
			if err != nil {
				return err
			}
			return s.show(r)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, with all counters")
	cmd.Flags().BoolVar(&watched, "watch", false, "tell it anew every second")
	cli.Unbind(cmd.Flags(), "json")
	cli.Unbind(cmd.Flags(), "watch")
	return cmd
}

// errNotMounted says that no mountd answers for a mountpoint.
var errNotMounted = errors.New("no mountd of yours is mounted there")

// findReport asks the mountd that serves mountpoint, under the names that the
// path may have had when it was mounted.
func findReport(env cli.Lookup, mountpoint string) (monitor.Report, error) {
	names, err := pathNames(mountpoint)
	if err != nil {
		return monitor.Report{}, fmt.Errorf("status of %s: %w", mountpoint, err)
	}
	for _, name := range names {
		socket, err := controlSocket(env, name)
		if err != nil {
			return monitor.Report{}, fmt.Errorf("status of %s: %w", mountpoint, err)
		}
		r, err := askControl(socket)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return monitor.Report{}, fmt.Errorf("status of %s: %w", mountpoint, err)
		}
		return r, nil
	}
	return monitor.Report{}, fmt.Errorf("status of %s: %w", mountpoint, errNotMounted)
}

// pathNames are the absolute names of a path without links, the first of them
// found without looking at the path itself, behind which a mountd may hang.
func pathNames(name string) ([]string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	names := []string{abs}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		names = append(names, filepath.Join(parent, filepath.Base(abs)))
	}
	if target, err := os.Readlink(abs); err == nil && target != "" {
		if resolved, err := filepath.EvalSymlinks(abs); err == nil {
			names = append(names, resolved)
		}
	}
	return slices.Compact(names), nil
}
