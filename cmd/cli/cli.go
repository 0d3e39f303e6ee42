// Package cli is what the commands of weightfs share at their surface: size
// flags, the S3 flags, the binding of flags to WEIGHTFS_* variables, the
// logger, and the exit codes.
//
// Data flow: a command builds its cobra tree, [Execute] parses the arguments,
// fills the flags that the command line leaves alone from the environment, runs
// the command and turns its error into one line on stderr and an exit code.
// Nothing in the libraries below reads a flag or a variable.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The exit codes of every command.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// Lookup finds a variable of the environment, as [os.LookupEnv] does.
type Lookup func(name string) (value string, ok bool)

// usageError is an error of the caller's command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// Usagef makes an error for which [Execute] returns [ExitUsage] and adds a hint
// at --help. The verbs are those of [fmt.Errorf].
func Usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// IsUsage tells whether err, or an error that it wraps, came from [Usagef].
func IsUsage(err error) bool {
	var u usageError
	return errors.As(err, &u)
}

// Execute runs the command tree root with args and returns the exit code.
// Flags that args leave alone are filled from their variables, looked up by
// env (see [BindEnvironment]); they do not count as Changed. A failure is
// written to stderr as one line that begins with the command's name; wrong
// usage, in flags, variables or arguments, gets a second line with a hint.
//
// Execute sets Args, PersistentPreRunE, the flag error function and the silence
// options of the commands: a command keeps its own Args check, and checks
// what needs the flags in RunE.
func Execute(ctx context.Context, root *cobra.Command, args []string, env Lookup, stderr io.Writer) int {
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		return BindEnvironment(cmd.Flags(), env)
	}
	prepare(root)
	addReference(root)
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for os.Args
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintf(stderr, "%s: %s\n", root.Name(), oneLine(err))
	if !IsUsage(err) {
		return ExitFailure
	}
	fmt.Fprintf(stderr, "Try '%s --help' for more information.\n", cmd.CommandPath())
	return ExitUsage
}

// prepare makes argument errors of cmd and all below it usage errors, and shows
// each flag's variable in the help text.
func prepare(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil && cmd.HasSubCommands() {
		check = unknownCommand
	}
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
	note := func(f *pflag.Flag) {
		if suffix := " [$" + Variable(f.Name) + "]"; bound(f) && !strings.HasSuffix(f.Usage, suffix) {
			f.Usage += suffix
		}
	}
	cmd.PersistentFlags().VisitAll(note)
	cmd.LocalNonPersistentFlags().VisitAll(note)
	for _, sub := range cmd.Commands() {
		prepare(sub)
	}
}

// unknownCommand is the argument check of a command that only has subcommands.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q", args[0])
	}
	return nil
}

// oneLine is the text of err without line ends, as errors.Join leaves them.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
