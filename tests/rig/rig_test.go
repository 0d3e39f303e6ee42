package rig

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

func TestInTable(t *testing.T) {
	table := "100 30 0:50 / /mnt/a rw,relatime shared:1 - fuse.weightfs s3://b rw\n" +
		"101 30 0:51 / /mnt/b rw,relatime - ext4 /dev/x rw\n"
	for dir, want := range map[string]bool{"/mnt/a": true, "/mnt/b": false, "/mnt/c": false} {
		if got, err := inTable(table, dir); got != want || err != nil {
			t.Errorf("%s: %v, %v", dir, got, err)
		}
	}
}

func TestEvictDropsAllPages(t *testing.T) {
	// /tmp may be a tmpfs, whose pages are the files themselves.
	f, err := os.CreateTemp("/var/tmp", "evict-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 3*os.Getpagesize()-1)); err != nil {
		t.Fatal(err)
	}
	if missing, err := MissingPages(f); err != nil || len(missing) > 0 {
		t.Fatalf("missing %v after writing, %v", missing, err)
	}
	if err := Evict(f); err != nil {
		t.Error(err)
	}
	if missing, err := MissingPages(f); err != nil || len(missing) != 3 || missing[2] != int64(2*os.Getpagesize()) {
		t.Errorf("missing %v, %v", missing, err)
	}
}

func TestRunReportsTheExit(t *testing.T) {
	got, err := Run(t.Context(), []string{"X=1"}, "sh", "-c", "echo $X; echo bad >&2; exit 4")
	if want := (Result{"1\n", "bad\n", 4}); got != want || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := Output(t.Context(), nil, "false"); err == nil {
		t.Error("a failed child is no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, nil, "sleep", "100"); err == nil {
		t.Error("a child that does not end is no error")
	}
}

func TestCgroupChargesTheChild(t *testing.T) {
	g, err := NewCgroup("rig-test")
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	p, err := StartProcess(g.Command("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"))
	if err != nil {
		t.Fatal(err)
	}
	p.Wait()
	if peak, err := g.Peak(); err != nil || peak < size || peak > 2*size {
		t.Errorf("peak of %d bytes for a child with a buffer of %d, %v", peak, size, err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestRSSOfThisProcess(t *testing.T) {
	now, err := RSS(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if peak, err := PeakRSS(os.Getpid()); err != nil || peak < now/2 || now < 1<<20 {
		t.Errorf("resident %d, peak %d, %v", now, peak, err)
	}
}

func TestCompareFindsEveryDifference(t *testing.T) {
	const line = `{"name":"w","dtype":"F32","shape":[2],"file":"/a/model.safetensors","nbytes":8,"digest":"sha256:00"}`
	want, err := ParseManifest(line)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		same       bool
	}{
		{"the same elsewhere", strings.Replace(line, "/a/", "/b/", 1), true},
		{"other digest", strings.Replace(line, "00", "01", 1), false},
		{"other shape", strings.Replace(line, "[2]", "[1,2]", 1), false},
		{"other file", strings.Replace(line, "model", "other", 1), false},
		{"missing", "", false},
		{"one more", line + strings.Replace(line, `"w"`, `"x"`, 1), false},
	} {
		got, err := ParseManifest(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if err := Compare(got, want); (err == nil) != tt.same {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := ParseManifest(line + line); err == nil {
		t.Error("a tensor that stands there twice is no error")
	}
}
