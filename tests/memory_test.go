package tests

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// mountLimited mounts with a memory limit of 64 MiB, in a cgroup. check holds the
// peaks of resident memory and of the cgroup's charge to what mountd promises with
// so many objects known.
func mountLimited(t *testing.T, source string, env ...string) (m *rig.Mount, check func(objects int64)) {
	t.Helper()
	group, err := rig.NewCgroup("weightfs-" + strings.TrimPrefix(source, "s3://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	m = mountWith(t, rig.MountOptions{Source: source, Args: []string{"--memory-limit", "64Mi"}, Env: env, Cgroup: group})
	return m, func(objects int64) {
		t.Helper()
		promise := 64<<20 + 128<<20 + objects<<10
		resident, err := rig.PeakRSS(m.PID())
		if err != nil {
			t.Fatal(err)
		}
		charged, err := group.Peak()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("peak resident %d MiB, charged %d MiB, promised %d MiB", resident>>20, charged>>20, promise>>20)
		if max(resident, charged) > promise {
			t.Errorf("peak resident %d MiB, charged %d MiB, promised %d MiB", resident>>20, charged>>20, promise>>20)
		}
	}
}

// TestMemoryStaysBelowTheLimit reads eight times the limit through a mount, by
// several readers at once and by mapping.
func TestMemoryStaysBelowTheLimit(t *testing.T) {
	t.Parallel()
	dir, name := t.TempDir(), "large"
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: 4, Size: 512 << 20, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	theStage.server.Fill(t, name, nil)
	if err := theStage.server.PutDir(t.Context(), name, "", dir); err != nil {
		t.Fatal(err)
	}
	m, check := mountLimited(t, "s3://"+name)
	if got, want := sums(t, m.Dir), sums(t, dir); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	output(t, "sh", "-c", `cd "$0" && for i in 1 2 3 4; do for f in *.safetensors; do
		dd if="$f" of=/dev/null bs=1M iflag=direct status=none & done; done; wait`, m.Dir)
	output(t, theStage.Python, filepath.Join(theStage.Scripts, "mapped_sum.py"), filepath.Join(m.Dir, names[0]))
	check(5) // with the index
}

// TestSmallPod has eight processes map and copy 40 shards through a mount, all in
// one cgroup of 512 MiB with a memory limit of half of it, as a small pod has: the
// kernel kills nobody, no mapping fails, and the bytes are right.
func TestSmallPod(t *testing.T) {
	t.Parallel()
	const pod, limit, name, processes = 512 << 20, "256Mi", "pod", 8
	dir := t.TempDir()
	shards, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: 40, Size: 960 << 20, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	theStage.server.Fill(t, name, nil)
	if err := theStage.server.PutDir(t.Context(), name, "", dir); err != nil {
		t.Fatal(err)
	}
	group, err := rig.NewCgroup("weightfs-" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := group.SetLimit(pod); err != nil {
		t.Fatal(err)
	}
	m := mountWith(t, rig.MountOptions{Source: "s3://" + name, Args: []string{"--memory-limit", limit}, Cgroup: group})
	printed := make([]string, processes)
	var wg sync.WaitGroup
	for i := range printed {
		script := []string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group.Dir(), theStage.Python, filepath.Join(theStage.Scripts, "mapped_digests.py")}
		for at := i; at < len(shards); at += processes {
			script = append(script, filepath.Join(m.Dir, shards[at]))
		}
		wg.Go(func() {
			var err error
			if printed[i], err = rig.Output(t.Context(), nil, "sh", script...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := slices.Sorted(strings.Lines(strings.Join(printed, "")))
	want := slices.Sorted(strings.Lines(output(t, "sh", "-c", `cd "$0" && sha256sum *.safetensors`, dir)))
	if !slices.Equal(got, want) {
		t.Errorf("got\n%swant\n%s", strings.Join(got, ""), strings.Join(want, ""))
	}
	kills, err := group.Kills()
	if kills != 0 || err != nil {
		t.Errorf("%d were killed, %v", kills, err)
	}
}

// TestMemoryOfManyObjects fills the cache, and then has the kernel know 200,000
// objects: half of them in one folder, half in a thousand.
func TestMemoryOfManyObjects(t *testing.T) {
	t.Parallel()
	const objects = 200_000
	keys := keyServer{"big"}
	for i := range objects / 2 {
		keys = append(keys, fmt.Sprintf("flat/shard-%06d.safetensors", i), fmt.Sprintf("models/%03d/shard-%03d.safetensors", i/100, i%100))
	}
	slices.Sort(keys)
	server := httptest.NewServer(keys)
	defer server.Close()
	m, check := mountLimited(t, "s3://objects", "AWS_ENDPOINT_URL="+server.URL)
	output(t, "cat", filepath.Join(m.Dir, "big"))
	if got := output(t, "sh", "-c", `find "$0" -type f -size -2 | wc -l`, m.Dir); got != fmt.Sprintln(objects) {
		t.Errorf("%s files were found, want %d", got, objects)
	}
	output(t, "cat", filepath.Join(m.Dir, "big"))
	check(objects)
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// keyServer is an S3 server of more keys than are uploaded in short, in pages of
// 1,000. The one without a slash has 64 MiB.
type keyServer []string

func (keys keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, key, _ := strings.Cut(r.URL.Path[1:], "/"); key != "" {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Unix(1e9, 0), io.NewSectionReader(zeros{}, 0, 64<<20))
		return
	}
	query := r.URL.Query()
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	at, _ := slices.BinarySearch(keys, max(prefix, query.Get("continuation-token")))
	fmt.Fprint(w, `<ListBucketResult>`)
	for range 1000 {
		if at == len(keys) || !strings.HasPrefix(keys[at], prefix) {
			break
		}
		end := strings.Index(keys[at][len(prefix):], "/")
		if group := keys[at][:len(prefix)+end+1]; delimiter != "" && end >= 0 {
			fmt.Fprintf(w, `<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>`, group)
			at, _ = slices.BinarySearch(keys, group+"~")
			continue
		}
		size := map[bool]int{true: 64 << 20, false: 1}[!strings.Contains(keys[at], "/")]
		fmt.Fprintf(w, `<Contents><Key>%s</Key><LastModified>2024-05-01T12:00:00Z</LastModified><ETag>"1"</ETag><Size>%d</Size></Contents>`, keys[at], size)
		at++
	}
	more := at < len(keys) && strings.HasPrefix(keys[at], prefix)
	fmt.Fprintf(w, `<IsTruncated>%s</IsTruncated>`, strconv.FormatBool(more))
	if more {
		fmt.Fprintf(w, `<NextContinuationToken>%s</NextContinuationToken>`, keys[at])
	}
	fmt.Fprint(w, `</ListBucketResult>`)
}
