package cli

import (
	"strings"

	"github.com/spf13/pflag"
)

// unboundKey is the annotation of a flag that has no variable.
const unboundKey = "weightfs_unbound"

// Variable is the name of the environment variable of a flag:
// WEIGHTFS_MEMORY_LIMIT for memory-limit.
func Variable(flag string) string {
	return "WEIGHTFS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Unbind takes the variables away from the named flags, for those that make
// sense for one invocation only (--json, say). A name that flags does not have
// is a mistake of the program and panics.
func Unbind(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := flags.SetAnnotation(name, unboundKey, nil); err != nil {
			panic(err)
		}
	}
}

// bound tells whether a flag is filled from the environment.
func bound(f *pflag.Flag) bool {
	_, unbound := f.Annotations[unboundKey]
	return !unbound && f.Name != "help" && f.Name != "version"
}

// BindEnvironment fills each flag that the command line left alone from its
// [Variable], where that is set and not empty. Changed stays false for it, so
// that a command can tell the three ranks apart: command line, variable,
// default. A value that the flag refuses is a usage error naming the variable.
// With several errors, the first by flag name is returned.
func BindEnvironment(flags *pflag.FlagSet, env Lookup) error {
	var first error
	flags.VisitAll(func(f *pflag.Flag) {
		if first != nil || f.Changed || !bound(f) {
			return
		}
		value, ok := env(Variable(f.Name))
		if !ok || value == "" {
			return
		}
		if err := f.Value.Set(value); err != nil {
			first = Usagef("invalid value %q for variable %s: %w", value, Variable(f.Name), err)
		}
	})
	return first
}
