package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"weightfs/prefetch/arena"
)

// shareVariable has the process make the files of shared memory for another mountd,
// in namespaces of its own where it may mount: "SIZE UID GID". It sends them through
// descriptor 3, and ends.
const shareVariable = "_WEIGHTFS_SHARE"

// shareFiles makes the files of shared memory: by a helper where this user may not
// mount, or the kernel cannot do without a place to mount at.
func shareFiles(size int64) (arena.Shared, error) {
	s, err := arena.MakeShared(size)
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
		return s, err
	}
	s, helperErr := filesOfHelper(size)
	if helperErr != nil {
		return arena.Shared{}, fmt.Errorf("%w; in a namespace of its own: %w", err, helperErr)
	}
	return s, nil
}

// filesOfHelper starts the helper and takes what it sends.
func filesOfHelper(size int64) (arena.Shared, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return arena.Shared{}, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "share"), os.NewFile(uintptr(pair[1]), "share")
	defer ours.Close()
	defer theirs.Close()
	var said strings.Builder
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d", shareVariable, size, os.Geteuid(), os.Getegid()))
	cmd.Stderr = &said
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		// It maps its user by itself: who may not look into us may not write our
		// children's map either, and we let nobody look into us.
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETUID, unix.CAP_SETGID}
	}
	if err := cmd.Run(); err != nil {
		return arena.Shared{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	buf, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(8))
	_, n, _, _, err := unix.Recvmsg(pair[0], buf, rights, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return arena.Shared{}, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return arena.Shared{}, fmt.Errorf("%d messages: %w", len(messages), errors.Join(err, unix.EPROTO))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 2 {
		return arena.Shared{}, fmt.Errorf("%d descriptors: %w", len(fds), errors.Join(err, unix.EPROTO))
	}
	return arena.Shared{Writable: os.NewFile(uintptr(fds[0]), "arena"), ReadOnly: os.NewFile(uintptr(fds[1]), "arena"), Size: size}, nil
}

// beShareHelper is the helper's part. The descriptors keep their mount after it has
// ended.
func beShareHelper(request string) error {
	var size int64
	var uid, gid int
	if _, err := fmt.Sscan(request, &size, &uid, &gid); err != nil {
		return fmt.Errorf("%s=%s: %w", shareVariable, request, err)
	}
	for _, file := range []struct{ name, text string }{
		{"setgroups", "deny"}, {"uid_map", "0 " + strconv.Itoa(uid) + " 1"}, {"gid_map", "0 " + strconv.Itoa(gid) + " 1"},
	} {
		if uid == 0 {
			break // in the user namespace of its parent
		}
		if err := os.WriteFile("/proc/self/"+file.name, []byte(file.text), 0); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep what is mounted here from others: %w", err)
	}
	s, err := arena.MakeSharedAt("/", size)
	if err != nil {
		return err
	}
	rights := unix.UnixRights(int(s.Writable.Fd()), int(s.ReadOnly.Fd()))
	return unix.Sendmsg(3, []byte{0}, rights, nil, 0)
}
