package main

import (
	"github.com/spf13/cobra"

	"weightfs/cmd/cli"
	weightfs "weightfs/fs"
)

func newCleanCommand(a *app) *cobra.Command {
	var level cli.LogLevel
	cmd := &cobra.Command{
		Use:   "clean MOUNTPOINT",
		Short: "Take away a mount whose mountd is gone",
		Long: `clean takes away the mount of weightfs at MOUNTPOINT if its mountd was killed, so
that every access to it fails. It touches nothing else: no mount that answers, and
no other file system. Where there is nothing to do, it does nothing. mountd itself
does so when it starts.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return weightfs.Clean(args[0], level.Logger(a.stderr))
		},
	}
	level.Register(cmd.Flags())
	return cmd
}
