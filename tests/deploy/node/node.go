// Package node makes nodes for the tests of deployment: the programs of this
// machine, with a root, mounts, processes, a host name and control groups of their
// own. A node can run an automounter, or systemd as its init. Whatever is done in
// one goes with it. The network is this machine's, so that its servers are reached.
package node

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weightfs/tests/rig"
)

//go:embed boot.sh
var scripts embed.FS

// limit bounds whatever is waited for: past it somebody hangs.
const limit = 3 * time.Minute

// Node is a running node. It ends with its test.
type Node struct {
	// Shared is a folder that the node and the test have in common, under the
	// same path.
	Shared string

	init *rig.Process
	pid  int // of the node's first process, as seen from here
}

// Options say how a node begins.
type Options struct {
	// Files are written before the node starts, by their paths. A content that
	// begins with "-> " makes a link.
	Files map[string]string
	// Init is the command of the first process; nil is one that does nothing.
	Init []string
}

// Start starts a node for the length of the test. mountd is at
// /usr/local/bin/mountd, and where mount(8) looks for its helpers.
func Start(tb testing.TB, opts Options) *Node {
	tb.Helper()
	scratch := tb.TempDir()
	n := &Node{Shared: tb.TempDir()}
	if err := n.prepare(scratch, opts.Files); err != nil {
		tb.Fatal(err)
	}
	groups := joinGroups(tb)
	script, err := scripts.ReadFile("boot.sh")
	if err != nil {
		tb.Fatal(err)
	}
	if opts.Init == nil {
		opts.Init = []string{"sh", "-c", "sleep infinity & wait"} // which reaps
	}
	args := []string{"--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--cgroup",
		"sh", "-c", string(script), "boot.sh", scratch, n.Shared}
	cmd := exec.Command("sh", append([]string{"-c", groups.enter, "unshare"}, append(args, opts.Init...)...)...)
	cmd.Env = append(os.Environ(), "HIERARCHIES="+groups.hierarchies, "UNIFIED="+groups.unified)
	if n.init, err = rig.StartProcess(cmd); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.init.Kill(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("the node's init wrote:\n%s", n.init.Output())
		}
	})
	n.awaitInit(tb)
	return n
}

// prepare writes what lies over the root.
func (n *Node) prepare(scratch string, files map[string]string) error {
	built := os.Getenv("WEIGHTFS_BIN")
	if built == "" {
		return fmt.Errorf("WEIGHTFS_BIN names no folder with the programs (make deploy-test does)")
	}
	for _, dir := range []string{"own", "files/usr/local/bin", "files/usr/sbin"} {
		if err := os.MkdirAll(filepath.Join(scratch, dir), 0o755); err != nil {
			return err
		}
	}
	mountd := filepath.Join(scratch, "files/usr/local/bin/mountd")
	if out, err := exec.Command("cp", filepath.Join(built, "mountd"), mountd).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for _, helper := range []string{"mount.weightfs", "mount.fuse.weightfs"} {
		if err := os.Symlink("/usr/local/bin/mountd", filepath.Join(scratch, "files/usr/sbin", helper)); err != nil {
			return err
		}
	}
	for name, content := range files {
		path := filepath.Join(scratch, "files", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		write := func() error { return os.WriteFile(path, []byte(content), 0o644) }
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			write = func() error { return os.Symlink(target, path) }
		}
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// awaitInit waits until the first process is what it is to be.
func (n *Node) awaitInit(tb testing.TB) {
	tb.Helper()
	rig.Await(tb, "the node starts", func() bool {
		select {
		case <-n.init.Done():
			tb.Fatalf("the node ended: %s", n.init.Output())
		default:
		}
		parent := n.init.PID() // sh, which becomes unshare
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
		if err != nil {
			return false
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(children)))
		if err != nil {
			return false
		}
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		n.pid = pid
		return err == nil && strings.Contains(string(environ), "container=weightfs-test")
	})
}

// Command returns a command that runs in the node.
func (n *Node) Command(name string, args ...string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(n.pid), "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--", name}, args...)
}

// Run runs a command in the node to its end.
func (n *Node) Run(tb testing.TB, name string, args ...string) rig.Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), limit)
	defer cancel()
	command := n.Command(name, args...)
	result, err := rig.Run(ctx, []string{"LC_ALL=C"}, command[0], command[1:]...)
	if err != nil {
		tb.Fatal(err)
	}
	return result
}

// Succeed is Run of a command that must succeed, and returns its output.
func (n *Node) Succeed(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	result := n.Run(tb, name, args...)
	if result.Code != 0 {
		tb.Fatalf("%s %s: exit %d: %s%s", name, strings.Join(args, " "), result.Code, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

// Start starts a command in the node that ends with the test, if not before.
func (n *Node) Start(tb testing.TB, name string, args ...string) *rig.Process {
	tb.Helper()
	command := n.Command(name, args...)
	process, err := rig.StartProcess(exec.Command(command[0], command[1:]...))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := process.Kill(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("%s wrote:\n%s", name, process.Output())
		}
	})
	return process
}

// Mounts returns the types of what is mounted at dir in the node, the lowest first.
func (n *Node) Mounts(tb testing.TB, dir string) []string {
	tb.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", n.pid))
	if err != nil {
		tb.Fatal(err)
	}
	types := []string{}
	for line := range strings.Lines(string(table)) {
		mount, super, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(mount), strings.Fields(super)
		if len(fields) > 4 && fields[4] == dir && len(kind) > 0 {
			types = append(types, kind[0])
		}
	}
	return types
}

// Processes returns the ids, as the node has them, of its processes called so.
func (n *Node) Processes(tb testing.TB, name string) []string {
	tb.Helper()
	return strings.Fields(n.Run(tb, "pgrep", "-x", name).Stdout)
}
