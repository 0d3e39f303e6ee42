//go:build !docs

package cli

import "github.com/spf13/cobra"

// addReference adds nothing: man pages and completions are written when weightfs
// is built, by a program with the tag docs. A subcommand for them would take a
// name away from mountd's SOURCE.
func addReference(*cobra.Command) {}
