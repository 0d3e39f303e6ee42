package remote_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"weightfs/remote"
)

func TestParseSource(t *testing.T) {
	const (
		arn     = "arn:aws:s3:us-west-2:123456789012:accesspoint/ap"
		colon   = "arn:aws:s3:us-west-2:123456789012:accesspoint:ap"
		mrap    = "arn:aws:s3::123456789012:accesspoint/x.mrap"
		outpost = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-1/accesspoint/ap"
	)
	cases := []struct {
		in   string
		want remote.Source
	}{
		{"s3://bucket", remote.Source{Bucket: "bucket"}},
		{"s3://bucket/", remote.Source{Bucket: "bucket"}},
		{"s3://bucket/a/b", remote.Source{Bucket: "bucket", Prefix: "a/b"}},
		{"s3://bucket/a/b//", remote.Source{Bucket: "bucket", Prefix: "a/b"}},
		{"s3://bucket//a", remote.Source{Bucket: "bucket", Prefix: "/a"}},
		{"s3://" + arn, remote.Source{Bucket: arn}},
		{"s3://" + arn + "/", remote.Source{Bucket: arn}},
		{"s3://" + arn + "/a/b", remote.Source{Bucket: arn, Prefix: "a/b"}},
		{"s3://" + colon + "/a/b", remote.Source{Bucket: colon, Prefix: "a/b"}},
		{"s3://" + mrap + "/a", remote.Source{Bucket: mrap, Prefix: "a"}},
		{"s3://" + outpost + "/a", remote.Source{Bucket: outpost, Prefix: "a"}},
		{"/models", remote.Source{Path: "/models"}},
		{"models/x", remote.Source{Path: "models/x"}},
		{".", remote.Source{Path: "."}},
		{"./gs://x", remote.Source{Path: "./gs://x"}},
	}
	for _, c := range cases {
		got, err := remote.ParseSource(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParseSource(%q) = %+v, %v, want %+v", c.in, got, err, c.want)
		}
		if again, err := remote.ParseSource(got.String()); err != nil || again != got {
			t.Errorf("ParseSource(%q.String()) = %+v, %v", c.in, again, err)
		}
	}
	for _, in := range []string{"", "s3://", "s3:///key", "gs://bucket", "https://host/x"} {
		if got, err := remote.ParseSource(in); err == nil {
			t.Errorf("ParseSource(%q) = %+v, want an error", in, got)
		}
	}
}

func TestOpenLocalSources(t *testing.T) {
	dir := tree(t, map[string]string{
		"in/file": "content",
		"out":     "outside",
		"in/link": "->../out",
		"folder":  "->in",
	})
	for name, want := range map[string]string{"in": "", "folder": "", "in/file": "content", "in/link": "outside", "folder/link": "outside"} {
		store, key, err := remote.Open(t.Context(), remote.Source{Path: filepath.Join(dir, name)}, remote.Config{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want == "" && key != "" {
			t.Errorf("%s: key %q of a folder", name, key)
		}
		if want != "" {
			if got := content(t, store, key); got != want {
				t.Errorf("%s: content %q, want %q", name, got, want)
			}
		}
		store.Close()
	}
	if _, _, err := remote.Open(t.Context(), remote.Source{Path: filepath.Join(dir, "none")}, remote.Config{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, _, err := remote.Open(t.Context(), remote.Source{Path: os.DevNull}, remote.Config{}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a device: %v", err)
	}
}
