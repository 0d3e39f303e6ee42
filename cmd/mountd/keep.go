package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
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
	a.exit, err = keeper.Run(keeper.Config{
		Worker: func(n int, region string) *exec.Cmd { return a.worker(n, region, home) },
		Mount: func() (*weightfs.Attachment, error) {
			if a.starter != nil {
				return a.starter.mount("")
			}
			return weightfs.Attach(s.mountpoint, s.mountConfig(logger))
		},
		Answers:  func() error { return a.ready(s, log) },
		Signals:  a.signals,
		Stopping: func() { notify(logger, daemon.SdNotifyStopping) },
		Logger:   logger,
	})
	if err != nil {
		return fmt.Errorf("mount at %s: %w", s.mountpoint, err)
	}
	return nil
}

// worker is this command once more, to serve, in the folder that relative paths are
// of. It is the very same program, whatever was installed meanwhile.
func (a *app) worker(n int, region, home string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", a.args[1:]...)
	cmd.Args[0] = a.args[0] // the name says which conventions hold
	cmd.Dir = home
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "NOTIFY_SOCKET=") || strings.HasPrefix(variable, daemonVariable+"=")
	})
	cmd.Env = append(cmd.Env, workerVariable+"="+strconv.Itoa(n)+" "+region)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}
