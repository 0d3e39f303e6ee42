package faults

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

const (
	shardName = "model.safetensors"
	indexName = "model.safetensors.index.json"
	// claimBytes is the longest header that the format allows.
	claimBytes = 100_000_000
	// claims is how many files claim one that long.
	claims = 16
)

// crowd is a folder whose files are too much together, or one of them alone.
type crowd struct {
	name     string
	make     func(dir string) error
	says     string // in the refusal
	limit    int64  // of gpuload's memory
	commands []string
}

func crowds() []crowd {
	const load, inspect = "load --device cpu --progress none --memory-limit 64Mi", "inspect"
	both := []string{load, inspect}
	return []crowd{
		{"16 headers of 100 MB that are none", func(dir string) error { return linked(dir, writeClaim) }, "invalid", 512 << 20, both},
		{"16 headers of a million tensors", func(dir string) error { return linked(dir, writeMillion) }, "together", 2 << 30, both},
		{"an index of 1 GiB", func(dir string) error {
			if err := writeSparse(filepath.Join(dir, indexName), "{", 1<<30); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, shardName), manyTensors(1), 0o644)
		}, "1073741824 bytes, more than the 200000000", 128 << 20, both},
		{"an index of a million tensors", func(dir string) error {
			return writeIndex(filepath.Join(dir, indexName), 1_000_000)
		}, "missing shard", 1 << 30, []string{inspect}},
	}
}

// linked gives one file many names, all of one set.
func linked(dir string, write func(path string) error) error {
	name := func(i int) string {
		return filepath.Join(dir, fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, claims))
	}
	if err := write(name(0)); err != nil {
		return err
	}
	for i := 1; i < claims; i++ {
		if err := os.Link(name(0), name(i)); err != nil {
			return err
		}
	}
	return nil
}

// writeClaim writes a file that claims the longest header, and has zeroes there.
func writeClaim(path string) error {
	return writeSparse(path, string(binary.LittleEndian.AppendUint64(nil, claimBytes)), 8+claimBytes)
}

func writeMillion(path string) error { return os.WriteFile(path, manyTensors(1_000_000), 0o644) }

// writeSparse writes a file of size bytes that begins with text.
func writeSparse(path, text string, size int64) error {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// writeIndex writes an index of n tensors, each in a file of its own that is not
// there.
func writeIndex(path string, n int) error {
	var b strings.Builder
	b.WriteString(`{"weight_map":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"model.layers.%08d.mlp.experts.down_proj.weight":"model-%08d-of-%08d.safetensors"`, i, i, n)
	}
	b.WriteString("}}")
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// TestHostileCrowds has gpuload look at folders that would take more memory than
// there is if each file were only held against a limit of its own, and measures
// what it takes.
func TestHostileCrowds(t *testing.T) {
	t.Parallel()
	for _, c := range crowds() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, fmt.Sprintf("refused within %d MiB", c.limit>>20))
			dir := t.TempDir()
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			for _, command := range c.commands {
				args := append(strings.Fields(command), dir)
				code, out, peak := measured(t, theStage.Gpuload, args...)
				fmt.Fprintf(seen, "%s: exit %d, peak of %d MiB; ", args[0], code, peak>>20)
				if code != 1 || peak > c.limit || !strings.Contains(out, c.says) || strings.Contains(out, "panic") {
					t.Errorf("%s: exit %d, peak of %d bytes: %.1000s", args[0], code, peak, out)
				}
			}
		})
	}
}

// TestHostileHeaderThroughMount has gpuload read a header of nothing through a
// mount, whose memory it must not touch.
func TestHostileHeaderThroughMount(t *testing.T) {
	const bucket, limit = "hostile", 64 << 20
	seen := seenBy(t, "mountd within its limit + 128 MiB")
	file := filepath.Join(t.TempDir(), shardName)
	if err := writeClaim(file); err != nil {
		t.Fatal(err)
	}
	server := theStage.server
	if err := server.CreateBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	if err := server.PutFile(t.Context(), bucket, shardName, file); err != nil {
		t.Fatal(err)
	}
	m := mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Env: server.Env(), Args: []string{"--memory-limit", "64Mi"}})
	code, out, _ := measured(t, theStage.Gpuload, "load", "--device", "cpu", "--progress", "none", m.Dir)
	peak, err := rig.PeakRSS(m.PID())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(seen, "exit %d, mountd's peak of %d MiB", code, peak>>20)
	if code != 1 || !strings.Contains(out, "header") || peak > limit+128<<20 {
		t.Errorf("exit %d, mountd's peak of %d bytes: %.1000s", code, peak, out)
	}
}
