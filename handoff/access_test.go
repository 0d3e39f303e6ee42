package handoff

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
)

// The rule is the kernel's for a FUSE mount with default_permissions.
func TestRule(t *testing.T) {
	mounter := Peer{UID: 1000, GID: 1000}
	other := Peer{UID: 2000, GID: 2000, Groups: []uint32{7}}
	own := Rule{Mounter: 1000, MounterGroup: 1000, UID: 1000, GID: 1000, FileMode: 0o644, DirMode: 0o755}
	with := func(change func(*Rule)) Rule { r := own; change(&r); return r }
	for name, tc := range map[string]struct {
		rule Rule
		peer Peer
		want bool
	}{
		"the mounter":                  {own, mounter, true},
		"another":                      {own, other, false},
		"root, without allow_other":    {own, Peer{PID: int32(os.Getpid())}, false},
		"the mounter in another group": {own, Peer{UID: 1000, GID: 5}, false},
		"allow_other":                  {with(func(r *Rule) { r.AllowOther = true }), other, true},
		"modes without others":         {with(func(r *Rule) { r.AllowOther, r.FileMode = true, 0o640 }), other, false},
		"modes for the group":          {with(func(r *Rule) { r.AllowOther, r.FileMode, r.DirMode, r.GID = true, 0o640, 0o710, 7 }), other, true},
		"modes of folders":             {with(func(r *Rule) { r.AllowOther, r.DirMode = true, 0o750 }), other, false},
		"the owner has his own bits":   {with(func(r *Rule) { r.FileMode = 0o044 }), mounter, false},
		"the group has its own bits":   {with(func(r *Rule) { r.AllowOther, r.FileMode, r.GID = true, 0o604, 7 }), other, false},
		"owned by somebody else":       {with(func(r *Rule) { r.UID, r.GID, r.FileMode = 3000, 3000, 0o600 }), mounter, false},
	} {
		if got := tc.rule.MayRead(tc.peer); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if own.MayWrite(other) || !own.MayWrite(mounter) || !with(func(r *Rule) { r.WritableFor = []uint32{2000} }).MayWrite(other) {
		t.Error("writable memory is for the mounter and whom he names")
	}
}

func TestPathWithin(t *testing.T) {
	const table = `22 1 0:21 / / rw - ext4 /dev/root rw
30 22 0:57 / /mnt/models ro - fuse.weightfs s3://models ro
31 22 0:57 /llama /srv/with\040blank ro - fuse.weightfs s3://models ro
32 22 0:58 / /mnt/models/deep ro - fuse.weightfs s3://others ro
33 22 0:59 / /mnt/foreign ro - fuse.sshfs host ro
`
	mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(table), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		minor      uint32
		file, want string
	}{
		{57, "/mnt/models/a/b", "a/b"},
		{57, "/srv/with blank/x", "llama/x"},
		{58, "/mnt/models/deep/x", "x"},
		{57, "/mnt/modelsx/a", ""},
		{59, "/mnt/foreign/a", ""},
		{60, "/mnt/models/a", ""},
	} {
		if got, ok := pathWithin(mounts, 0, tc.minor, tc.file); got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s on 0:%d: %q, %v", tc.file, tc.minor, got, ok)
		}
	}
}

// A file that is on no mount of ours is told so.
func TestFindElsewhere(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(name); err == nil {
		t.Error("found")
	}
}
