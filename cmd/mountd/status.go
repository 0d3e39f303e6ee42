package main

import (
	"encoding/json"
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
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status MOUNTPOINT",
		Short: "Tell what a running mountd does",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := findReport(a.env, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(a.stdout).Encode(r)
			}
			return r.Print(a.stdout)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cli.Unbind(cmd.Flags(), "json")
	return cmd
}

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
	return monitor.Report{}, fmt.Errorf("status of %s: no mountd of yours is mounted there", mountpoint)
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
