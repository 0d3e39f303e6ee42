package faults

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weightfs/tests/rig"
)

const (
	// bucket holds the object that the storage cases read.
	bucket = "faults"
	// object is its key.
	object = "model.safetensors"
	// partSize is what one GET asks for.
	partSize = 1 << 20
	// childLimit bounds each child of a case, and each wait for what comes by
	// itself: past it somebody hangs.
	childLimit = 3 * time.Minute
)

// profile is how large and how long the cases are.
type profile struct {
	size        int64         // of the object
	outage      time.Duration // of faults that pass
	storm       int           // requests that an error storm fails
	readTimeout time.Duration // for faults that last; it leaves time for a stall to be seen
	smallFiles  int           // that are read, many times what memory has room for
	listings    int           // of a large folder
}

func shortProfile() profile {
	return profile{size: 16 << 20, outage: time.Second, storm: 24, readTimeout: 8 * time.Second, smallFiles: 20_000, listings: 15}
}

func fullProfile() profile {
	return profile{size: 64 << 20, outage: 10 * time.Second, storm: 400, readTimeout: 10 * time.Second, smallFiles: 200_000, listings: 60}
}

// stage is what the cases share: it is set up once, by TestMain, and read only.
type stage struct {
	*rig.Stage
	profile
	reader    string // the test's binary as childName
	rclone    string // path of the program, "" without it
	s3fs      string // the same
	publish   bool   // what TestPeers sees
	soak      time.Duration
	original  string // the object's original file
	digest    string // its SHA-256
	reference map[string]rig.Tensor
}

// theStage is set before the first test runs.
var theStage *stage

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == childName {
		if err := beReader(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "reader:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	rclone := flag.String("rclone", "", "`path` of rclone, a peer")
	s3fs := flag.String("s3fs", "", "`path` of s3fs, a peer")
	publish := flag.Bool("publish", false, "have TestPeers write its table into docs/peers.md")
	soak := flag.Duration("soak", 20*time.Minute, "how long TestSoak takes, which is there with -tags soak")
	for name, value := range map[string]string{"checks": "60", "steps": "200", "nofailfile": "true"} { // a fifth with -short
		flag.Set("rapid."+name, value) // it is there
	}
	flag.Parse()
	rig.Main(m, "faults", rig.ServerOptions{Accounts: true}, func(ctx context.Context, shared *rig.Stage) error {
		theStage = &stage{Stage: shared, rclone: *rclone, s3fs: *s3fs, publish: *publish, soak: *soak}
		return theStage.prepare(ctx)
	})
}

// checkNobodyLeft holds that soon no mountd, gpuload or reader is left of any
// case, which is what one that hangs in the kernel (state D) would be.
func (s *stage) checkNobodyLeft() error {
	var left []string
	if rig.Eventually(func() bool {
		left = nil
		links, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is right
		for _, link := range links {
			if program, err := os.Readlink(link); err == nil && filepath.Dir(program) == s.Scratch {
				command, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline")) // it may just have ended
				left = append(left, strings.ReplaceAll(string(command), "\x00", " "))
			}
		}
		return len(left) == 0
	}) {
		return nil
	}
	return fmt.Errorf("still running: %q", left)
}

// prepare makes the object and fills a bucket.
func (s *stage) prepare(ctx context.Context) (err error) {
	s.profile = fullProfile()
	if testing.Short() {
		s.profile = shortProfile()
	}
	s.reader = filepath.Join(s.Scratch, childName)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if out, err := exec.Command("cp", self, s.reader).CombinedOutput(); err != nil { // for others to run
		return fmt.Errorf("%w: %s", err, out)
	}
	if _, err := rig.WriteCheckpoint(s.Scratch, rig.Checkpoint{Size: s.size, TensorSize: 4 << 20}); err != nil {
		return err
	}
	s.original = filepath.Join(s.Scratch, object)
	if s.reference, err = s.Reference(ctx, s.original); err != nil {
		return err
	}
	content, err := os.ReadFile(s.original)
	if err != nil {
		return err
	}
	s.digest = readOf(content).SHA256
	s.AtEnd(s.checkNobodyLeft)
	return s.fill(ctx, s.Server)
}

// fill stores the object in the bucket of a server.
func (s *stage) fill(ctx context.Context, server *rig.Server) error {
	if err := server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	return server.PutFile(ctx, bucket, object, s.original)
}
