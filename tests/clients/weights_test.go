package clients

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"weightfs/handoff/handofftest"
	"weightfs/tests/rig"
)

// weightsBucket holds checkpoints with all that the format allows.
const weightsBucket = "weights"

// weightsTree makes and uploads them, once: the folder of the originals.
var weightsTree = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(theStage.Scratch, "weights")
	ctx := context.Background()
	_, err := rig.Output(ctx, nil, "bash", "-euo", "pipefail", "-c", `
		mkdir "$1"
		cp -r "$2/sharded" "$2/trained" "$1"
		"$3" "$4" "$1/hard"`, "bash", dir, theStage.tree, theStage.Python, script("make_hard.py"))
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Join(dir, filepath.Dir(mappedFile)), 0o755); err != nil {
		return "", err
	}
	spec := rig.Checkpoint{Size: 48 << 20, TensorSize: 3 << 20, Dtypes: []string{"F32", "BF16", "F64"}}
	if _, err := rig.WriteCheckpoint(filepath.Join(dir, filepath.Dir(mappedFile)), spec); err != nil {
		return "", err
	}
	return dir, theStage.upload(ctx, weightsBucket, dir)
})

// mappedFile has tensors that are mapped, with mappedMemory not all at once.
const (
	mappedFile   = "mapped/model.safetensors"
	mappedMemory = "128Mi"
)

// weights are the originals, and a mount of them that leases; the test is skipped
// where it cannot.
func weights(t *testing.T, args ...string) (original string, m *rig.Mount) {
	t.Helper()
	original, err := weightsTree()
	if err != nil {
		t.Fatal(err)
	}
	m, err = theStage.Mount(t.Context(), rig.MountOptions{
		Source: "s3://" + weightsBucket, Env: theStage.Server.Env(),
		Args: append([]string{"--memory-limit", "64Mi", "--log-level", "info"}, args...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil && m.Wait() != -int(syscall.SIGKILL) {
			t.Error(err)
		}
		if t.Failed() {
			t.Log("mountd wrote, at last: ", tail(m.Output()))
		}
	})
	if strings.Contains(m.Output(), "the cache's memory is of this process alone") && !slices.Contains(args, "off") {
		t.Fatal("the memory is not shared: ", m.Output())
	}
	return original, m
}

// packageEnv has the package found.
func packageEnv() []string {
	return []string{"PYTHONPATH=" + filepath.Join(filepath.Dir(script("")), "..", "..", "python")}
}

// python is what a function of weights.py prints, in the folder dir.
func python(t *testing.T, dir, arguments string) string {
	t.Helper()
	return output(t, dir, `python "$SCRIPTS/weights.py" `+arguments, packageEnv()...)
}

// startPython starts a function of weights.py, which pauses.
func startPython(t *testing.T, arguments ...string) *handofftest.Child {
	t.Helper()
	cmd := exec.Command(theStage.Python, append([]string{script("weights.py")}, arguments...)...)
	cmd.Env = append(os.Environ(), packageEnv()...)
	return handofftest.StartChild(t, cmd)
}

// leases is what mountd says of its clients.
type leases struct{ Bytes, Held int64 }

func leasesOf(t *testing.T, m *rig.Mount) leases {
	t.Helper()
	var status struct{ Handoff leases }
	text := rig.Succeed(t, nil, theStage.Mountd, "status", "--json", m.Dir)
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return status.Handoff
}

// The client in Python passes the suite that the one in Go does.
func TestPythonConforms(t *testing.T) {
	handofftest.Run(t, func(socket string) *exec.Cmd {
		cmd := exec.Command(theStage.Python, script("handoff_client.py"), socket)
		cmd.Env = append(os.Environ(), packageEnv()...)
		return cmd
	})
}

// Every tensor is what an independent reader has of the original, with little memory
// and with much.
func TestPythonTensors(t *testing.T) {
	original, err := weightsTree()
	if err != nil {
		t.Fatal(err)
	}
	for _, model := range []string{"hard", "sharded"} {
		files, err := filepath.Glob(filepath.Join(original, model, "*.safetensors"))
		if err != nil || len(files) < 2 {
			t.Fatal(files, err)
		}
		want, err := theStage.Reference(t.Context(), files...)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ framework, memory, ahead, threads string }{
			{"numpy", "64Mi", "1", "1"}, {"numpy", "64Mi", "1", "3"}, {"numpy", "512Mi", "128000000", "2"}, {"torch", "64Mi", "30000000", "16"},
		} {
			t.Run(model+" "+c.framework+" "+c.memory+" "+c.threads, func(t *testing.T) {
				_, m := weights(t, "--memory-limit", c.memory)
				got := python(t, filepath.Join(m.Dir, model), "manifest "+c.framework+" "+c.ahead+" "+c.threads+" *.safetensors")
				if err := rig.Compare(parse(t, got), want); err != nil {
					t.Error(err)
				}
				total := int64(0)
				for _, tensor := range want {
					total += tensor.Nbytes
				}
				if l := leasesOf(t, m); l.Bytes < total || l.Held != 0 {
					t.Errorf("%d bytes were leased of %d, %d are held", l.Bytes, total, l.Held)
				}
			})
		}
	}
}

