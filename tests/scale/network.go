package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// network is a switch, in a network namespace of its own, and the machines at it. It
// ends with the namespaces that this program runs in.
type network struct {
	hub      *machine
	machines int // that have an address
}

// machine is a network namespace with one link to the switch. Its processes run on
// this kernel, with all of its files.
type machine struct {
	name    string
	address netip.Addr
	holder  *rig.Process // keeps the namespace; nil for that of this program
}

// newNetwork makes the switch.
func newNetwork(ctx context.Context) (*network, error) {
	hub, err := newMachine(ctx, "hub")
	if err != nil {
		return nil, err
	}
	return &network{hub: hub}, hub.run(ctx, "ip link add name bridge type bridge && ip link set bridge up")
}

// newMachine makes a namespace, whose loopback is up.
func newMachine(ctx context.Context, name string) (*machine, error) {
	holder, err := rig.StartProcess(exec.Command("unshare", "--net", "sleep", "infinity"))
	if err != nil {
		return nil, err
	}
	m := &machine{name: name, holder: holder}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	err = lab.Poll(ctx, startLimit, name+" has no network namespace", func(context.Context) (bool, error) {
		other, err := os.Readlink(filepath.Join("/proc", fmt.Sprint(holder.PID()), "ns/net"))
		return other != own, err
	})
	return m, errors.Join(err, m.run(ctx, "ip link set lo up"))
}

// add makes a machine whose link carries so many bytes per second in each direction.
func (n *network) add(ctx context.Context, name string, rate int64) (*machine, error) {
	m, err := newMachine(ctx, name)
	if err != nil {
		return nil, err
	}
	return m, n.connect(ctx, m, rate)
}

// connect gives a machine its link and an address. Each end of the link sends at that
// rate, in bytes per second: what a machine sends waits there, and what it is sent at
// the switch.
func (n *network) connect(ctx context.Context, m *machine, rate int64) error {
	n.machines++
	m.address = netip.AddrFrom4([4]byte{10, 77, 0, byte(n.machines)})
	port := fmt.Sprintf("port%d", n.machines)
	shape := fmt.Sprintf("root tbf rate %d burst %d latency 100ms", rate*8, burst) // tc takes bits
	pid := os.Getpid()
	if m.holder != nil {
		pid = m.holder.PID()
	}
	return errors.Join(
		n.hub.run(ctx, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d && ip link set %[1]s master bridge up && tc qdisc add dev %[1]s %[3]s", port, pid, shape)),
		m.run(ctx, fmt.Sprintf("ip address add %s/24 dev eth0 && ip link set eth0 up && tc qdisc add dev eth0 %s", m.address, shape)))
}

// under is a command that runs another on the machine.
func (m *machine) under() []string {
	if m.holder == nil {
		return nil
	}
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.holder.PID()), "--"}
}

// command is a program on the machine.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	all := append(append(m.under(), name), args...)
	return exec.Command(all[0], all[1:]...)
}

// run runs a line of shell on the machine.
func (m *machine) run(ctx context.Context, line string) error {
	args := append(m.under(), "sh", "-c", line)
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %s: %w: %s", m.name, line, err, strings.TrimSpace(string(out)))
	}
	return nil
}
