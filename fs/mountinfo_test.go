package fs

import (
	"bytes"
	"strings"
	"testing"
)

func TestFindMount(t *testing.T) {
	text := strings.Join([]string{
		`22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw`,
		`36 22 0:42 / /mnt/models ro,nosuid,nodev - fuse.weightfs s3://old ro`,
		`37 36 0:43 / /mnt/models ro,nosuid,nodev master:3 propagate_from:2 - fuse.weightfs s3://new/a\040b ro`,
		`38 22 1:44 / /mnt/with\040blank\134 rw - tmpfs tmpfs rw`,
	}, "\n")
	cases := []struct {
		dir, source, device, connection string
		ok                              bool
	}{
		{dir: "/mnt/models", ok: true, source: "s3://new/a b", device: "0:43", connection: "43"},
		{dir: `/mnt/with blank\`, ok: true, source: "tmpfs", device: "1:44", connection: "1048620"},
		{dir: "/", ok: true, source: "/dev/sda1", device: "8:1", connection: "8388609"},
		{dir: "/mnt"},
	}
	for _, c := range cases {
		got, ok, err := findMount(strings.NewReader(text), c.dir)
		if err != nil || ok != c.ok || got.source != c.source {
			t.Errorf("at %s: %+v, %t, %v", c.dir, got, ok, err)
		}
		if ok && (got.device() != c.device || got.connection() != c.connection) {
			t.Errorf("at %s: device %s, connection %s", c.dir, got.device(), got.connection())
		}
	}
}

func TestBrokenMountTable(t *testing.T) {
	if entry, ok, err := findMount(strings.NewReader("broken line\n"), "/mnt/odd"); ok || err == nil {
		t.Errorf("%+v, %v", entry, err)
	}
}

func FuzzFindMount(f *testing.F) {
	f.Add([]byte(`36 22 0:42 / /mnt\040x ro - fuse.weightfs s3://b ro`), "/mnt x")
	f.Fuzz(func(t *testing.T, text []byte, dir string) {
		if entry, ok, _ := findMount(bytes.NewReader(text), dir); ok && entry.dir != dir {
			t.Fatalf("found %q for %q", entry.dir, dir)
		}
	})
}
