package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"weightfs/cmd/mountd/keeper"
	weightfs "weightfs/fs"
)

// keep has the mount served by a process of its own, and by another when that has
// died. This one only holds it.
func (a *app) keep(s *settings) error {
	log := &switchWriter{w: a.stderr}
	logger := s.logLevel.Logger(log)
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signal.Notify(a.signals, syscall.SIGHUP) // whose default would leave the worker alone
	}
	home, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("keep the mount: %w", err)
	}
	upgrades := make(chan keeper.Upgrade)
	first := program{"/proc/self/exe", a.args[1:]}
	u := &upgrader{program: first, app: a, home: home, upgrades: upgrades, ended: make(chan struct{}), logger: logger}
	defer u.close()
	start := keeper.Start{Held: systemdHolds()}
	if start.Held {
		defer letGo(logger)
	}
	var claim func() error
	var from *other
	if s.takeOver && a.starter == nil && a.held.mount == nil {
		if from, err = a.findOther(s.mountpoint); err != nil {
			return fmt.Errorf("mount at %s: %w", s.mountpoint, err)
		}
	}
	if from != nil {
		defer from.link.Close()
		start.Planned, claim = true, from.claim
	}
	dir := ""
	if a.held.mount != nil {
		start.Source, start.Takeovers = a.held.source, a.held.served
		dir = a.held.mount.Dir
	}
	a.exit, err = keeper.Run(keeper.Config{
		Worker: func(start keeper.Start) *exec.Cmd { return a.worker(first, start, home) },
		Mount: func() (mount *weightfs.Attachment, err error) {
			switch {
			case from != nil:
				mount, err = from.mount(s.parsed.String())
			case a.starter != nil:
				mount, err = a.starter.mount("")
			default:
				mount, err = weightfs.Attach(s.mountpoint, s.mountConfig(logger))
			}
			if err == nil {
				dir = mount.Dir
			}
			return mount, err
		},
		Answers: func() error {
			u.listen(dir)
			return a.ready(s, log)
		},
		Signals:  a.signals,
		Stopping: func() { notify(logger, daemon.SdNotifyStopping) },
		Logger:   logger,
		Upgrades: upgrades,
		Kept: func(mount *weightfs.Attachment, source string) error {
			if !start.Held {
				return nil
			}
			return holdBySystemd(mount, source)
		},
		Inherited: a.held.mount,
		Start:     start,
		Claim:     claim,
	})
	if errors.Is(err, keeper.ErrGivenAway) {
		logger.Info("another mountd serves the mount: this one waits for a signal to end", "mountpoint", dir)
		<-a.signals
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount at %s: %w", s.mountpoint, err)
	}
	return nil
}

// program is an executable file, and its arguments.
type program struct {
	path string
	args []string
}

// worker is a command that serves, in the folder that relative paths are of. The
// path of its program is that of an open file, whatever was installed meanwhile.
func (a *app) worker(p program, start keeper.Start, home string) *exec.Cmd {
	cmd := exec.Command(p.path, p.args...)
	cmd.Args[0] = a.args[0] // the name says which conventions hold
	cmd.Dir = home
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "NOTIFY_SOCKET=") || strings.HasPrefix(variable, daemonVariable+"=")
	})
	text, err := json.Marshal(start)
	if err != nil {
		panic(err) // it has numbers and text
	}
	cmd.Env = append(cmd.Env, workerVariable+"="+string(text))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}
