// Command mountd shows an S3 bucket or a folder of checkpoints as a read-only
// file tree, fetches ahead what is read, and keeps it within a memory limit.
//
// It parses flags, wires the libraries together and waits. Invoked as
// mount.weightfs it follows mount(8)'s conventions for helpers.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"weightfs/cmd/cli"
)

func main() { os.Exit(run()) }

func run() int {
	if request, ok := os.LookupEnv(shareVariable); ok {
		if err := beShareHelper(request); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return cli.ExitFailure
		}
		return 0
	}
	// No core of ours may be dumped, and no other process of the same user may
	// look into our memory: credentials are in it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "mountd: forbid core dumps:", err)
		return cli.ExitFailure
	}
	if err := dropCapabilities(); err != nil {
		fmt.Fprintln(os.Stderr, "mountd:", err)
		return cli.ExitFailure
	}
	// Two signals have meanings: the first unmounts, the second cuts off.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	a := &app{env: os.LookupEnv, args: os.Args, stdout: os.Stdout, stderr: os.Stderr, signals: signals}
	root := newRootCommand(a)
	code := cli.Execute(context.Background(), root, a.args[1:], a.env, a.stderr)
	return max(code, a.exit)
}

// app is the process around the commands.
type app struct {
	env     cli.Lookup
	args    []string
	stdout  io.Writer
	stderr  io.Writer
	signals chan os.Signal
	exit    int // the exit code of a daemon that has said itself why it failed
}

func newRootCommand(a *app) *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:   "mountd [flags] SOURCE MOUNTPOINT",
		Short: "Show an S3 bucket or a folder as a read-only file tree",
		Long: `mountd shows SOURCE, s3://BUCKET[/PREFIX] or a folder, at the directory
MOUNTPOINT, or through a descriptor of /dev/fuse that somebody else has mounted
(/dev/fd/N). It stays in the foreground until it is unmounted or signalled.

The first SIGINT or SIGTERM unmounts; files still open are served for up to 20
seconds more. A folder called "status" is ./status.`,
		Version: cli.Version(),
		Args:    sourceAndMountpoint,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.source, s.mountpoint = args[0], args[1]
			if err := s.check(); err != nil {
				return err
			}
			if s.daemon && !isDaemonChild(a.env) {
				return a.startDaemon()
			}
			return a.serve(s, cmd.Flags())
		},
	}
	s.register(cmd.Flags())
	if strings.HasPrefix(filepath.Base(a.args[0]), "mount.") {
		s.registerHelper(cmd.Flags())
	}
	cmd.SetOut(a.stdout)
	cmd.AddCommand(newStatusCommand(a))
	return cmd
}

// sourceAndMountpoint is the check of the two arguments.
func sourceAndMountpoint(_ *cobra.Command, args []string) error {
	switch {
	case len(args) < 1:
		return fmt.Errorf("SOURCE and MOUNTPOINT are missing")
	case len(args) < 2:
		return fmt.Errorf("MOUNTPOINT is missing after SOURCE %s", args[0])
	case len(args) > 2:
		return fmt.Errorf("unexpected argument %q after SOURCE and MOUNTPOINT", args[2])
	}
	return nil
}