// Parts of tensors are what safetensors has of them, and only they are leased.
func TestPythonSlices(t *testing.T) {
	original, m := weights(t)
	file := "trained/model.safetensors"
	want, got := python(t, original, "slices safetensors "+file), python(t, m.Dir, "slices weightfs "+file)
	if got != want {
		t.Errorf("got\n%.2000s\nwant\n%.2000s", got, want)
	}
	before := leasesOf(t, m).Bytes
	python(t, m.Dir, "one_row "+file+" embeddings.word_embeddings.weight")
	if n := leasesOf(t, m).Bytes - before; n == 0 || n > 256<<10 {
		t.Errorf("%d bytes were leased for the header and one row", n)
	}
}

// Ranges of any file are leased, read-only, and are given back in time or not at all.
func TestPythonViews(t *testing.T) {
	original, m := weights(t)
	file := "sharded/model-00001-of-00003.safetensors"
	content, err := os.ReadFile(filepath.Join(original, file))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(python(t, m.Dir, "views "+file)), fmt.Sprintf("%x", sha256.Sum256(content)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What needs no daemon: the header's checks, and buffers.
func TestPythonParts(t *testing.T) {
	for arguments, want := range map[string]string{"headers": "True True", "memory": "ok"} {
		if got := strings.TrimSpace(python(t, theStage.tree, arguments)); got != want {
			t.Errorf("%s: %s, want %s", arguments, got, want)
		}
	}
}

// Loads that are not taken to their end, and processes that are forked, leave nothing;
// memory of dropped tensors is used again.
func TestPythonGivesBack(t *testing.T) {
	_, m := weights(t)
	shard := "sharded/model-0000%d-of-00003.safetensors"
	if got := strings.TrimSpace(python(t, m.Dir, "given_up "+fmt.Sprintf(shard, 1))); got != "ok" {
		t.Error(got)
	}
	if got := strings.TrimSpace(python(t, m.Dir, "reuse "+fmt.Sprintf(shard, 1)+" "+fmt.Sprintf(shard, 2)+" "+fmt.Sprintf(shard, 3))); got != "True True" {
		t.Error(got)
	}
	if l := leasesOf(t, m); l.Held != 0 {
		t.Errorf("%d bytes are held", l.Held)
	}
}

// A consumer that stops taking tensors holds no lease.
func TestPythonSlowConsumer(t *testing.T) {
	_, m := weights(t)
	c := startPython(t, "paced", filepath.Join(m.Dir, "sharded/model-00002-of-00003.safetensors"))
	c.Expect("ready")
	rig.Await(t, "nothing is held for a consumer that takes no tensors", func() bool { return leasesOf(t, m).Held == 0 })
	c.Send("")
	if got := c.Answer(); !regexp.MustCompile(`^\d\d tensors$`).MatchString(got) {
		t.Error(got)
	}
}

// Tensors that are mapped instead of copied are right, can be written without anybody
// seeing it, and are given back.
func TestPythonMapped(t *testing.T) {
	_, m := weights(t, "--memory-limit", "512Mi")
	for _, threads := range []string{"1", "3"} {
		c := startPython(t, "mapped", filepath.Join(m.Dir, mappedFile), threads)
		if got := c.Answer(); !regexp.MustCompile(`^\d\d mapped$`).MatchString(got) {
			t.Error(got)
		}
		rig.Await(t, "nothing is held once tensors are dropped", func() bool { return leasesOf(t, m).Held == 0 })
		c.Kill()
	}
}

// Tensors that are kept are copied where too many are mapped, hold no lease once all
// were taken, and stay right when mountd uses its memory for other files.
func TestPythonMappedKept(t *testing.T) {
	original, m := weights(t, "--memory-limit", mappedMemory)
	c := startPython(t, "kept", filepath.Join(m.Dir, mappedFile))
	var leased, copied int64
	if _, err := fmt.Sscan(c.Answer(), &leased, &copied); err != nil {
		t.Fatal(err)
	}
	if leased == 0 || leased > 16<<20 || copied == 0 {
		t.Errorf("%d bytes were mapped and %d copied", leased, copied)
	}
	rig.Await(t, "nothing is held once all tensors were taken", func() bool { return leasesOf(t, m).Held == 0 })
	for range 2 {
		output(t, m.Dir, "cat sharded/*.safetensors trained/*.safetensors | sha256sum")
	}
	output(t, m.Dir, fmt.Sprintf("cmp %s %q", mappedFile, filepath.Join(original, mappedFile)))
	c.Send("")
	c.Expect("ok")
}

// A consumer that pauses holds no lease, though its tensor is mapped.
func TestPythonMappedSlowConsumer(t *testing.T) {
	_, m := weights(t, "--memory-limit", mappedMemory)
	c := startPython(t, "paced_mapped", filepath.Join(m.Dir, mappedFile))
	c.Expect("ready")
	rig.Await(t, "nothing is held for a consumer that pauses", func() bool { return leasesOf(t, m).Held == 0 })
	c.Send("")
	c.Expect("ok")
}

// A client that has as much mapped as it may hold gives it back for what it waits for.
func TestPythonMappedCrowded(t *testing.T) {
	_, m := weights(t, "--memory-limit", mappedMemory)
	c := startPython(t, "crowded", filepath.Join(m.Dir, mappedFile))
	if got := c.Answer(); !regexp.MustCompile(`^[1-9]\d* mapped$`).MatchString(got) {
		t.Error(got)
	}
}

// A connection that is cut off while a tensor is mapped that was handed out is an error at
// the next step, also where that is the end: what its consumer read is not proven.
func TestPythonMappedLost(t *testing.T) {
	lost := regexp.MustCompile(`^lost: .*tensor '[^']+' \[\d+,\d+\): the connection to mountd has ended: .*/model.safetensors'$`)
	_, m := weights(t, "--memory-limit", mappedMemory)
	if got := startPython(t, "lost_mapped", filepath.Join(m.Dir, mappedFile)).Answer(); !lost.MatchString(got) {
		t.Error(got)
	}
}

// A load whose tensors are mapped goes on when mountd dies, or is replaced by another:
// those that it has stay as they are.
func TestPythonMappedReplaced(t *testing.T) {
	for name, replace := range map[string]func(m *rig.Mount) error{
		"killed": func(m *rig.Mount) error { _, err := m.KillServing(); return err },
		"upgraded": func(m *rig.Mount) error {
			result, err := rig.Run(t.Context(), nil, theStage.Mountd, "upgrade", m.Dir)
			if err == nil && result.Code != 0 {
				err = errors.New(result.Stderr)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, m := weights(t, "--memory-limit", mappedMemory)
			c := startPython(t, "replaced_mapped", filepath.Join(m.Dir, mappedFile))
			c.Expect("ready")
			if err := replace(m); err != nil {
				t.Fatal(err)
			}
			c.Send("")
			c.Expect("ok")
		})
	}
}

// One that was not handed out when the connection ended is read from the mount, whatever
// has become of mountd's memory.
func TestPythonMappedLostAhead(t *testing.T) {
	_, m := weights(t, "--memory-limit", mappedMemory)
	startPython(t, "lost_ahead", filepath.Join(m.Dir, mappedFile)).Expect("ok")
}

// A file that is replaced while it is open ends in ESTALE, which names file, tensor
// and range; opened again, it is the new one.
func TestPythonReplaced(t *testing.T) {
	_, m := weights(t, "--metadata-ttl", "minimal")
	dir, err := os.MkdirTemp(theStage.Scratch, "replaced-")
	if err != nil {
		t.Fatal(err)
	}
	put := func(seed uint64) {
		if _, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: 16 << 20, TensorSize: 4 << 20, Seed: seed}); err != nil {
			t.Fatal(err)
		}
		if err := theStage.Server.PutDir(t.Context(), weightsBucket, "replaced/", dir); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	first, last := "model.layers.0.00000.weight", "model.layers.0.00006.weight"
	c := startPython(t, "replaced", filepath.Join(m.Dir, "replaced/model.safetensors"), first, last)
	c.Expect("ready")
	put(2)
	c.Send("")
	stale := regexp.MustCompile(`^OSError 116 .*tensor '` + regexp.QuoteMeta(last) + `': \[\d+,\d+\): Stale file handle.*/replaced/model.safetensors'$`)
	if got := c.Answer(); !stale.MatchString(got) {
		t.Error(got)
	}
	c.Expect("again")
	want, err := theStage.Reference(t.Context(), filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	c.Send("")
	if got := "sha256:" + c.Answer(); got != want[last].Digest {
		t.Errorf("%s, want %s", got, want[last].Digest)
	}
}

// The end of the daemon is an error that names file, tensor and range.
func TestPythonDaemonKilled(t *testing.T) {
	_, m := weights(t)
	c := startPython(t, "lost", filepath.Join(m.Dir, "sharded/model-00001-of-00003.safetensors"))
	c.Expect("ready")
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Send("")
	lost := regexp.MustCompile(`^lost: .*tensor '[^']+' \[\d+,\d+\): the connection to mountd has ended: .*/model-00001-of-00003.safetensors'$`)
	if got := c.Answer(); !lost.MatchString(got) {
		t.Error(got)
	}
	if got := c.Answer(); !strings.HasPrefix(got, "then: ") || !strings.Contains(got, "model-00001-of-00003.safetensors") {
		t.Error(got)
	}
}

// A connection that ends is not the end of a load, where the mount goes on: the rest
// is read from it, and one line says so.
func TestPythonConnectionLost(t *testing.T) {
	_, m := weights(t)
	result := run(t, m.Dir, `python "$SCRIPTS/weights.py" survives sharded/model-00003-of-00003.safetensors`, packageEnv()...)
	if result.Code != 0 || result.Stdout != "ok\n" || strings.Count(result.Stderr, "is read through its mount: ") != 1 {
		t.Errorf("exit %d: %s%s", result.Code, result.Stdout, tail(result.Stderr))
	}
}

// A client that is killed with a lease costs others nothing.
func TestPythonClientKilled(t *testing.T) {
	original, m := weights(t)
	file := "trained/model.safetensors"
	c := startPython(t, "hold", filepath.Join(m.Dir, "sharded/model-00001-of-00003.safetensors"))
	c.Expect("ready")
	want := python(t, original, "load "+file)
	for _, when := range []string{"held", "killed"} {
		if got := python(t, m.Dir, "load "+file); got != want {
			t.Errorf("while a lease is %s: got\n%.1000s\nwant\n%.1000s", when, got, want)
		}
		if held := leasesOf(t, m).Held; when == "held" && held == 0 {
			t.Error("nothing is held")
		}
		c.Kill()
	}
	rig.Await(t, "the lease of a killed client ends", func() bool { return leasesOf(t, m).Held == 0 })
}

// What is not leased is read by safetensors: a file on no mount without a word, one on
// a mount with one line that says why.
func TestPythonFallsBack(t *testing.T) {
	original, m := weights(t, "--share", "off")
	const load = `python "$SCRIPTS/weights.py" load trained/model.safetensors`
	want := output(t, original, `python "$SCRIPTS/witness.py" load_file trained/model.safetensors`)
	for dir, lines := range map[string]string{original: "", m.Dir: "trained/model.safetensors is read through its mount: its mount shares no memory here\n"} {
		result := run(t, dir, load, packageEnv()...)
		if result.Code != 0 || result.Stdout != want || result.Stderr != lines {
			t.Errorf("exit %d, it says %q, want %q; got\n%.1000s\nwant\n%.1000s", result.Code, result.Stderr, lines, result.Stdout, want)
		}
	}
}

// vLLM's extra config is checked, and what is wrong is named.
func TestPythonOptions(t *testing.T) {
	got := python(t, theStage.tree, "options")
	want := `{} None 134217728 None False
{'concurrency': 16, 'memory_limit': 5368709120} 16 5368709120 None False
{'memory_limit': 0} None 0 None False
{'memory_limit': -1} None 4611686018427387904 None False
{'distributed': True} None 134217728 None True
None 134217728 p{pp_rank}-t{tp_rank}-{part}.safetensors False
weightfs: the extra config is no object: []
weightfs: the extra config has no key concurency; it has concurrency, distributed, memory_limit
weightfs: the extra config has no key pattern; it has concurrency, distributed, memory_limit
weightfs_sharded: the extra config has no key num_threads, x; it has concurrency, distributed, memory_limit, pattern
`
	for _, value := range []string{"0", "-1", "1.5", "'16'", "True"} {
		want += "weightfs: concurrency must be a positive integer, not " + value + "\n"
	}
	for _, value := range []string{"-2", "1000000000.0", "'5Gi'", "None"} {
		want += "weightfs: memory_limit must be a number of bytes, 0 for one tensor at a time, or -1 for no limit, not " + value + "\n"
	}
	want += "weightfs: distributed must be true or false, not 1\n"
	for _, value := range []string{"7", "''", "'model-{rank}'", "'model-{part}'", "'{rank}-{part}-{x}'", "'{rank}-{part'", "'{}{rank}{part}'"} {
		want += "weightfs_sharded: pattern must be a file name with {part} and {rank}, or {tp_rank} and {pp_rank}, not " + value + "\n"
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What is not leased says why: a file on no mount, and one on a mount that leases
// nothing.
func TestPythonWhyNot(t *testing.T) {
	original, m := weights(t)
	_, off := weights(t, "--share", "off")
	const file = "trained/model.safetensors"
	got := python(t, original, strings.Join([]string{"why_not", file, filepath.Join(m.Dir, file), filepath.Join(off.Dir, file)}, " "))
	if want := "it lies on no mount of weightfs\nNone\nits mount shares no memory here\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The wheel has all that the package needs.
func TestPythonWheel(t *testing.T) {
	_, m := weights(t)
	folder := filepath.Join(filepath.Dir(script("")), "..", "..", "python")
	got := output(t, m.Dir, fmt.Sprintf(`
		python -m pip wheel -q --disable-pip-version-check --no-index --no-build-isolation --no-deps -w "$TMP" %q
		python -m pip install -q --disable-pip-version-check --no-index --no-deps --target "$TMP/site" "$TMP"/weightfs-*-py3-none-any.whl
		test -e "$TMP/site/weightfs/py.typed"
		PYTHONPATH="$TMP/site" python "$SCRIPTS/weights.py" load trained/model.safetensors`, folder))
	if !strings.Contains(got, "embeddings.word_embeddings.weight float32") {
		t.Error(got)
	}
	for _, left := range []string{"build", "dist", "weightfs.egg-info"} {
		if _, err := os.Stat(filepath.Join(folder, left)); err == nil {
			t.Errorf("the build left %s in the sources", left)
		}
	}
}
