package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// kept is a mount that this process holds, and what it does at the keeper's word.
type kept struct {
	*app
	settings *settings
	log      *switchWriter
	logger   *slog.Logger
	upgrader *upgrader
	from     *other // whose mount it is to be; nil: nobody's
	start    keeper.Start
	dir      string // where it is mounted, once that is known
}

// keep has the mount served by a process of its own, and by another when that has
// died. This one only holds it.
func (a *app) keep(s *settings) error {
	log := &switchWriter{w: a.stderr}
	k := &kept{app: a, settings: s, log: log, logger: s.logLevel.Logger(log), start: keeper.Start{Held: systemdHolds()}}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signal.Notify(a.signals, syscall.SIGHUP) // whose default would leave the worker alone
	}
	home, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("keep the mount: %w", err)
	}
	if a.held.mount != nil {
		k.dir, k.start.Source, k.start.Takeovers = a.held.mount.Dir, a.held.source, a.held.served
	} else if s.takeOver && a.starter == nil {
		if k.from, err = a.findOther(s.mountpoint); err != nil {
			return fmt.Errorf("mount at %s: %w", s.mountpoint, err)
		}
	}
	first, upgrades := program{"/proc/self/exe", a.args[1:]}, make(chan keeper.Upgrade)
	k.upgrader = &upgrader{program: first, app: a, home: home, upgrades: upgrades, ended: make(chan struct{}), logger: k.logger}
	cfg := keeper.Config{
		Worker: func(start keeper.Start) *exec.Cmd { return a.worker(first, start, home) },
		Mount:  k.mount, Kept: k.hold, Answers: k.answers, Inherited: a.held.mount,
		Signals: a.signals, Stopping: func() { notify(k.logger, daemon.SdNotifyStopping) },
		Upgrades: upgrades, Logger: k.logger,
	}
	if k.from != nil {
		defer k.from.link.Close()
		k.start.Planned, cfg.Claim = true, k.from.claim
	}
	cfg.Start = k.start
	a.exit, err = keeper.Run(cfg)
	k.upgrader.close()
	if k.start.Held {
		letGo(k.logger) // also where it is another keeper's now
	}
	return k.ended(err)
}

// ended is what becomes of the end of the keeper.
func (k *kept) ended(err error) error {
	if errors.Is(err, keeper.ErrGivenAway) {
		k.logger.Info("another mountd serves the mount: this one waits for a signal to end", "mountpoint", k.dir)
		<-k.signals
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount at %s: %w", k.settings.mountpoint, err)
	}
	return nil
}

// mount makes the mount, or has it made.
func (k *kept) mount() (mount *weightfs.Attachment, err error) {
	switch {
	case k.from != nil:
		mount, err = k.from.mount(k.settings.parsed.String())
	case k.starter != nil:
		mount, err = k.starter.mount("")
	default:
		mount, err = weightfs.Attach(k.settings.mountpoint, k.settings.mountConfig(k.logger))
	}
	if err == nil {
		k.dir = mount.Dir
	}
	return mount, err
}

// hold has systemd hold the mount too, if it can.
func (k *kept) hold(mount *weightfs.Attachment, source string) error {
	if !k.start.Held {
		return nil
	}
	return holdBySystemd(mount, source)
}

// answers is called when the mount answers. One that was taken over has readers, and
// does not end because nobody is there any more to be told.
func (k *kept) answers() error {
	k.upgrader.listen(k.dir)
	err := k.ready(k.settings, k.log)
	sweepControl(k.env, k.logger)
	if err != nil && k.from != nil {
		k.logger.Warn("nobody hears that the mount was taken over", "err", err)
		return nil
	}
	return err
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
