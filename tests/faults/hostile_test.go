package faults

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

const (
	shardName = "model.safetensors"
	indexName = "model.safetensors.index.json"
	// longest is the longest header that the format allows.
	longest = 100_000_000
	// claims is how many files claim one that long.
	claims = 16
	// outsideModel is a sound checkpoint beside each hostile folder.
	outsideModel = "../outside.safetensors"
)

// hostile is a folder that means no good to gpuload.
type hostile struct {
	name     string
	make     func(dir string) error
	says     string   // in the refusal, "" where it is loaded
	limit    int64    // of gpuload's memory; 0 is 1 GiB
	commands []string // nil is load
}

// Commands of gpuload.
const (
	load    = "load --device cpu --progress none --memory-limit 64Mi"
	inspect = "inspect"
)

// hostileFolders are each bad in one file.
func hostileFolders() []hostile {
	const huge = `{"w":{"dtype":"F64","shape":[4294967296,2147483648],"data_offsets":[0,8]}}`
	index := func(shard string) func(string) error {
		return writes(indexName, plain(fmt.Sprintf(`{"weight_map":{"w":%q}}`, shard)), 0)
	}
	link := func(to string, first func(dir string) error) func(string) error {
		return func(dir string) error {
			return errors.Join(first(dir), os.Symlink(to, filepath.Join(dir, "linked.safetensors")))
		}
	}
	const leadsOut = "linked.safetensors: leads outside of the folder"
	return []hostile{
		{name: "an index that leads out", make: index("../../../../../../etc/passwd"), says: "not a file inside the folder"},
		{name: "an index of a link that leads out", make: link(outsideModel, index("linked.safetensors")), says: leadsOut},
		{name: "a link that leads out", make: link(outsideModel, writes("config.json", plain("{}"), 0)), says: leadsOut},
		{name: "a link to a secret", make: link("/etc/passwd", writes("config.json", plain("{}"), 0)), says: leadsOut},
		{name: "an index of an absolute path", make: index("/etc/passwd"), says: "not a file inside the folder"},
		{name: "a header of 2^63 bytes", make: writes(shardName, header(1<<63, "{}"), 0), says: "header too large"},
		{name: "a header of 100 MB that is none", make: writes(shardName, func() string {
			return header(longest, strings.Repeat("{", longest))()
		}, 0), says: "invalid header"},
		{name: "a header above the format's limit", make: writes(shardName, header(longest+1, " "), 8+longest+1), says: "header too large"},
		{name: "a shape of 2^63 elements", make: writes(shardName, header(uint64(len(huge)), huge), 0), says: "overflow"},
		{name: "a million tensors", make: writes(shardName, manyTensors(1_000_000), 0), limit: 2 << 30},
	}
}

// crowds would take more memory than there is if each file were only held against
// a limit of its own.
func crowds() []hostile {
	both := []string{load, inspect}
	return []hostile{
		{"16 headers of 100 MB that are none", linked(header(longest, ""), 8+longest), "invalid", 512 << 20, both},
		{"16 headers of a million tensors", linked(manyTensors(1_000_000), 0), "together", 2 << 30, both},
		{"an index of 1 GiB", func(dir string) error {
			return errors.Join(writes(indexName, plain("{"), 1<<30)(dir), writes(shardName, manyTensors(1), 0)(dir))
		}, "1073741824 bytes, more than the 200000000", 128 << 20, both},
		{"an index of a million tensors", writes(indexName, manyShards(1_000_000), 0), "missing shard", 1 << 30, []string{inspect}},
	}
}

// writes writes a file that begins with text, and has zeroes from there to size.
func writes(name string, text func() string, size int64) func(dir string) error {
	return func(dir string) error {
		path, content := filepath.Join(dir, name), text()
		return errors.Join(os.WriteFile(path, []byte(content), 0o644), os.Truncate(path, max(size, int64(len(content)))))
	}
}

// plain is a text that is there already.
func plain(text string) func() string { return func() string { return text } }

// linked writes a file and gives it many names, all of one set.
func linked(text func() string, size int64) func(dir string) error {
	name := func(i int) string { return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, claims) }
	return func(dir string) error {
		err := writes(name(0), text, size)(dir)
		for i := 1; i < claims; i++ {
			err = errors.Join(err, os.Link(filepath.Join(dir, name(0)), filepath.Join(dir, name(i))))
		}
		return err
	}
}

