package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"weightfs/handoff"
	"weightfs/prefetch"
)

// share says whether other processes may map the cache's memory. It implements
// pflag.Value.
type share struct{ off bool }

func (s *share) Set(text string) error {
	switch text {
	case "auto", "off":
		s.off = text == "off"
		return nil
	}
	return fmt.Errorf("%q is neither auto nor off", text)
}

func (s *share) String() string {
	if s.off {
		return "off"
	}
	return "auto"
}

func (s *share) Type() string { return "mode" }

// dmaUser is the user who may have the memory writable beside the mounter. It
// implements pflag.Value.
type dmaUser struct{ uids []uint32 }

func (d *dmaUser) Set(text string) error {
	if text == "" {
		d.uids = nil
		return nil
	}
	uid, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not the number of a user", text)
	}
	d.uids = []uint32{uint32(uid)}
	return nil
}

func (d *dmaUser) String() string {
	if len(d.uids) == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(d.uids[0]), 10)
}

func (d *dmaUser) Type() string { return "UID" }

// serveShared leases the cache's memory to other processes, if it can be mapped,
// and says at the start whether it can. Nothing else depends on it.
func (m *mounted) serveShared(s *settings) {
	shared, err := m.Cache.Shared()
	if err != nil {
		m.Logger.Info("the cache's memory is of this process alone", "why", err)
		return
	}
	listener, socket, err := m.listenShared(s.allowOther)
	if err != nil {
		m.Logger.Warn("no other process will find the cache's memory", "err", err)
		return
	}
	server, err := handoff.Serve(listener, handoff.Config{
		Memory:    shared,
		Watermark: m.Cache.Watermark,
		Keep:      m.Cache.Keep,
		MaxLength: prefetch.MaxView,
		Store:     &leaseStore{names: m.Names, cache: m.Cache, byKernel: func() bool { return m.Server.Kernel().Passthrough }, failed: m.Server.Failed},
		Rule: handoff.Rule{
			Mounter: uint32(os.Geteuid()), MounterGroup: uint32(os.Getegid()), AllowOther: s.allowOther,
			UID: s.uid, GID: s.gid, FileMode: uint32(s.fileMode), DirMode: uint32(s.dirMode), WritableFor: s.dmaUser.uids,
		},
		Defect: m.Server.Defect,
		Logger: m.Logger,
	})
	if err != nil {
		m.Logger.Warn("no other process gets the cache's memory", "err", errors.Join(err, listener.Close()))
		return
	}
	m.Handoff = server
	m.closers = append(m.closers, server.Close)
	m.Logger.Info("other processes can map the cache's memory, in huge pages", "socket", socket)
}

// listenShared opens the socket that clients of the mount find.
func (m *mounted) listenShared(others bool) (*net.UnixListener, string, error) {
	major, minor, ok := m.Server.DeviceNumber()
	if !ok {
		return nil, "", errors.New("mounted by somebody else, as which device is not known")
	}
	dir, err := handoff.Folder()
	if err != nil {
		return nil, "", err
	}
	if err := makeOwn(dir); err != nil {
		return nil, "", err
	}
	socket := filepath.Join(dir, handoff.SocketName(major, minor))
	// No other mount has the number: what is left is of one that crashed.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", err
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return nil, "", err
	}
	mode := os.FileMode(0o600)
	if others {
		mode = 0o666 // the server asks who it is
	}
	if err := os.Chmod(socket, mode); err != nil {
		return nil, "", errors.Join(err, listener.Close())
	}
	return listener, socket, nil
}

// makeOwn makes the folder of the sockets, or sees to it that nobody else could
// have put a socket of theirs in place of ours there.
func makeOwn(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder of this user that nobody else may write", dir)
	}
	return nil
}
