package fs

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/zeebo/xxh3"

	"weightfs/fs/state"
	"weightfs/remote"
)

const (
	// blockSize is what stat recommends for reads. Programs that size their
	// buffers by it make few system calls, and one that wants eight bytes does
	// not read a whole megabyte for them.
	blockSize = 128 << 10
	// lastingTimeout is for what never changes: the attributes of a version.
	lastingTimeout = 365 * 24 * time.Hour
)

// identity is what makes two look-ups find the same inode: the key and, for
// files and links, the version. The kernel's pages of an old version can so
// never be taken for those of a new one.
type identity struct {
	key, version string
	kind         remote.Kind
}

func identityOf(e remote.Entry) identity {
	return identity{key: e.Key, version: e.Version, kind: e.Kind}
}

// inodeNumber is what stat and readdir show, the same in each run. It is a
// hash, and programs alone see it: the kernel knows a node by its own number.
func (i identity) inodeNumber() uint64 {
	if i.key == "" {
		return fuse.FUSE_ROOT_ID
	}
	ino := xxh3.HashStringSeed(i.version, xxh3.HashString(i.key)+uint64(i.kind))
	// 0 and all ones mean "none" to readers and to go-fuse, 1 is the root.
	return min(max(ino, fuse.FUSE_ROOT_ID+1), 1<<64-2)
}

// InodeNumber is the number of an entry's inode, as stat shows it. It differs between
// versions.
func InodeNumber(e remote.Entry) uint64 { return identityOf(e).inodeNumber() }

// node is an inode that the kernel knows.
type node struct {
	id      uint64
	kept    state.Ref    // guarded by table.mu; where the next daemon finds it
	lookups uint64       // guarded by table.mu; what FORGET counts down, or more
	entry   remote.Entry // guarded by table.mu; its identity does not change
	stale   atomic.Bool  // the version was found to be gone, after its last look-up
	backing backing
	// What of backing is kept; guarded by table.mu.
	keptOpens, keptBacking int32
}

// table holds the inodes that the kernel knows, from LOOKUP to FORGET. Numbers
// are not used twice, so that a late request cannot meet another object. What is
// in it is kept for the next daemon: a reference before the kernel has it, and its
// end after that, so that a crash between the two leaves one too many and none too
// few.
type table struct {
	keep *state.File // nil: this is the only daemon

	mu      sync.Mutex
	byID    map[uint64]*node   // guarded by mu
	byIdent map[identity]*node // guarded by mu
	lastID  uint64             // guarded by mu
	unkept  int64              // guarded by mu; nodes for which keep had no room
}

// newTable returns a table with the root directory, and with what is kept.
func newTable(root remote.Entry, keep *state.File) *table {
	n := &node{id: fuse.FUSE_ROOT_ID, entry: root, lookups: 1}
	return &table{
		keep:    keep,
		byID:    map[uint64]*node{n.id: n},
		byIdent: map[identity]*node{identityOf(root): n},
		lastID:  n.id,
	}
}

// restore has the table be as it was when the last daemon died. It returns how
// many nodes there are, and how many were damaged.
func (t *table) restore() (nodes, damaged int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastID = t.keep.LastNode()
	damaged = t.keep.Restore(func(ref state.Ref, kept state.Node) {
		n := &node{id: kept.ID, kept: ref, lookups: kept.Lookups, entry: remote.Entry{
			Object: remote.Object{Key: kept.Key, Version: kept.Version, Size: kept.Size, ModTime: kept.ModTime, Archived: kept.Archived},
			Kind:   remote.Kind(kept.Kind), Target: kept.Target,
		}}
		n.backing.opens, n.backing.id = int(kept.Opens), kept.Backing
		n.keptOpens, n.keptBacking = kept.Opens, kept.Backing
		if twice, ok := t.byID[n.id]; ok { // it was being kept anew
			n.lookups = max(n.lookups, twice.lookups)
			t.keep.SetLookups(ref, n.lookups)
			t.keep.Remove(twice.kept)
		}
		t.byID[n.id] = n
		t.byIdent[identityOf(n.entry)] = n
	})
	return len(t.byID), damaged
}

