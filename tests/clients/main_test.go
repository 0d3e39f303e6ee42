// Package clients has unmodified tools of others read mounts of a bucket and of
// a folder, and compares what they got with what they get from the original.
// Each of them is also shown a file that differs by one byte: a tool that does
// not notice that is no witness.
//
// There is nothing here but tests, which mount and read in children alone.
package clients

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// childLimit bounds each child.
const childLimit = 5 * time.Minute

// bucket holds what the tree holds.
const bucket = "tree"

// stage is what the tests share: set up once, by TestMain, and read only.
type stage struct {
	*rig.Stage
	// tree holds the originals: a folder for each kind of file.
	tree string
	// flipped and longer are the tree with a lie in each file: one byte that is
	// another, one byte more.
	flipped, longer string
	// sums is a file with the checksums of the tree.
	sums string
}

// theStage is set before the first test runs.
var theStage *stage

func TestMain(m *testing.M) {
	rig.Main(m, "clients", rig.ServerOptions{}, func(ctx context.Context, shared *rig.Stage) error {
		theStage = &stage{Stage: shared}
		if err := theStage.makeTrees(ctx); err != nil {
			return err
		}
		return theStage.upload(ctx, bucket, theStage.tree)
	})
}

// upload puts the files of dir into a bucket.
func (s *stage) upload(ctx context.Context, bucket, dir string) error {
	if err := s.Server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	return s.Server.PutDir(ctx, bucket, "", dir)
}

// makeTrees makes the originals, the lies and the checksums.
func (s *stage) makeTrees(ctx context.Context) error {
	s.tree = filepath.Join(s.Scratch, "tree")
	s.flipped = filepath.Join(s.Scratch, "flipped")
	s.longer = filepath.Join(s.Scratch, "longer")
	s.sums = filepath.Join(s.Scratch, "SUMS")
	sharded := filepath.Join(s.tree, "sharded")
	if err := os.MkdirAll(sharded, 0o755); err != nil {
		return err
	}
	spec := rig.Checkpoint{
		Shards: 3, Size: 48 << 20, TensorSize: 1 << 20, Odd: true,
		Dtypes: []string{"F32", "I8", "BF16", "F64", "BOOL", "F8_E4M3", "I16"},
	}
	if _, err := rig.WriteCheckpoint(sharded, spec); err != nil {
		return err
	}
	trained, err := rig.Model()
	if err != nil {
		return err
	}
	_, err = rig.Output(ctx, nil, "bash", "-euo", "pipefail", "-c", `
		cd "$1"
		cp -r "$2" trained
		"$3" "$5" "$1"
		mkdir fio text
		cp trained/*.md trained/*.json trained/vocab.txt text
		fio --name=verified --filename=fio/data --size=16m --rw=write --bs=64k --ioengine=psync \
			--verify=crc32c --verify_interval=4k --do_verify=0 --verify_state_save=0 >/dev/null
		find . -type f -print0 | xargs -0 sha256sum >"$4"`,
		"bash", s.tree, trained, s.Python, s.sums, script("make_tree.py"))
	if err != nil {
		return err
	}
	if err := lie(s.tree, s.flipped, "", flip); err != nil {
		return err
	}
	return lie(s.tree, s.longer, "", lengthen)
}

// lie makes a copy of the tree at from in which change has changed the content of
// each file below a folder named part; of each one if that is "".
func lie(from, to, part string, change func(content []byte) []byte) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(path, part) {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(content), 0o644)
	})
}

// flip flips one bit of the byte in the middle. In a checkpoint that is a weight,
// and in the trained one a word's.
func flip(content []byte) []byte {
	if len(content) > 0 {
		content[len(content)/2] ^= 1
	}
	return content
}

func lengthen(content []byte) []byte { return append(content, 0) }

// script returns the path of one of our Python scripts.
func script(name string) string {
	path, err := filepath.Abs(filepath.Join("python", name))
	if err != nil {
		panic(err) // the working directory of a test cannot be gone
	}
	return path
}
