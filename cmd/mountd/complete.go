package main

import (
	"github.com/spf13/cobra"

	"weightfs/cmd/cli"
)

// complete tells shells what mountd takes: a SOURCE, which may be a folder, then a
// folder; below it a MOUNTPOINT alone.
func complete(root *cobra.Command) {
	root.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		switch len(args) {
		case 0: // a command, or else a file: only then are both offered
			return nil, cobra.ShellCompDirectiveDefault
		case 1:
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, cmd := range root.Commands() {
		cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
	cli.CompleteFlags(root, map[string][]cobra.Completion{
		"concurrency":  {"auto"},
		"part-size":    {"auto"},
		"prefetch":     {"auto", "sequential", "off"},
		"metadata-ttl": {"indefinite", "minimal"},
		"log-level":    {"debug", "info", "warn", "error"},
	})
}
