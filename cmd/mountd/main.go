// Command mountd shows an S3 bucket or a folder of checkpoints as a read-only
// file tree, fetches ahead what is read, and keeps it within a memory limit.
//
// It parses flags, wires the libraries together and waits. Invoked as
// mount.weightfs it follows mount(8)'s conventions for helpers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
	if _, isWorker := os.LookupEnv(workerVariable); isWorker {
		// As which ps shows it, where it was executed by another name. Best effort.
		self, _ := os.Readlink("/proc/self/exe")
		_ = os.WriteFile("/proc/self/comm", []byte(strings.TrimSuffix(filepath.Base(self), " (deleted)")), 0)
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
	// A user's mount(8) runs its helpers without, and fusermount3 has to be found.
	if _, ok := os.LookupEnv("PATH"); !ok {
		if err := os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
			fmt.Fprintln(os.Stderr, "mountd: set PATH:", err)
			return cli.ExitFailure
		}
	}
	// Two signals have meanings: the first unmounts, the second cuts off. A worker
	// is told of them by its keeper: those that a terminal or systemd sends to both
	// count once.
	signals := make(chan os.Signal, 2)
	if _, isWorker := os.LookupEnv(workerVariable); isWorker {
		signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	} else {
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	}
	a := &app{env: os.LookupEnv, args: os.Args, stdout: os.Stdout, stderr: os.Stderr, signals: signals}
	root, isChild := newRootCommand(a), hasStarter(a.env)
	code := max(cli.Execute(context.Background(), root, a.args[1:], a.env, a.stderr), a.exit)
	if a.isHelper() && !isChild { // whose code its starter translates
		return helperCode(code)
	}
	return code
}

// app is the process around the commands.
type app struct {
	env     cli.Lookup
	args    []string
	stdout  io.Writer
	stderr  io.Writer
	signals chan os.Signal
	exit    int      // the exit code where the cause of a failure was said by another process
	held    held     // by systemd, from a mountd before this one
	starter *starter // of a process that --daemon or a keeper started; nil in any other
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
seconds more. A folder called as a command is, such as "status", is ./status.`,
		Version: cli.Version(),
		Args:    sourceAndMountpoint,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.source, s.mountpoint = args[0], args[1]
			return a.run(s, cmd.Flags())
		},
	}
	s.register(cmd.Flags())
	cmd.SetOut(a.stdout)
	if a.isHelper() {
		s.registerHelper(cmd.Flags())
		cmd.Use = a.name() + " SOURCE MOUNTPOINT [-o OPTIONS]"
		return cmd // whose SOURCE may have the name of a command
	}
	cmd.AddCommand(newStatusCommand(a), newUpgradeCommand(a), newCleanCommand(a))
	complete(cmd)
	return cmd
}

// run mounts as the settings say.
func (a *app) run(s *settings, flags *pflag.FlagSet) error {
	if hasStarter(a.env) {
		return a.runForStarter(s, flags)
	}
	if err := a.complete(s, flags); err != nil || s.helper.fake {
		return err
	}
	if !s.noKeeper && !s.daemon {
		a.inherit(s.logLevel.Logger(a.stderr))
	}
	if a.held.mount == nil { // behind which nobody serves yet
		if err := checkNesting(s.parsed.Path, s.mountpoint); err != nil {
			return err
		}
	}
	if s.daemon {
		return a.startDaemon(s)
	}
	return a.hold(s, flags)
}

// runForStarter is run in a process that another one mounts for.
func (a *app) runForStarter(s *settings, flags *pflag.FlagSet) (err error) {
	if a.starter, err = findStarter(a.env, a.signals); err != nil {
		return err
	}
	if err = a.complete(s, flags); err == nil {
		err = a.hold(s, flags)
	}
	if errors.Is(err, errStarterGone) {
		a.exit = cli.ExitFailure
		return nil
	}
	if err != nil {
		a.starter.refuse(err)
	}
	return err
}

// complete reads the file of variables, if there is one, and checks the settings.
func (a *app) complete(s *settings, flags *pflag.FlagSet) error {
	if s.envFile != "" {
		if err := a.readEnvironment(s.envFile, flags); err != nil {
			return err
		}
	}
	return s.check()
}

// hold mounts, and serves by a process that can die or by this one alone.
func (a *app) hold(s *settings, flags *pflag.FlagSet) error {
	if s.noKeeper || a.starter != nil && a.starter.keeps {
		return a.serve(s, flags)
	}
	return a.keep(s)
}

// readEnvironment adds the variables of a file to the environment, for the flags,
// for the AWS configuration, and for the programs that this one names.
func (a *app) readEnvironment(file string, flags *pflag.FlagSet) error {
	variables, err := cli.ReadEnvFile(file)
	if err != nil {
		return err
	}
	for name, value := range variables {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("%s: %s: %w", file, name, err)
		}
	}
	return cli.BindEnvironment(flags, a.env)
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
