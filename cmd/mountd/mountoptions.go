package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// mountOptions sets flags as mount(8) writes them, allow_other,memory_limit=1Gi.
// Options that every file system has go to the kernel, or are accepted where they
// ask for what a read-only mount is anyway. It implements pflag.Value.
type mountOptions struct {
	flags  *pflag.FlagSet
	kernel *[]string // gets those of the kernel
	text   string
}

func (o *mountOptions) Set(text string) error {
	o.text = text
	for _, option := range splitOptions(text) {
		if err := o.apply(option); err != nil {
			return err
		}
	}
	return nil
}

// splitOptions cuts text at its commas, but for those between double quotes: the
// categories of SELinux have them.
func splitOptions(text string) []string {
	quoted := false
	return strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}

func (o *mountOptions) apply(option string) error {
	name, value, hasValue := strings.Cut(option, "=")
	switch {
	case foreignOption(name):
		return nil
	case name == "remount":
		return errors.New("a mount cannot be changed: unmount it, and mount it again with the options that it is to have")
	case kernelOption(name):
		*o.kernel = append(*o.kernel, option)
		return nil
	}
	flag := o.flags.Lookup(strings.ReplaceAll(name, "_", "-"))
	if flag == nil || flag.Name == "options" {
		return fmt.Errorf("unknown option %q", name)
	}
	if !hasValue {
		value = flag.NoOptDefVal
		if value == "" {
			return fmt.Errorf("option %q needs a value", name)
		}
	}
	if err := o.flags.Set(flag.Name, value); err != nil {
		return fmt.Errorf("option %q: %w", name, err)
	}
	return nil
}

// kernelOption tells whether name is of the kernel's, for any file system.
func kernelOption(name string) bool {
	switch name {
	case "noexec", "nosymfollow", "context", "fscontext", "defcontext", "rootcontext":
		return true
	}
	return false
}

// foreignOption tells whether name is for mount(8) or systemd, or asks for what
// holds anyway. mount(8) passes rw where nobody asked for ro.
func foreignOption(name string) bool {
	switch name {
	case "ro", "rw", "nosuid", "nodev", "exec", "suid", "dev", "async", "sync", "dirsync",
		"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
		"symfollow", "iversion", "noiversion", "silent", "loud",
		"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev":
		return true
	}
	return strings.HasPrefix(strings.ToLower(name), "x-") || strings.HasPrefix(name, "comment")
}

func (o *mountOptions) String() string { return o.text }
func (o *mountOptions) Type() string   { return "options" }
