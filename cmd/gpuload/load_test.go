package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weightfs/cmd/cli"
	"weightfs/gpuload/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gpuloadCommand runs the command in this process.
func gpuloadCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := newApp([]string{"AWS_EC2_METADATA_DISABLED=true"}, &out, &errs)
	code = cli.Execute(t.Context(), newRootCommand(a), args, a.env, &errs)
	return code, out.String(), errs.String()
}

// smallModel writes a folder of two files with three tensors, 1,006 bytes.
func smallModel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, header := range map[string]string{
		"a.safetensors": `{"a":{"dtype":"U8","shape":[1000],"data_offsets":[0,1000]}}`,
		"b.safetensors": `{"b":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"e":{"dtype":"F32","shape":[0],"data_offsets":[6,6]}}`,
	} {
		file := append([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}, header...)
		size := 1000
		if name == "b.safetensors" {
			size = 6
		}
		for i := range size {
			file = append(file, byte(i*7))
		}
		if err := os.WriteFile(filepath.Join(dir, name), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadPrintsJSON(t *testing.T) {
	dir := smallModel(t)
	code, stdout, stderr := gpuloadCommand(t, "load", "--device=cpu", "--json", "--verify", dir)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, stderr %q: want 0 and silence", code, stderr)
	}
	var report map[string]any
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%s: %v", stdout, err)
	}
	for key, want := range map[string]any{
		"source": dir, "device": "cpu", "files": 2.0, "tensors": 3.0, "bytes": 1006.0,
		"concurrency": 16.0, "readers": 2.0, "part_bytes": 8388608.0,
	} {
		if report[key] != want {
			t.Errorf("%s is %v, want %v", key, report[key], want)
		}
	}
	for _, key := range []string{"seconds", "bytes_per_second", "staging_peak_bytes"} {
		if n, ok := report[key].(float64); !ok || n <= 0 {
			t.Errorf("%s is %v", key, report[key])
		}
	}
	phases, _ := report["phases"].(map[string]any)
	for _, key := range []string{"start", "driver", "context", "listing", "header", "first_byte", "read", "copy", "tail", "bound"} {
		if phases[key] == nil {
			t.Errorf("phases are %v, without %s", phases, key)
		}
	}
	last := 0.0
	for _, key := range []string{"start", "listing", "first_byte", "read"} {
		if at := phases[key].(float64); at <= last {
			t.Errorf("%s at %v, after %v", key, at, last)
		} else {
			last = at
		}
	}
	if seconds := report["seconds"].(float64); seconds < last+phases["tail"].(float64)-1e-9 {
		t.Errorf("%v seconds, and the last read at %v", seconds, last)
	}
}

func TestLoadManifest(t *testing.T) {
	dir := smallModel(t)
	for _, hash := range []string{"sha256", "xxh3"} {
		path := filepath.Join(t.TempDir(), "m")
		if code, _, stderr := gpuloadCommand(t, "load", "--device=cpu", "--hash", hash, "--manifest", path, dir); code != 0 {
			t.Fatal(stderr)
		}
		entries, err := manifest.ReadFile(path)
		if err != nil || len(entries) != 3 || !strings.HasPrefix(entries[0].Digest, hash+":") {
			t.Errorf("%s: %+v, %v", hash, entries, err)
		}
		if code, _, stderr := gpuloadCommand(t, "load", "--device=cpu", "--expect", path, dir); code != 0 {
			t.Errorf("%s: the same load is not as expected: %s", hash, stderr)
		}
		entries[0].Digest = entries[1].Digest
		if err := manifest.Write(path, entries); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := gpuloadCommand(t, "load", "--device=cpu", "--expect", path, dir)
		if code != 1 || !strings.Contains(stderr, `tensor "a" of a.safetensors has digest`) {
			t.Errorf("%s: exit %d, %s", hash, code, stderr)
		}
	}
}

func TestLoadSummaryAndProgress(t *testing.T) {
	code, stdout, stderr := gpuloadCommand(t, "load", "--device=cpu", smallModel(t))
	if code != 0 || !strings.Contains(stdout, "3 tensors in 2 files, 1.0 kB, onto cpu") {
		t.Errorf("exit %d, stdout %q", code, stdout)
	}
	if !strings.Contains(stderr, "gpuload: 100%, 1.2 kB of 1.2 kB\n") {
		t.Errorf("stderr %q", stderr)
	}
	_, _, stderr = gpuloadCommand(t, "load", "--device=cpu", "--progress=none", smallModel(t))
	if strings.Contains(stderr, "%") {
		t.Errorf("stderr %q, want no progress", stderr)
	}
}