// header begins a file that claims a header of length, which begins with text.
func header(length uint64, text string) func() string {
	return plain(string(binary.LittleEndian.AppendUint64(nil, length)) + text)
}

// manyTensors is a file of n tensors of one byte.
func manyTensors(n int) func() string {
	return func() string {
		var b bytes.Buffer
		for i := range n {
			fmt.Fprintf(&b, `,"model.layers.%08d.mlp.weight":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, i, i+1)
		}
		b.Bytes()[0] = '{'
		b.WriteByte('}')
		return header(uint64(b.Len()), b.String())() + string(make([]byte, n))
	}
}

// manyShards is an index of n tensors, each in a file of its own that is not there.
func manyShards(n int) func() string {
	return func() string {
		var b bytes.Buffer
		for i := range n {
			fmt.Fprintf(&b, `,"model.layers.%08d.mlp.experts.down_proj.weight":"model-%08d-of-%08d.safetensors"`, i, i, n)
		}
		return `{"weight_map":{` + b.String()[1:] + "}}"
	}
}

// TestHostileCheckpoints and TestHostileCrowds have gpuload look at folders, and
// measure its memory.
func TestHostileCheckpoints(t *testing.T) { checkHostile(t, hostileFolders()) }

func TestHostileCrowds(t *testing.T) { checkHostile(t, crowds()) }

func checkHostile(t *testing.T, folders []hostile) {
	t.Parallel()
	for _, c := range folders {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "hostile")
			noError(t, os.Mkdir(dir, 0o755))
			noError(t, errors.Join(c.make(dir), writes(outsideModel, manyTensors(1), 0)(dir)))
			if c.commands == nil {
				c.commands = []string{load}
			}
			limit := cmp.Or(c.limit, 1<<30)
			for _, command := range c.commands {
				args := append(strings.Fields(command), dir)
				code, out, peak := measured(t, theStage.Gpuload, args...)
				t.Logf("%s: exit %d, peak of %d MiB", args[0], code, peak>>20)
				refused := code == 1 && strings.Contains(out, c.says)
				if refused != (c.says != "") || !refused && code != 0 || peak > limit ||
					strings.Contains(out, "root:") || strings.Contains(out, "panic") {
					t.Errorf("%s: exit %d, peak of %d bytes: %.1000s", command, code, peak, out)
				}
			}
		})
	}
}

// measured runs a child to its end and returns its largest resident set too.
func measured(t *testing.T, name string, args ...string) (code int, out string, peak int64) {
	t.Helper()
	process, err := rig.StartProcess(exec.Command(name, args...))
	noError(t, err)
	if !rig.Eventually(func() bool {
		if now, err := rig.PeakRSS(process.PID()); err == nil {
			peak = max(peak, now)
		}
		return closed(process.Done())
	}) {
		t.Fatal(errors.Join(errors.New("it does not end"), process.Kill()))
	}
	return process.Wait(), process.Output(), peak
}

// TestHostileHeaderThroughMount has gpuload read a header of nothing through a
// mount, whose memory it must not touch.
func TestHostileHeaderThroughMount(t *testing.T) {
	const bucket, limit = "hostile", 64 << 20
	dir := t.TempDir()
	noError(t, writes(shardName, header(longest, ""), 8+longest)(dir))
	server := theStage.Server
	noError(t, server.CreateBucket(t.Context(), bucket))
	noError(t, server.PutFile(t.Context(), bucket, shardName, filepath.Join(dir, shardName)))
	m := mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Env: server.Env(), Args: []string{"--memory-limit", "64Mi"}})
	code, out, _ := measured(t, theStage.Gpuload, "load", "--device", "cpu", "--progress", "none", m.Dir)
	peak, err := rig.PeakRSS(m.PID())
	noError(t, err)
	t.Logf("exit %d, mountd's peak of %d MiB", code, peak>>20)
	if code != 1 || !strings.Contains(out, "header") || peak > limit+128<<20 {
		t.Errorf("exit %d, mountd's peak of %d bytes: %.1000s", code, peak, out)
	}
}
