package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/cmd/mountd/monitor"
	weightfs "weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
	"weightfs/remote/tier"
)

// noResendVariable is for tests: requests under way are found as on kernels before
// Linux 6.9, which cannot send them again.
const noResendVariable = "_WEIGHTFS_NO_RESEND"

// lastReads is how long open files are served after the signal to unmount.
const lastReads = 20 * time.Second

// addressPoll is how often an address is tried that the last process still has.
const addressPoll = 20 * time.Millisecond

// firstLook bounds the look into the source at start. That it can be reached and
// listed is known before, from one key of it.
const firstLook = 5 * time.Second

// serve mounts and serves until the mount is gone. The error is the cause in
// one line.
func (a *app) serve(s *settings, flags *pflag.FlagSet) error {
	log := &switchWriter{w: a.stderr}
	if a.starter.takesOver() && s.daemon {
		log.set(systemLog())
	}
	logger := s.logLevel.Logger(log)
	m, err := a.open(s, flags, logger)
	if err != nil {
		return err
	}
	defer m.close()
	if err := a.ready(s, log); err != nil {
		return errors.Join(err, a.giveUp(m, err))
	}
	err = a.wait(m)
	if a.starter != nil {
		a.starter.ended()
	}
	return err
}

// giveUp ends a mount of which nobody could be told, for the reason err. A starter
// that is still there does so by itself, and a mount that systemd holds too goes on.
func (a *app) giveUp(m *mounted, err error) error {
	if a.starter != nil && (a.starter.start.Held || !errors.Is(err, errStarterGone)) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastReads)
	defer cancel()
	return m.unmount(ctx)
}

// wait returns when the mount is gone: nil if by an unmount.
func (a *app) wait(m *mounted) error {
	select {
	case <-m.Server.Done():
		if err := m.Server.Wait(); err != nil {
			return fmt.Errorf("mount at %s: %w", m.Mountpoint, err)
		}
		m.Logger.Info("unmounted", "mountpoint", m.Mountpoint)
		return nil
	case sig := <-a.signals:
		m.Logger.Info("unmounting", "signal", sig.String())
	case <-a.starter.handsOver():
		m.Server.HandOver()
		os.Exit(0) // at once: readers wait
	}
	notify(m.Logger, daemon.SdNotifyStopping)
	ctx, cancel := context.WithTimeout(context.Background(), lastReads)
	defer cancel()
	go func() {
		select {
		case <-a.signals: // once more: at once
			cancel()
		case <-ctx.Done():
		}
	}()
	return m.unmount(ctx)
}

// mounted is a running mount and what it stands on.
type mounted struct {
	monitor.Mount
	region  string         // of the bucket
	closers []func() error // run from the last to the first
}

