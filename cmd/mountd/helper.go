package main

import (
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
)

// Exit codes of a helper of mount(8), which become mount's own.
const (
	exitMountUsage   = 1
	exitMountFailure = 32
)

// isHelper tells whether mount(8), or somebody in its stead, runs us as the helper
// of a type of file system: mount.weightfs.
func (a *app) isHelper() bool { return strings.HasPrefix(a.name(), "mount.") }

// name is what we are called.
func (a *app) name() string { return filepath.Base(a.args[0]) }

// helperCode is the exit code of mount(8) for one of ours.
func helperCode(code int) int {
	switch code {
	case cli.ExitUsage:
		return exitMountUsage
	case cli.ExitFailure:
		return exitMountFailure
	}
	return code
}

// helperFlags are the flags of a helper that mean something to us.
type helperFlags struct {
	fake      bool
	namespace string
}

// registerHelper adds what mount(8) passes to its helpers, and makes --daemon
// the default, since mount waits for the helper to end.
func (s *settings) registerHelper(flags *pflag.FlagSet) {
	s.daemon = true
	for _, ignored := range []struct{ name, short string }{{"sloppy", "s"}, {"no-mtab", "n"}, {"verbose", "v"}} {
		flags.BoolP(ignored.name, ignored.short, false, "ignored")
	}
	flags.BoolVarP(&s.helper.fake, "fake", "f", false, "check the arguments, and mount nothing")
	flags.StringVarP(&s.helper.namespace, "namespace", "N", "", "refused: mount in another namespace")
	flags.StringP("type", "t", "", "ignored")
	cli.Unbind(flags, "sloppy", "no-mtab", "verbose", "fake", "namespace", "type")
}
