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
	for _, option := range moreOptions(cfg) {
		switch option {
		case "noexec":
			flags |= unix.MS_NOEXEC
		case "nosymfollow":
			flags |= unix.MS_NOSYMFOLLOW
		default:
			options = append(options, option)
		}
	}
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

// moreOptions are those of cfg.Options that this kernel can be asked for. What it
// does not know, it refuses by itself.
func moreOptions(cfg Config) []string {
	if len(cfg.Options) == 0 {
		return nil
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		cfg.Logger.Warn("cannot tell whether the kernel has SELinux", "err", err)
	}
	return fittingOptions(cfg, string(known))
}

// fittingOptions is moreOptions for a kernel with these types of file systems.
func fittingOptions(cfg Config, known string) []string {
	options := []string{}
	for _, option := range cfg.Options {
		name, _, _ := strings.Cut(option, "=")
		if strings.HasSuffix(name, "context") && !strings.Contains(known, "\tselinuxfs\n") {
			cfg.Logger.Warn("left out, since the kernel has no SELinux", "option", option)
			continue
		}
		options = append(options, option)
	}
	return options
}

// mountByHelper has fusermount3, which has the right to mount, do it and send
// us the descriptor.
func mountByHelper(dir string, cfg Config) (fd int, err error) {
	ours, theirs, err := SocketPair()
	if err != nil {
		return -1, err
	}
	defer ours.Close()
	options := append(mountOptions(cfg), "ro", "nosuid", "nodev",
		"subtype=weightfs", "fsname="+escapeOption(cfg.Source))
	options = append(options, moreOptions(cfg)...)
	cmd := exec.Command("fusermount3", "-o", strings.Join(options, ","), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	err = runHelper(cmd)
	theirs.Close() // so that one which sends nothing is not waited for
	if err != nil {
		return -1, err
	}
	_, fds, err := receiveDescriptors(ours)
	if err != nil {
		// It is mounted, and nobody can serve it.
		return -1, errors.Join(fmt.Errorf("receive from fusermount3: %w", err), unmountByHelper(dir, true))
	}
	return fds[0], nil
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
