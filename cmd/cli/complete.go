package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// CompleteFlags tells shells the values of the flags of cmd that take one of a
// few. values has them by the name of the flag; those that cmd does not have are
// left out.
func CompleteFlags(cmd *cobra.Command, values map[string][]cobra.Completion) {
	for name, few := range values {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(few, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(fmt.Sprintf("complete --%s: %v", name, err)) // it was registered before
		}
	}
}
