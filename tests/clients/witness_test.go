package clients

import (
	"fmt"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// witness is a program that knows nothing of us and says what it has read.
type witness struct {
	name string
	// script runs it on the files of the working directory, see run. It prints
	// something that is another as soon as the files are, or fails.
	script string
	env    []string
	// sizes says that it looks at the sizes of files alone.
	sizes bool
}

// verify has fio check the checksums in the blocks of its file.
const verify = `fio --readonly --name=verify --filename=fio/data --size=16m --verify=crc32c --verify_interval=4k \
	--verify_fatal=1 --verify_state_save=0 --output="$TMP/report" `

// next is the release candidate of safetensors, which can be told how to read. Its
// third way, prefetch, is for CUDA devices alone.
const next = `PYTHONPATH="$NEXT" python "$SCRIPTS/witness.py" load_file `

// llama is llama.cpp, less its load mode.
const llama = `python "$SCRIPTS/witness.py" llama gguf/model.gguf `

// traced is bash that runs a command under strace, and fails unless each of the
// patterns is in what that wrote of the system calls named.
func traced(calls, command string, patterns ...string) string {
	script := fmt.Sprintf("strace -f -qq -y --seccomp-bpf -e trace=%s -o \"$TMP/trace\" %s\n", calls, command)
	for _, pattern := range patterns {
		script += fmt.Sprintf("grep -qE '%s' \"$TMP/trace\" || { echo 'not in the trace: %[1]s' >&2; exit 1; }\n", pattern)
	}
	return script
}

// witnesses are all of them.
func witnesses() []witness {
	return []witness{
		{name: "safetensors load_file", script: `python "$SCRIPTS/witness.py" load_file trained/model.safetensors`},
		{name: "safetensors safe_open", script: `python "$SCRIPTS/witness.py" slices trained/model.safetensors`},
		{name: "safetensors deserialize", script: `python "$SCRIPTS/../../python/digests.py" sharded/*.safetensors | sort`},
		{name: "safetensors 0.9 load_file, mmap", script: next + `trained/model.safetensors mmap`},
		{name: "safetensors 0.9 load_file, pread", script: next + `trained/model.safetensors pread`},
		{name: "MADV_POPULATE_READ, 4 readers", script: `seq 0 3 | xargs -P 4 -I@ sh -c 'python "$SCRIPTS/witness.py" populate trained/model.safetensors @ >"$TMP/@"'; cat "$TMP"/?`},
		{name: "llama.cpp mmap", script: traced("mmap", llama+"MMAP", `mmap\(NULL, .*gguf/model\.gguf>, 0\)`)},
		{name: "llama.cpp --direct-io", script: traced("openat", llama+"DIRECT_IO", `openat.*gguf/model\.gguf", O_RDONLY\|O_DIRECT`)},
		{name: "numpy", script: `python "$SCRIPTS/witness.py" arrays arrays/matrix.npy`},
		{name: "numpy forward", script: `python "$SCRIPTS/witness.py" embed trained`},
		{name: "tokenizers", script: `python "$SCRIPTS/witness.py" tokenize trained/tokenizer.json`},
		{name: "gguf", script: `python "$SCRIPTS/witness.py" gguf gguf/model.gguf`},
		{name: "zip as .pt", script: `python "$SCRIPTS/witness.py" archive archive/model.pt`},
		{name: "python import", script: `python "$SCRIPTS/witness.py" import_module .`},
		{name: "sha256sum -c", script: `sha256sum -c --quiet "$2"`},
		{name: "cp -r", script: `cp -r . "$TMP/copy"; cd "$TMP/copy"; sha256sum -c --quiet "$2"`},
		{name: "rsync -c", script: `rsync -rc --dry-run --out-format=%n ./ "$1"`},
		{name: "tar", script: `tar -cf - . | tar -xf - -C "$TMP"; cd "$TMP"; sha256sum -c --quiet "$2"`},
		{name: "grep -r", script: `grep -rna '' text | sort`},
		{name: "diff -r", script: `diff -r . "$1"`},
		{name: "tac", script: `tac text/vocab.txt | sha256sum`},
		{name: "dd iflag=direct", script: `dd if=trained/model.safetensors iflag=direct bs=1M status=none | sha256sum`},
		{name: "dd iflag=direct,skip", script: `dd if=trained/model.safetensors iflag=direct bs=4k skip=11000 count=300 status=none | sha256sum`},
		{name: "find", script: `find . -type f -printf '%P %s\n' | sort; find . -type d -printf '%P\n' | sort`, sizes: true},
		{name: "du", script: `find . -type f -print0 | sort -z | du -b --files0-from=-`, sizes: true},
		{name: "fio psync", script: verify + `--ioengine=psync --rw=randread --bs=4k`},
		{name: "fio psync, 4 readers", script: verify + `--ioengine=psync --rw=randread --bs=64k --numjobs=4 --thread`},
		{name: "fio mmap", script: verify + `--ioengine=mmap --rw=randread --bs=16k`},
		{name: "fio libaio", script: verify + `--ioengine=libaio --iodepth=16 --rw=randread --bs=64k`},
		{name: "fio libaio O_DIRECT", script: verify + `--ioengine=libaio --iodepth=16 --direct=1 --rw=read --bs=128k`},
		{name: "fio psync O_DIRECT", script: verify + `--ioengine=psync --direct=1 --rw=randread --bs=4k --numjobs=4 --thread`},
	}
}

// testimony is what a witness says of a tree.
func (w witness) testimony(t *testing.T, dir string, env ...string) rig.Result {
	t.Helper()
	result := run(t, dir, w.script, append(env, w.env...)...)
	result.Stderr = tail(result.Stderr)
	return result
}

// original is what a witness says of the originals, into which Python is not to
// write what it has compiled.
func (w witness) original(t *testing.T) rig.Result {
	t.Helper()
	result := w.testimony(t, theStage.tree, "PYTHONDONTWRITEBYTECODE=1")
	if result.Code != 0 {
		t.Fatalf("on the originals: exit %d: %s", result.Code, result.Stderr)
	}
	return result
}

// TestWitnesses holds that every client gets from cold mounts of a bucket and
// of a folder what it gets from the original files, and that the same comparison
// fails where a mount shows one wrong byte: a witness that does not notice it
// could vouch for nothing.
func TestWitnesses(t *testing.T) {
	flipped, longer := mount(t, theStage.flipped), mount(t, theStage.longer)
	for _, w := range witnesses() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			if w.sizes {
				w.check(t, longer)
			} else {
				w.check(t, flipped)
			}
		})
	}
}

