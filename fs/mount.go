package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// mountDirect opens /dev/fuse and mounts it at dir, which takes root:
// unix.EPERM otherwise.
func mountDirect(dir string, cfg Config) (fd int, err error) {
	if os.Geteuid() != 0 {
		return -1, unix.EPERM
	}
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := append([]string{
		fmt.Sprintf("fd=%d", fd),
		fmt.Sprintf("rootmode=%o", unix.S_IFDIR),
		fmt.Sprintf("user_id=%d", os.Geteuid()),
		fmt.Sprintf("group_id=%d", os.Getegid()),
	}, mountOptions(cfg)...)
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_RDONLY)
	if err := unix.Mount(cfg.Source, dir, fsType, flags, strings.Join(options, ",")); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// mountOptions are what the kernel and fusermount3 both understand.
func mountOptions(cfg Config) []string {
	options := []string{fmt.Sprintf("max_read=%d", maxRead), "default_permissions"}
	if cfg.AllowOther {
		options = append(options, "allow_other")
	}
	return options
}

// mountByHelper has fusermount3, which has the right to mount, do it and send
// us the descriptor.
func mountByHelper(dir string, cfg Config) (fd int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket for fusermount3: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer ours.Close()
	options := append(mountOptions(cfg), "ro", "nosuid", "nodev",
		"subtype=weightfs", "fsname="+escapeOption(cfg.Source))
	cmd := exec.Command("fusermount3", "-o", strings.Join(options, ","), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	err = runHelper(cmd)
	theirs.Close() // so that one which sends nothing is not waited for
	if err != nil {
		return -1, err
	}
	fd, err = receiveDescriptor(pair[0])
	if err != nil {
		// It is mounted, and nobody can serve it.
		return -1, errors.Join(err, unmountByHelper(dir, true))
	}
	return fd, nil
}

// unmountByHelper has fusermount3 unmount dir; lazy detaches it.
func unmountByHelper(dir string, lazy bool) error {
	args := []string{"-u", "--", dir}
	if lazy {
		args = append([]string{"-z"}, args...)
	}
	return runHelper(exec.Command("fusermount3", args...))
}

// runHelper runs a fusermount3. What it says of a busy mount becomes
// unix.EBUSY.
func runHelper(cmd *exec.Cmd) error {
	var said strings.Builder
	cmd.Stderr = &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	reason := strings.TrimSpace(said.String())
	// fusermount3 has one exit code for everything, and no translations.
	if strings.Contains(reason, "Device or resource busy") {
		err = unix.EBUSY
	}
	if reason == "" {
		return fmt.Errorf("fusermount3: %w", err)
	}
	return fmt.Errorf("%s: %w", reason, err)
}

// escapeOption protects what separates options.
func escapeOption(s string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s)
}

// receiveDescriptor takes the one descriptor that waits in a socket.
func receiveDescriptor(socket int) (int, error) {
	buf, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("receive from fusermount3: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("fusermount3 sent %d messages: %w", len(messages), errors.Join(err, unix.EPROTO))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("fusermount3 sent %d descriptors: %w", len(fds), errors.Join(err, unix.EPROTO))
	}
	return fds[0], nil
}
