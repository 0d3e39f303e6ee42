// Command weightfs-csi is the CSI driver of weightfs: it shows buckets to the
// pods of a Kubernetes node, as PersistentVolumes and as inline volumes.
//
// Data flow: kubelet calls a method of the node service, package volume reads
// what the volume asks for, and package mounts has a mountd for it, which all
// pods share that ask for the same. The truth is the kernel's table of mounts: a
// driver that follows another one finds its mounts there, and takes them over.
//
// main.go has flags and signals, keep.go the process that starts another one when
// that which serves has died, server.go the listener, and identity.go, controller.go
// and node.go the three services of the specification.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"weightfs/cmd/cli"
	"weightfs/cmd/csi/mounts"
	"weightfs/cmd/csi/volume"
)

func main() { os.Exit(run()) }

func run() int {
	// Secrets pass through our memory: no core may be dumped of it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "weightfs-csi: forbid core dumps:", err)
		return cli.ExitFailure
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newSettings()
	return max(cli.Execute(ctx, newCommand(s), os.Args[1:], os.LookupEnv, os.Stderr), s.exit)
}

// settings are the flags.
type settings struct {
	endpoint  string
	nodeID    string
	stateDir  string
	mountd    string
	maxMounts int
	policy    volume.Policy
	logLevel  cli.LogLevel

	exit int // the exit code where another process has said why
}

func newSettings() *settings { return &settings{policy: volume.Policy{MemoryLimit: 2 << 30}} }

func newCommand(s *settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "weightfs-csi [flags]",
		Short: "Show S3 buckets to the pods of a Kubernetes node",
		Long: `weightfs-csi serves the Container Storage Interface at a socket of kubelet's.
Each distinct source, with its flags and credentials, is served by one mountd,
which all pods of the node share.

Variables of mountd's flags, such as WEIGHTFS_ENDPOINT_URL, are the defaults of
all volumes, and so are the AWS variables.`,
		Version: cli.Version(),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := s.check(); err != nil {
				return err
			}
			if isServer() {
				return s.serve(cmd.Context())
			}
			s.exit, err = keep(cmd.Context(), s.logLevel.Logger(os.Stderr))
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.endpoint, "endpoint", "unix:///csi/csi.sock", "`URL` of the socket to serve at")
	flags.StringVar(&s.nodeID, "node-id", "", "name of this node in the cluster")
	flags.StringVar(&s.stateDir, "state-dir", "/var/lib/weightfs/csi", "`folder` for the mounts that pods share")
	flags.StringVar(&s.mountd, "mountd", "", "`path` of mountd; beside this program, or else in PATH")
	flags.IntVar(&s.maxMounts, "max-mounts", 0, "most mounts at once, each with a mountd; 0 is as many as the cgroup's limit has room for at --memory-limit")
	flags.Var(&s.policy.MemoryLimit, "memory-limit", "memory limit of a mount whose volume sets none, and the most that an inline volume may set")
	flags.BoolVar(&s.policy.InlineNodeCredentials, "inline-node-credentials", false, "lend the node's credentials to inline volumes, whose authors are users of the cluster")
	s.logLevel.Register(flags)
	return cmd
}

// check completes the settings and says what does not fit.
func (s *settings) check() error {
	if s.nodeID == "" {
		return cli.Usagef("--node-id is missing")
	}
	if !filepath.IsAbs(s.stateDir) {
		return cli.Usagef("--state-dir %q is not absolute", s.stateDir)
	}
	if s.policy.MemoryLimit == 0 {
		return cli.Usagef("--memory-limit: must be above 0")
	}
	if s.maxMounts < 0 {
		return cli.Usagef("--max-mounts %d: must not be below 0", s.maxMounts)
	}
	if limit, limited := cli.CgroupLimit(os.DirFS("/")); limited && s.maxMounts == 0 {
		s.maxMounts = mountsWithin(limit, int64(s.policy.MemoryLimit))
	}
	var err error
	if s.mountd == "" {
		s.mountd, err = findMountd()
	} else {
		s.mountd, err = exec.LookPath(s.mountd)
	}
	if err != nil {
		return fmt.Errorf("find mountd: %w", err)
	}
	return nil
}

// besideLimit is what a mountd takes beside its memory limit.
const besideLimit = 128 << 20

// mountsWithin is how many mounts of that memory limit fit into so many bytes: one
// at least, whose mountd lowers its limit then.
func mountsWithin(bytes, limit int64) int {
	return int(max(1, bytes/(limit+besideLimit)))
}

// findMountd finds the program that volumes are served by.
func findMountd() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), "mountd")); err == nil {
		return beside, nil
	}
	return exec.LookPath("mountd")
}

// serve serves until ctx ends. The mountds go on.
func (s *settings) serve(ctx context.Context) error {
	logger := s.logLevel.Logger(os.Stderr)
	socket, err := listen(s.endpoint) // before mounts are taken over, which end with us if it fails
	if err != nil {
		return err
	}
	defer socket.Close()
	pool, err := mounts.Open(mounts.Config{Dir: s.stateDir, Mountd: s.mountd, MaxMounts: s.maxMounts, Logger: logger})
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := errors.Join(socket.show(), noteServing()); err != nil {
		return err
	}
	return newServer(&driver{pool: pool, policy: s.policy, nodeID: s.nodeID, logger: logger}).serve(ctx, socket)
}