// TestLoadTellsItsSettings holds that the first line has the device, why it was
// taken, and the settings that the load runs with, wherever they came from.
func TestLoadTellsItsSettings(t *testing.T) {
	dir := smallModel(t)
	for want, args := range map[string][]string{
		"concurrency 16, parts of 8MiB, memory limit 40GB":   nil,
		"concurrency 4, parts of 16KiB, memory limit 5GiB":   {"--concurrency=4", "--part-size=16Ki", `--model-loader-extra-config={"memory_limit":5368709120}`},
		"concurrency 3, parts of 4KiB, no memory limit":      {"--model-loader-extra-config", `{"concurrency":3,"memory_limit":-1}`, "--part-size=1"},
		"concurrency 16, parts of 1464KiB, the least memory": {"--part-size=1499136", "--memory-limit=0"},
		"concurrency 16, parts of 8MiB, memory limit 5.0GB":  {"--memory-limit=5001234567"},
	} {
		_, _, stderr := gpuloadCommand(t, append([]string{"load", "--device=cpu", "--progress=none", dir}, args...)...)
		first, rest, _ := strings.Cut(stderr, "\n")
		if !strings.HasPrefix(first, "gpuload: loading "+dir+", 1.2 kB, onto cpu (host memory, ") ||
			!strings.HasSuffix(first, "; asked for): "+want) || rest != "" {
			t.Errorf("%v: %q, want %q at its end", args, stderr, want)
		}
	}
}

func TestLoadFailures(t *testing.T) {
	dir, empty, ranks, links := smallModel(t), t.TempDir(), t.TempDir(), t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(ranks, "model-rank-5-part-0.safetensors"), nil, 0o600),
		os.Symlink(dir+"/a.safetensors", filepath.Join(links, "model.safetensors")),
	); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "no SOURCE given"},
		{[]string{"gs://bucket/x"}, 2, "unknown scheme"},
		{[]string{"--nope", dir}, 2, "--nope"},
		{[]string{"--concurrency=0", dir}, 2, "concurrency"},
		{[]string{"--concurrency=1025", dir}, 2, "from 1 to 1024"},
		{[]string{"--hash=md5", dir}, 2, `unknown hash "md5"`},
		{[]string{"--progress=loud", dir}, 2, "loud"},
		{[]string{"--rank=-1", dir}, 2, "rank"},
		{[]string{"--rank=0", "--pattern=x", dir}, 2, "{rank}"},
		{[]string{"--pattern={rank}-{part}", dir}, 2, "needs --rank"},
		{[]string{"--device=gpu", dir}, 2, `device "gpu"`},
		{[]string{"--numa=1", dir}, 2, `numa "1": want auto or off`},
		{[]string{"--memory-limit=1000", dir}, 2, "memory limit of 1000 bytes is below the minimum"},
		{[]string{"--rank=0", dir + "/a.safetensors"}, 1, "is a file"},
		{[]string{ranks}, 1, "files of rank 5: choose one with --rank"},
		{[]string{links}, 1, links + "/model.safetensors: leads outside of the folder, to " + dir + "/a.safetensors: copy the file into the folder, or name the files themselves"},
		{[]string{"--manifest=" + empty + "/none/m", dir}, 1, "make " + empty + "/none/m in " + empty + "/none: no such file"},
		{[]string{"--manifest=" + empty, dir}, 1, empty + ": file already exists, and is no regular file"},
		{[]string{"--rank=0", dir}, 1, "model-rank-{rank}-part-{part}.safetensors"},
		{[]string{"--expect=" + empty + "/none", dir}, 1, "none"},
		{[]string{empty}, 1, empty},
		{[]string{empty + "/none"}, 1, "no such file"},
		{[]string{dir, dir}, 1, "duplicate tensor"},
	} {
		args := append([]string{"load", "--progress=none"}, c.args...)
		if !strings.Contains(strings.Join(c.args, " "), "--device") {
			args = append(args, "--device=cpu")
		}
		code, stdout, stderr := gpuloadCommand(t, args...)
		if code != c.code || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("%v: exit %d, stderr %q; want exit %d, %q", c.args, code, stderr, c.code, c.want)
		}
	}
}

func TestLoadLeavesNoManifestBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	code, _, stderr := gpuloadCommand(t, "load", "--device=cpu", "--manifest", path, fmt.Sprint(dir, "/none"))
	left, err := os.ReadDir(dir)
	if code != 1 || err != nil || len(left) != 0 {
		t.Errorf("exit %d, %s; left behind: %v, %v", code, stderr, left, err)
	}
}

// TestPlainProgressHoldsNobodyUp adds all of a load while nobody reads the lines.
func TestPlainProgressHoldsNobodyUp(t *testing.T) {
	lines, w := io.Pipe()
	p := progressPlain.start(1000, w)
	for range 1000 {
		p.add(1)
	}
	text := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(lines) // a pipe within the process does not fail
		text <- string(all)
	}()
	p.finish()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got := <-text; strings.Count(got, "\n") != 10 || !strings.HasSuffix(got, "gpuload: 100%, 1.0 kB of 1.0 kB\n") {
		t.Errorf("the lines are %q", got)
	}
}
