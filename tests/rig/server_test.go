package rig

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(tb testing.TB, s *Server, bucket, key string) ([]byte, string) {
	tb.Helper()
	out, err := s.Client().GetObject(tb.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		tb.Fatal(err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return data, *out.ETag
}

func TestServerKeepsObjects(t *testing.T) {
	for name, opts := range map[string]ServerOptions{"http": {}, "https": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			s := StartServer(t, opts)
			s.Fill(t, "models", map[string][]byte{"a/b.safetensors": []byte("weights")})
			s.Fill(t, "models", nil) // again is no failure
			if data, etag := get(t, s, "models", "a/b.safetensors"); string(data) != "weights" || etag == "" {
				t.Errorf("got %q with ETag %q", data, etag)
			}
			file := filepath.Join(s.Dir, "models", "a", "b.safetensors")
			if data, err := os.ReadFile(file); err != nil || string(data) != "weights" {
				t.Errorf("%s holds %q, %v", file, data, err)
			}
			if err := s.Delete(t.Context(), "models", "a/b.safetensors"); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("the file is still there: %v", err)
			}
		})
	}
}

func TestLargeFileIsUploadedInParts(t *testing.T) {
	s := StartServer(t, ServerOptions{})
	s.Fill(t, "models", nil)
	dir := t.TempDir()
	want := bytes.Repeat([]byte("0123456789abcde\n"), (uploadPart+uploadPart/2)/16)
	if err := os.WriteFile(filepath.Join(dir, "large"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.PutDir(t.Context(), "models", "sub/", dir); err != nil {
		t.Fatal(err)
	}
	data, etag := get(t, s, "models", "sub/large")
	if !bytes.Equal(data, want) {
		t.Error("object differs from the file")
	}
	if !strings.Contains(etag, "-2") {
		t.Errorf("ETag %s is not one of two parts", etag)
	}
}

func TestCloseEndsTheServer(t *testing.T) {
	s, err := NewServer(t.Context(), ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.proc.Done():
	default:
		t.Error("the process is still there")
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}