// open opens the source and mounts it. On an error nothing is left.
func (a *app) open(s *settings, flags *pflag.FlagSet, logger *slog.Logger) (*mounted, error) {
	m := &mounted{Mount: monitor.Mount{Source: s.parsed.String(), Since: time.Now(), PID: os.Getpid(), Logger: logger}}
	if a.starter != nil && a.starter.keeps {
		m.PID = os.Getppid()
		m.Takeovers, m.Upgrades = int64(a.starter.start.Takeovers), int64(a.starter.start.Upgrades)
		if a.starter.upgrades() {
			m.Upgrades++ // by the time that anybody sees it
		}
	}
	m.MemoryLimit = memoryLimit(os.DirFS("/"), int64(s.memoryLimit), logger)
	if err := a.openStore(m, s, flags); err != nil {
		m.close()
		return nil, err
	}
	if err := m.openCache(s); err != nil {
		m.close()
		return nil, err
	}
	if err := a.mount(m, s); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// mount mounts, or has the starter do it, and serves. On an error that mount is
// gone, or left for the starter to take away.
func (a *app) mount(m *mounted, s *settings) error {
	cfg := s.mountConfig(m.Logger)
	_, cfg.NoResend = a.env(noResendVariable)
	cfg.Mounted = func(server *weightfs.Server) error {
		m.Server, m.Mountpoint, m.Since = server, server.Mountpoint(), server.Since()
		return m.listen(s, a.starter.takesOver())
	}
	if a.starter == nil {
		_, err := weightfs.Mount(s.mountpoint, m.Store, m.Cache, m.Names, cfg)
		return err
	}
	attachment, err := a.starter.mount(m.region)
	if err != nil {
		return err
	}
	if a.starter.upgrades() {
		err := attachment.Check(m.Store, cfg)
		if err == nil {
			err = a.starter.prepared()
		}
		if err != nil {
			return errors.Join(err, attachment.Close())
		}
	}
	server, err := weightfs.Serve(attachment, m.Store, m.Cache, m.Names, cfg)
	if err == nil && a.starter.takesOver() {
		t, level := server.Takeover(), slog.LevelInfo
		if a.starter.crashed() {
			level = slog.LevelWarn
		}
		m.Logger.Log(context.Background(), level, "took the mount over", "upgrade", m.Upgrades, "takeover", m.Takeovers, "inodes", t.Inodes, "damaged", t.Damaged,
			"requests", t.Requests, "resent", t.Resent, "restored_in", t.Took)
	}
	return err
}

// openStore opens the source and looks into it, so that a wrong one is an error
// now and not later in some reader.
func (a *app) openStore(m *mounted, s *settings, flags *pflag.FlagSet) error {
	s3, err := s.s3.Config(flags, a.env, m.Logger)
	if err != nil {
		return err
	}
	s3.MaxConnections = int(s.concurrency)
	if a.starter.crashed() {
		s3.Region = a.starter.start.Source
	}
	ctx, stop := a.untilSignal()
	defer stop()
	store, key, err := remote.Open(ctx, s.parsed, remote.Config{
		Known: a.starter.crashed(),
		S3:    s3,
		Local: remote.LocalConfig{Logger: m.Logger},
		Retry: remote.RetryPolicy{Logger: m.Logger},
	})
	if err != nil {
		return err
	}
	m.Store = store
	m.closers = append(m.closers, store.Close)
	m.region = remote.Region(store)
	if key != "" {
		return fmt.Errorf("source %s is one object: mount the folder around it", m.Source)
	}
	if err := m.openTier(s, s3, a.env); err != nil {
		return err
	}
	if a.starter.crashed() {
		return nil // readers wait, and the store may be why the last one died
	}
	return m.lookInto(ctx)
}

// openTier makes the shared cache before a bucket, if one is asked for. That it
// cannot be reached is a fault that passes.
func (m *mounted) openTier(s *settings, s3 remote.S3Config, env cli.Lookup) error {
	if s.parsed.Bucket == "" {
		return nil
	}
	shared, err := s.tier.Open(s3, s.readTimeout, env, m.Logger)
	if err != nil || shared == nil {
		return err
	}
	m.Tier = shared
	m.closers = append(m.closers, shared.Close)
	return nil
}

// lookInto lists the source, of which nothing is known yet if it is a folder. A
// slow one is not waited for.
func (m *mounted) lookInto(ctx context.Context) error {
	brief, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	switch page, err := m.Store.ListPage(brief, "", "", 0); {
	case err != nil && ctx.Err() == nil && brief.Err() != nil:
		return nil // it is slow: not empty, and not wrong
	case err != nil:
		return fmt.Errorf("source %s: %w", m.Source, err)
	case len(page.Entries) == 0 && page.Next == "":
		m.Logger.Warn("the source is empty", "source", m.Source)
	}
	return nil
}

// untilSignal is a context that ends at a signal, or when stop is called. A signal
// that it took stays for who asks for the next one: the start may have been over
// when it came.
func (a *app) untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case sig := <-a.signals:
			cancel()
			select {
			case a.signals <- sig:
			default: // others wait there
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}

// openCache makes the caches of names and of bytes.
func (m *mounted) openCache(s *settings) error {
	known, err := names.New(m.Store, names.Config{
		TTL:         time.Duration(s.metadataTTL),
		ReadTimeout: s.readTimeout,
		Logger:      m.Logger,
	})
	if err != nil {
		return err
	}
	m.Names = known
	m.closers = append(m.closers, known.Close)
	objects, fleet := m.Store, prefetch.Fleet{}
	if m.Tier != nil {
		objects, fleet = m.Tier.Wrap(m.Store), prefetch.Fleet{Block: tier.Block, Seed: rand.Uint64()}
	}
	cache, err := prefetch.New(objects, prefetch.Config{
		MemoryLimit: m.MemoryLimit,
		PartSize:    int64(s.partSize),
		Concurrency: int(s.concurrency),
		Mode:        prefetch.Mode(s.prefetch),
		ReadTimeout: s.readTimeout,
		Fleet:       fleet,
		Share:       !s.share.off,
		ShareFiles:  shareFiles,
		Successor:   known.Successor,
	})
	if err != nil {
		return err
	}
	m.Cache = cache
	m.closers = append(m.closers, cache.Close)
	return nil
}

// checkNesting refuses a mountpoint in the folder that it shows: the tree would
// contain itself without end.
func checkNesting(source, mountpoint string) error {
	if source == "" {
		return nil
	}
	outer, err := filepath.EvalSymlinks(source)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("source %s: no such folder", source)
		}
		return fmt.Errorf("source %s: %w", source, err)
	}
	inner, err := filepath.EvalSymlinks(mountpoint)
	if err != nil {
		return nil // Mount says what is wrong with it
	}
	outer, errOuter := filepath.Abs(outer)
	inner, errInner := filepath.Abs(inner)
	if errOuter != nil || errInner != nil {
		return errors.Join(errOuter, errInner)
	}
	rel, err := filepath.Rel(outer, inner)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return nil
	}
	return fmt.Errorf("mountpoint %s lies in source %s: choose a directory outside", mountpoint, source)
}

