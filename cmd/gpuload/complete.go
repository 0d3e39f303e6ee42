package main

import (
	"github.com/spf13/cobra"

	"weightfs/cmd/cli"
)

// complete tells shells the values that the commands below root take. Their
// arguments are files and folders, which shells know.
func complete(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		cli.CompleteFlags(cmd, map[string][]cobra.Completion{
			"device":    {"auto", "cpu", "cuda:0"},
			"numa":      {"auto", "off"},
			"hash":      {"sha256", "xxh3"},
			"progress":  {"auto", "plain", "none"},
			"log-level": {"debug", "info", "warn", "error"},
		})
	}
}
