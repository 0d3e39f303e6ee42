// Package takeover kills a running mountd again and again, under readers of every
// kind, and holds that none of them sees it: no error, no wrong byte, nobody who
// waits for ever. The built program, a real mount, a real S3 server and a folder.
//
// And it replaces one mountd by another under them, which they see as little of.
//
//	go test ./tests/takeover -kills 200       for a longer one
//	go test ./tests/takeover -upgrades 50
package takeover

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// kills is how often the process that serves is killed in each case.
var kills = flag.Int("kills", 12, "how often the process that serves is killed in each case")

const (
	bucket = "takeover"
	// patience bounds what would otherwise be a hang.
	patience = 2 * time.Minute
	// noResend has mountd do without the kernel's help, as before Linux 6.9.
	noResend = "_WEIGHTFS_NO_RESEND=1"
)

// What is read: some files that fit into the memory of a mount, and more that do
// not.
const (
	largeFiles, largeSize = 4, 24 << 20
	smallFiles, smallSize = 40, 96 << 10
	memoryLimit           = "64Mi"
)

// stage is what the tests share.
type stage struct {
	*rig.Stage
	source string // the folder with what is read
}

var theStage *stage // set before the first test runs

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(readersVariable); ok {
		if err := beReaders(dir); err != nil {
			fmt.Fprintln(os.Stderr, "readers:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir, ok := os.LookupEnv(probeVariable); ok {
		if err := beProbe(dir); err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	rig.Main(m, "takeover", rig.ServerOptions{}, func(ctx context.Context, s *rig.Stage) error {
		theStage = &stage{s, filepath.Join(s.Scratch, "source")}
		return errors.Join(writeSource(theStage.source), s.Server.CreateBucket(ctx, bucket),
			s.Server.PutDir(ctx, bucket, "", theStage.source))
	})
}

// names are what is read, by its size.
func names() (large, small []string) {
	for i := range largeFiles {
		large = append(large, fmt.Sprintf("large/model-%05d-of-%05d.safetensors", i+1, largeFiles))
	}
	for i := range smallFiles {
		small = append(small, fmt.Sprintf("small/%02d/part-%d", i%4, i))
	}
	return large, small
}

// content is what a file has: the same in each process.
func content(name string, size int) []byte {
	seed := [32]byte{}
	copy(seed[:], name)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(data) // it never fails
	return data
}

func writeSource(dir string) error {
	large, small := names()
	for _, group := range []struct {
		names []string
		size  int
	}{{large, largeSize}, {small, smallSize}} {
		for _, name := range group.names {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, content(name, group.size), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
