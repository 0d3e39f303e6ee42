package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// mountOptions sets flags as mount(8) writes them, allow_other,memory_limit=1Gi.
// Options that every file system has are accepted where they ask for what a
// read-only mount is anyway. It implements pflag.Value.
type mountOptions struct {
	flags *pflag.FlagSet
	text  string
}

func (o *mountOptions) Set(text string) error {
	o.text = text
	for option := range strings.SplitSeq(text, ",") {
		if err := o.apply(option); err != nil {
			return err
		}
	}
	return nil
}

func (o *mountOptions) apply(option string) error {
	name, value, hasValue := strings.Cut(option, "=")
	if option == "" || foreignOption(name) {
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

// foreignOption tells whether name is for mount(8) or systemd, or asks for what
// holds anyway. mount(8) passes rw where nobody asked for ro.
func foreignOption(name string) bool {
	switch name {
	case "ro", "rw", "nosuid", "nodev", "exec", "noexec", "suid", "dev", "async", "sync", "dirsync",
		"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
		"nosymfollow", "iversion", "noiversion", "silent", "loud",
		"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev":
		return true
	}
	return strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "comment")
}

func (o *mountOptions) String() string { return o.text }
func (o *mountOptions) Type() string   { return "options" }
