//go:build docs

package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// addReference adds the hidden command docs, which writes what a package ships
// beside the program from the same flags and texts as --help:
//
//	docs man NAME SECTION DIR   man pages, the program's own being NAME(SECTION)
//	docs completion DIR         what bash, zsh and fish complete by
//	docs flags                  tables of the flags in Markdown, on stdout
//
// A program with it is built with the tag docs, and is not shipped: the generators
// of cobra bring a Markdown renderer along.
func addReference(root *cobra.Command) {
	docs := &cobra.Command{Use: "docs", Hidden: true}
	docs.AddCommand(&cobra.Command{Use: "man NAME SECTION DIR", Args: cobra.ExactArgs(3), RunE: func(_ *cobra.Command, args []string) error {
		root.RemoveCommand(docs)
		if strings.HasPrefix(args[0], "mount.") {
			root = helperCommand(root, args[0])
		}
		return writePages(root, args[0], args[1], args[2])
	}})
	docs.AddCommand(&cobra.Command{Use: "completion DIR", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		return writeCompletions(root, args[0])
	}})
	docs.AddCommand(&cobra.Command{Use: "flags", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return writeTables(cmd.OutOrStdout(), root)
	}})
	root.AddCommand(docs)
}

// writePages writes a man page for root, called name, and for each command below.
func writePages(root *cobra.Command, name, section, dir string) error {
	command := root.Name()
	eachCommand(root, func(cmd *cobra.Command) {
		cmd.InitDefaultHelpFlag() // while the command has its own name
		cmd.InitDefaultVersionFlag()
		cmd.DisableAutoGenTag = true
	})
	root.Use = name + strings.TrimPrefix(root.Use, command)
	var err error
	eachCommand(root, func(cmd *cobra.Command) {
		if err == nil {
			err = writePage(cmd, name, command, section, dir)
		}
	})
	return err
}

// paragraphOfFlag is how cobra writes a flag: its name, and a line that begins with
// a tab.
var paragraphOfFlag = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB.*)\n\t`)

// writePage writes the page of cmd. Its tree is called name, which is how pages
// refer to each other, and the program is called command.
func writePage(cmd *cobra.Command, name, command, section, dir string) error {
	var page strings.Builder
	header := &doc.GenManHeader{Section: section, Source: "weightfs", Manual: "weightfs"}
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return err
	}
	head, synopsis, found := strings.Cut(page.String(), ".SH SYNOPSIS\n")
	if !found {
		return fmt.Errorf("the page of %s has no synopsis", cmd.CommandPath())
	}
	synopsis = strings.Replace(synopsis, `\fB`+name, `\fB`+command, 1)
	synopsis = paragraphOfFlag.ReplaceAllString(synopsis, ".TP\n$1\n") // with a hanging indent
	file := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + "." + section
	return os.WriteFile(filepath.Join(dir, file), []byte(head+".SH SYNOPSIS\n"+synopsis), 0o644)
}

// helperCommand is the command that mount(8) runs as name, for its man page: root,
// which was built under that name, in the words of fstab.
func helperCommand(root *cobra.Command, name string) *cobra.Command {
	var options strings.Builder
	root.Flags().VisitAll(func(f *pflag.Flag) {
		if !isMountOption(f) {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		option := "**" + strings.ReplaceAll(f.Name, "-", "_") + "**"
		if f.NoOptDefVal == "" {
			option += "=*" + value + "*"
		}
		text, _, _ = strings.Cut(text, " [$")
		fmt.Fprintf(&options, "%s\n\t%s\n\n", option, text)
	})
	kind := strings.TrimPrefix(name, "mount.")
	helper := &cobra.Command{
		Use:                   name + " SOURCE MOUNTPOINT [-sfnv] [-o OPTIONS]",
		DisableFlagsInUseLine: true,
		Short:                 root.Short + ", by mount(8)",
		Long: fmt.Sprintf(`mount(8) runs %[1]s for "mount -t %[2]s SOURCE MOUNTPOINT -o OPTIONS", and for
the lines of fstab(5) whose type is %[2]s. It returns once the mount answers, or
fails with the cause; the daemon goes on until umount(8).

OPTIONS are those of every file system, as far as a read-only mount has a use for
them, SELinux' context= and its like, and the following, which may be written with
hyphens too. Options that begin with x- are for others.

# MOUNT OPTIONS

%[3]s`, name, kind, &options),
		Run: func(*cobra.Command, []string) {},
	}
	helper.InitDefaultHelpFlag()
	return helper
}

// isMountOption tells whether a flag is of use as an option of mount(8). What
// mount(8) itself passes has one letter.
func isMountOption(f *pflag.Flag) bool {
	return f.Shorthand == "" && !f.Hidden && !slices.Contains([]string{"help", "version", "daemon", "foreground"}, f.Name)
}

// writeCompletions writes one file for each shell, called by the program's name.
func writeCompletions(root *cobra.Command, dir string) error {
	path := func(shell string) string { return filepath.Join(dir, root.Name()+"."+shell) }
	if err := root.GenBashCompletionFileV2(path("bash"), true); err != nil {
		return err
	}
	if err := root.GenZshCompletionFile(path("zsh")); err != nil {
		return err
	}
	return root.GenFishCompletionFile(path("fish"), true)
}

// writeTables writes a section with a table for each command that has flags.
func writeTables(w io.Writer, root *cobra.Command) error {
	var b strings.Builder
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.HasAvailableLocalFlags() {
			writeTable(&b, cmd)
		}
	})
	_, err := io.WriteString(w, b.String())
	return err
}

func writeTable(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s: `%s`\n\n", cmd.CommandPath(), cmd.Short, cmd.UseLine())
	b.WriteString("| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		text, _, _ = strings.Cut(text, " [$")
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		initial := f.DefValue
		if f.NoOptDefVal != "" {
			value = ""
			initial = map[string]string{"false": "off", "true": "on"}[initial]
		}
		variable := ""
		if bound(f) {
			variable = Variable(f.Name)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", code(strings.TrimSpace(name+" "+value)), code(variable), code(initial), escape(text))
	})
}

// code is a cell of a table with literal text, which may be empty.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + escape(text) + "`"
}

// escape keeps text within its cell.
func escape(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// eachCommand visits root and the commands below it that a user sees.
func eachCommand(root *cobra.Command, visit func(*cobra.Command)) {
	visit(root)
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() {
			eachCommand(cmd, visit)
		}
	}
}