// listen opens the control socket and, where asked for, the metrics: before the
// mount answers, so that whoever finds it there finds them too. Where the mount is
// taken over, the last process may still have its sockets.
func (m *mounted) listen(s *settings, takenOver bool) error {
	m.serveShared(s)
	m.closers = append(m.closers, m.KeepHistory())
	if s.http.Address != "" {
		stop, err := m.Serve(s.http)
		if takenOver && errors.Is(err, syscall.EADDRINUSE) {
			stop, err = m.serveLater(s.http), nil
		}
		if err != nil {
			return err
		}
		m.closers = append(m.closers, stop)
	}
	if m.Mountpoint == "" {
		return nil
	}
	stop, err := m.serveControl()
	if err != nil {
		m.Logger.Warn("mountd status will not find this mount", "err", err)
		return nil
	}
	m.closers = append(m.closers, stop)
	return nil
}

// serveLater serves metrics as soon as the address is free.
func (m *mounted) serveLater(cfg monitor.HTTPConfig) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan func() error, 1)
	go func() {
		for {
			stop, err := m.Serve(cfg)
			if err == nil {
				served <- stop
				return
			}
			select {
			case <-time.After(addressPoll):
			case <-ctx.Done():
				m.Logger.Warn("no metrics were served", "err", err)
				served <- func() error { return nil }
				return
			}
		}
	}()
	return func() error {
		cancel()
		return (<-served)()
	}
}

// ready tells whoever waits that the mount answers.
func (a *app) ready(s *settings, log *switchWriter) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	if a.starter == nil {
		return nil
	}
	if !a.starter.keeps || s.daemon {
		if err := detach(log); err != nil {
			return err
		}
	}
	return a.starter.answers()
}

// notify tells systemd, which may not be there.
func notify(logger *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		logger.Warn("cannot notify systemd", "err", err)
	}
}

// unmount ends the mount; open files are served until ctx ends.
func (m *mounted) unmount(ctx context.Context) error {
	if err := m.Server.Unmount(ctx); err != nil {
		return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
	}
	return nil
}

// close gives everything back, in reverse order.
func (m *mounted) close() {
	for i := len(m.closers) - 1; i >= 0; i-- {
		if err := m.closers[i](); err != nil {
			m.Logger.Warn("cannot close cleanly", "err", err)
		}
	}
}
