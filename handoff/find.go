package handoff

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// FolderVariable names the folder of the sockets where it is not the usual one, as
// in a container.
const FolderVariable = "WEIGHTFS_HANDOFF_DIR"

// fsType is how the kernel's table of mounts calls our mounts.
const fsType = "fuse.weightfs"

// Folder is where a daemon of this user has its sockets.
func Folder() (string, error) {
	if dir := os.Getenv(FolderVariable); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/run/weightfs-handoff", nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "weightfs-handoff"), nil
	}
	return "", errors.New("XDG_RUNTIME_DIR is not set")
}

// SocketName is the name of a mount's socket in the folder, by the device number
// of the mount, which is the same in every container: "0-57.sock".
func SocketName(major, minor uint32) string { return fmt.Sprintf("%d-%d.sock", major, minor) }

// Place is where a file lies.
type Place struct {
	Socket string // of its mount
	Path   string // within the mount
}

// ErrNoMount says that a file lies on no mount of weightfs.
var ErrNoMount = errors.New("not on a mount of weightfs")

// Find says where the file called name lies. Links are followed. The error is
// ErrNoMount, os.ErrNotExist where its mount has no socket here, or the file's own.
func Find(name string) (Place, error) {
	m, err := ReadMounts()
	if err != nil {
		return Place{}, err
	}
	return m.Find(name)
}

// Mounts is the kernel's table of mounts, for who finds many files: of a host with
// thousands of mounts it takes milliseconds to read. Safe for concurrent use.
type Mounts struct{ all []*mountinfo.Info }

// ReadMounts reads the table as it is now.
func ReadMounts() (*Mounts, error) {
	all, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the table of mounts: %w", err)
	}
	return &Mounts{all}, nil
}

// Find is the function of that name, for mounts that were there when the table was
// read.
func (m *Mounts) Find(name string) (Place, error) {
	abs, err := filepath.Abs(name)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return Place{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(abs, &st); err != nil {
		return Place{}, fmt.Errorf("stat %s: %w", abs, err)
	}
	major, minor := unix.Major(st.Dev), unix.Minor(st.Dev)
	path, ok := pathWithin(m.all, major, minor, abs)
	if !ok {
		return Place{}, fmt.Errorf("%s: %w", name, ErrNoMount)
	}
	for _, dir := range folders() {
		socket := filepath.Join(dir, SocketName(major, minor))
		if _, err := os.Lstat(socket); err == nil {
			return Place{socket, path}, nil
		}
	}
	return Place{}, fmt.Errorf("%s: its mount shares no memory here: %w", name, os.ErrNotExist)
}

// folders are where the sockets may be that this process can reach: root's and its
// own.
func folders() []string {
	all := []string{"/run/weightfs-handoff"}
	if own, err := Folder(); err == nil && own != all[0] {
		all = append([]string{own}, all...)
	}
	return all
}

// pathWithin is the path of a file within our mount of a device, by a table of
// mounts. The innermost mount that has the file counts, of equal ones the last.
func pathWithin(mounts []*mountinfo.Info, major, minor uint32, file string) (path string, ok bool) {
	longest := -1
	for _, m := range mounts {
		if uint32(m.Major) != major || uint32(m.Minor) != minor || m.FSType != fsType {
			continue
		}
		rest, err := filepath.Rel(m.Mountpoint, file)
		if err != nil || rest == ".." || strings.HasPrefix(rest, "../") || len(m.Mountpoint) < longest {
			continue
		}
		longest, ok = len(m.Mountpoint), true
		path = strings.TrimPrefix(filepath.Join(m.Root, rest), "/")
	}
	return path, ok
}
