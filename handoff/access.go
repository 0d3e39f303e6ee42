package handoff

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a connection, as the kernel tells: the
// credentials are those it had when it connected.
type Peer struct {
	PID      int32 // 0: of another PID namespace
	UID, GID uint32
	Groups   []uint32
}

// PeerOf asks the kernel who is at the other end of a connection.
func PeerOf(conn *net.UnixConn) (p Peer, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return p, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		p = Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}
		p.Groups, err = groupsOf(fd)
	})
	if err == nil {
		err = controlErr
	}
	if err != nil {
		return p, fmt.Errorf("credentials of the other end of a socket: %w", err)
	}
	return p, nil
}

// groupsOf are the supplementary groups of the other end.
func groupsOf(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 1<<16) // as many as a process can have
	size := uint32(4 * len(groups))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
		uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil, errno
	}
	return slices.Clone(groups[:size/4]), nil
}

// Rule says who may read a mount. It is the kernel's for a FUSE mount with
// default_permissions, on which owner and modes are the same everywhere.
type Rule struct {
	Mounter, MounterGroup uint32 // who mounted
	AllowOther            bool   // others may come in at all
	UID, GID              uint32 // who owns everything
	FileMode, DirMode     uint32
	// WritableFor may have the memory writable, as DMA takes, beside the mounter.
	WritableFor []uint32
}

// MayRead says whether the mount would let the peer read its files.
func (r Rule) MayRead(p Peer) bool {
	if p.UID != r.Mounter || p.GID != r.MounterGroup {
		if !r.AllowOther {
			return false
		}
	}
	return r.permits(p, r.FileMode, 4) && r.permits(p, r.DirMode, 1) || p.overrides()
}

// MayWrite says whether the peer may have the memory writable.
func (r Rule) MayWrite(p Peer) bool {
	return p.UID == r.Mounter || slices.Contains(r.WritableFor, p.UID)
}

// permits checks permission bits: those of the class that the peer is in alone.
func (r Rule) permits(p Peer, mode, bit uint32) bool {
	switch {
	case p.UID == r.UID:
		mode >>= 6
	case p.GID == r.GID || slices.Contains(p.Groups, r.GID):
		mode >>= 3
	}
	return mode&bit != 0
}

// overrides says whether the peer may read whatever the modes say: root that has
// kept CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH.
func (p Peer) overrides() bool {
	if p.UID != 0 {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "\nCapEff:\t")
	text, _, _ := strings.Cut(rest, "\n")
	effective, err := strconv.ParseUint(text, 16, 64)
	return err == nil && effective&(1<<unix.CAP_DAC_OVERRIDE|1<<unix.CAP_DAC_READ_SEARCH) != 0
}