// check compares what a witness says of each source, mounted, with what it says
// of the originals, which is returned, and of the lie, a mount.
func (w witness) check(t *testing.T, lie string) string {
	t.Helper()
	want := w.original(t)
	for kind, source := range sources() {
		t.Run(kind, func(t *testing.T) { w.checkAgrees(t, mount(t, source), want) })
	}
	t.Run("lie", func(t *testing.T) { w.checkNotices(t, lie, want) })
	return want.Stdout
}

func (w witness) checkAgrees(t *testing.T, dir string, want rig.Result) {
	t.Helper()
	got := w.testimony(t, dir)
	if got.Code == 0 && got.Stdout == want.Stdout {
		return
	}
	i := 0 // where they part
	for i < min(len(got.Stdout), len(want.Stdout)) && got.Stdout[i] == want.Stdout[i] {
		i++
	}
	i = strings.LastIndexByte(want.Stdout[:i], '\n') + 1
	t.Errorf("exit %d: %s\ngot\n%.1000s\nwant\n%.1000s", got.Code, got.Stderr, got.Stdout[i:], want.Stdout[i:])
}

func (w witness) checkNotices(t *testing.T, dir string, want rig.Result) {
	t.Helper()
	if got := w.testimony(t, dir); got.Code == 0 && got.Stdout == want.Stdout {
		t.Errorf("did not notice: %s", tail(got.Stdout))
	}
}