// lookup returns the number of the node for e, counting one reference of the
// kernel's.
func (t *table) lookup(e remote.Entry) uint64 {
	ident := identityOf(e)
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.byIdent[ident]
	if !ok {
		t.lastID++
		t.keep.SetLastNode(t.lastID)
		n = &node{id: t.lastID}
		t.byID[n.id] = n
		t.byIdent[ident] = n
	}
	n.lookups++
	t.update(n, e, !ok)
	n.stale.Store(false)
	return n.id
}

// update gives a node, which may be fresh, an entry of its identity, and keeps it.
// mu is held.
func (t *table) update(n *node, e remote.Entry, fresh bool) {
	old := n.entry
	n.entry = e
	if t.keep == nil {
		return
	}
	if n.kept != 0 && e.Size == old.Size && e.Target == old.Target {
		t.keep.SetLookups(n.kept, n.lookups)
		if !e.ModTime.Equal(old.ModTime) || e.Archived != old.Archived {
			t.keep.SetModified(n.kept, e.ModTime, e.Archived)
		}
		return
	}
	before := n.kept
	n.kept = t.keep.Add(state.Node{
		ID: n.id, Lookups: n.lookups, Key: e.Key, Version: e.Version, Target: e.Target, Kind: uint8(e.Kind),
		Size: e.Size, ModTime: e.ModTime, Archived: e.Archived, Opens: n.keptOpens, Backing: n.keptBacking,
	})
	t.keep.Remove(before)
	switch wasKept := before != 0 || fresh; {
	case wasKept && n.kept == 0:
		t.unkept++
	case !wasKept && n.kept != 0:
		t.unkept--
	}
}

// keepBacking records how the handles of a node are read.
func (t *table) keepBacking(n *node, opens int, id int32) {
	if t.keep == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n.keptOpens, n.keptBacking = int32(opens), id
	t.keep.SetBacking(n.kept, n.keptOpens, id)
}

// forget takes back count references.
func (t *table) forget(id, count uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.byID[id]
	if !ok || id == fuse.FUSE_ROOT_ID {
		return
	}
	n.lookups -= min(count, n.lookups)
	t.keep.SetLookups(n.kept, n.lookups)
	if n.lookups == 0 {
		t.keep.Remove(n.kept)
		if n.kept == 0 && t.keep != nil {
			t.unkept--
		}
		delete(t.byID, id)
		delete(t.byIdent, identityOf(n.entry))
	}
}

// node returns the node with that number and its entry.
func (t *table) node(id uint64) (*node, remote.Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.byID[id]
	if !ok {
		return nil, remote.Entry{}, false
	}
	return n, n.entry, true
}

// size is how many nodes there are, and how many of them the next daemon will not
// know.
func (t *table) size() (nodes int, unkept int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID), t.unkept
}

// owner is who and what the tree shows as owner and permissions.
type owner struct {
	uid, gid          uint32
	fileMode, dirMode uint32
	born              time.Time // stands in for a missing modification time
}

// fill sets the attributes of e.
func (o owner) fill(e remote.Entry, out *fuse.Attr) {
	*out = fuse.Attr{
		Ino:     identityOf(e).inodeNumber(),
		Size:    uint64(e.Size),
		Blocks:  uint64(e.Size+511) / 512,
		Mode:    o.mode(e.Kind),
		Nlink:   1, // for directories too: find must not count subdirectories by it
		Owner:   fuse.Owner{Uid: o.uid, Gid: o.gid},
		Blksize: blockSize,
	}
	if e.Kind == remote.KindLink {
		out.Size = uint64(len(e.Target))
	}
	modified := e.ModTime
	if modified.IsZero() {
		modified = o.born
	}
	out.SetTimes(&modified, &modified, &modified)
}

// mode is the file type and the permission bits of an entry of that kind.
func (o owner) mode(kind remote.Kind) uint32 {
	switch kind {
	case remote.KindDir:
		return syscall.S_IFDIR | o.dirMode
	case remote.KindLink:
		return syscall.S_IFLNK | 0o777
	default:
		return syscall.S_IFREG | o.fileMode
	}
}
