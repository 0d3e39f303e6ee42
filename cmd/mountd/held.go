package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	weightfs "weightfs/fs"
)

// systemd's store of descriptors holds the mount beside the keeper: when the keeper
// is killed, systemd starts another, which inherits it (sd_pid_notify_with_fds(3)).

const (
	// heldName is what our descriptors are called in the store.
	heldName = "weightfs"
	// firstListened is the first descriptor that systemd passes.
	firstListened = 3
	// storeVariable says how many descriptors systemd holds for us. From 254 on it
	// says so by itself; before, the unit has to.
	storeVariable = "FDSTORE"
)

// held is a mount that systemd has held, nil where there is none.
type held struct {
	mount  *weightfs.Attachment
	source string // what is known of it
	served int    // by how many processes
}

// systemdHolds tells whether systemd has a store of descriptors for this process.
func systemdHolds() bool {
	n, err := strconv.Atoi(os.Getenv(storeVariable))
	return err == nil && n > 0 && os.Getenv("NOTIFY_SOCKET") != ""
}

// inherit finds the mount that systemd has held. What cannot be taken over is let go:
// it is dead then, and taken away by the mount that comes in its place.
func (a *app) inherit(logger *slog.Logger) {
	files := listened()
	if len(files) == 0 {
		return
	}
	var err error
	if a.held.mount, a.held.source, a.held.served, err = weightfs.Held(files); err != nil {
		logger.Error("the mount of the last mountd cannot be taken over, and ends", "err", err)
		letGo(logger)
	}
}

// listened are our descriptors among those that systemd passes, which no child
// inherits.
func listened() (files []*os.File) {
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	ours := os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	for _, variable := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(variable) // it fails for no name of these
	}
	if err != nil || !ours {
		return nil
	}
	for i := range n {
		fd := firstListened + i
		unix.CloseOnExec(fd)
		if i < len(names) && names[i] == heldName {
			files = append(files, os.NewFile(uintptr(fd), heldName))
		}
	}
	return files
}

// holdBySystemd has systemd hold the mount from now on.
func holdBySystemd(mount *weightfs.Attachment, source string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("have systemd hold the mount: %w", err)
		}
	}()
	files, err := mount.Hold(source)
	if err != nil {
		return err
	}
	fds := make([]int, len(files))
	for i, file := range files {
		defer file.Close()
		fds[i] = int(file.Fd())
	}
	name := os.Getenv("NOTIFY_SOCKET")
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"}) // @ is an abstract one
	if err != nil {
		return err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn() // WriteMsgUnix refuses a datagram socket that is connected
	if err != nil {
		return err
	}
	writeErr := raw.Write(func(fd uintptr) bool {
		err = unix.Sendmsg(int(fd), []byte("FDSTORE=1\nFDNAME="+heldName), unix.UnixRights(fds...), nil, 0)
		return !errors.Is(err, unix.EAGAIN)
	})
	return errors.Join(writeErr, err)
}

// letGo has systemd hold the mount no more.
func letGo(logger *slog.Logger) {
	if _, err := daemon.SdNotify(false, "FDSTOREREMOVE=1\nFDNAME="+heldName); err != nil {
		logger.Warn("cannot notify systemd", "err", err)
	}
}
