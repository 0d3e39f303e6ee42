package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// idleLimit is the memory limit of the mounts that are left idle.
const idleLimit = 512 << 20

// pressureFile is where the kernel tells whether memory is short, and what it tells.
const (
	pressureFile = "/proc/pressure/memory"

	plentiful = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
	scarce    = "some avg10=12.00 avg60=3.00 avg300=1.00 total=9000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
)

// TestUnreadMountTakesLittle lists a mount without reading from it: whatever its
// limit is, it stays below 100 MiB.
func TestUnreadMountTakesLittle(t *testing.T) {
	t.Parallel()
	var machine unix.Sysinfo_t
	noError(t, unix.Sysinfo(&machine))
	all := strconv.FormatUint(uint64(machine.Totalram)*uint64(machine.Unit), 10)
	for name, flags := range map[string][]string{"default limit": nil, "limit of all memory": {"--memory-limit", all}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mountBucket(t, flags...)
			succeed(t, "ls", "-l", m.Dir)
			succeed(t, "stat", filepath.Join(m.Dir, object))
			time.Sleep(5 * time.Second) // several times over what makes memory ready once a mount is read
			peak, err := rig.PeakRSS(m.PID())
			noError(t, err)
			t.Logf("limit of %d MiB, peak of %d MiB", reportOf(t, m.Dir).MemoryLimit>>20, peak>>20)
			if peak >= 100<<20 {
				t.Errorf("%d MiB were resident", peak>>20)
			}
		})
	}
}

// TestIdleMemoryGoesBack reads more than the limit through two mounts, of which
// only the second is on a node that is short of memory: that one falls to a tenth of
// its limit, after a minute. The first one keeps its memory until its node is short
// too.
func TestIdleMemoryGoesBack(t *testing.T) {
	t.Parallel()
	const key = "idle"
	noError(t, putSparse(t, key, 3*idleLimit/2))
	first, second := mountOnNode(t, plentiful), mountOnNode(t, scarce)
	first.fill(key)
	began := time.Now()
	second.fill(key)
	// The promise is ten seconds; it is waited for as long as for anything.
	if !rig.Eventually(second.gaveBack) {
		t.Fatalf("%d MiB are still resident of %d, %d before the reading", second.resident()>>20, second.full>>20, second.empty>>20)
	}
	took := time.Since(began)
	kept := first.resident()
	t.Logf("short: %d MiB, then %d after %.0f s; not short: %d MiB, then %d",
		second.full>>20, second.resident()>>20, took.Seconds(), first.full>>20, kept>>20)
	if took < time.Minute {
		t.Errorf("memory went back after %v, before the mount was idle for a minute", took)
	}
	if kept < first.full-16<<20 { // what Go's collector gives back
		t.Errorf("%d MiB are resident of %d where memory is not short", kept>>20, first.full>>20)
	}
	first.tell(scarce)
	if !rig.Eventually(first.gaveBack) {
		t.Errorf("%d MiB are still resident of %d", first.resident()>>20, first.full>>20)
	}
	t.Logf("once short too: %d", first.resident()>>20)
}

// nodeMount is a mount on a node whose kernel tells what the test says of memory.
type nodeMount struct {
	t *testing.T
	*rig.Mount
	dir         string // the mountpoint, as everybody but mountd finds it
	pressure    string // the file
	empty, full int64  // resident memory before and after fill, in bytes
}

// onNode runs a command with a file in place of the kernel's.
const onNode = `mount --bind "$0" ` + pressureFile + ` && exec "$@"`

// mountOnNode mounts the bucket for the length of the test.
func mountOnNode(t *testing.T, pressure string) *nodeMount {
	t.Helper()
	n := &nodeMount{t: t, pressure: filepath.Join(t.TempDir(), "pressure")}
	n.tell(pressure)
	m := mountUnder(t, append(rig.OwnMounts(), "sh", "-c", onNode, n.pressure), "s3://"+bucket, "--memory-limit", strconv.Itoa(idleLimit))
	n.Mount, n.dir = m, fmt.Sprintf("/proc/%d/root%s", m.PID(), m.Dir)
	return n
}

// tell sets what the node's kernel tells of memory.
func (n *nodeMount) tell(pressure string) {
	n.t.Helper()
	noError(n.t, os.WriteFile(n.pressure, []byte(pressure), 0o644))
}

func (n *nodeMount) resident() int64 {
	n.t.Helper()
	now, err := rig.RSS(n.PID())
	noError(n.t, err)
	return now
}

// gaveBack tells whether no more than a tenth of the limit is left, beside what
// mountd took before and 32 MiB for what its heap has grown by.
func (n *nodeMount) gaveBack() bool {
	n.t.Helper()
	return n.resident() <= n.empty+idleLimit/10+32<<20
}

// fill reads the object, which is larger than the limit.
func (n *nodeMount) fill(key string) {
	n.t.Helper()
	n.empty = n.resident()
	succeed(n.t, "sh", "-c", `cat "$0" >/dev/null`, filepath.Join(n.dir, key))
	if n.full = n.resident(); n.full < idleLimit*9/10 {
		n.t.Errorf("%d MiB are resident after the reading", n.full>>20)
	}
}

// mountKeys mounts a bucket of that server with a memory limit of 64 MiB, in a
// group, for the length of the test.
func mountKeys(t *testing.T, keys *rig.KeyServer, name string, flags ...string) (*rig.Mount, *rig.Cgroup) {
	t.Helper()
	group := rig.CgroupFor(t, name)
	return mountFor(t, rig.MountOptions{
		Source: "s3://keys", Env: append(theStage.Server.Env(), "AWS_ENDPOINT_URL="+keys.Start(t)),
		Args: append([]string{"--memory-limit", "64Mi"}, flags...), Cgroup: group,
	}), group
}

// TestSmallFilesTakeLittle reads many files of 4 KiB. Of the last 4,000 at least
// 2,000 are then in mountd's memory.
func TestSmallFilesTakeLittle(t *testing.T) {
	t.Parallel()
	const last = 4000
	var keys rig.KeyServer
	for i := range theStage.smallFiles {
		keys.Put(fmt.Sprintf("small-%06d", i), rig.Zeroes(4<<10))
	}
	m, group := mountKeys(t, &keys, "small")
	if got := succeed(t, "sh", "-c", `ls "$0" | wc -l`, m.Dir); got != fmt.Sprintln(theStage.smallFiles) {
		t.Errorf("%s files are listed", got)
	}
	const step = 10_000
	for from := 0; from < theStage.smallFiles; from += step {
		script := `cd "$0" && seq -f small-%06g "$1" "$2" | xargs -n 100 -P 4 cat | wc -c`
		if got := succeed(t, "sh", "-c", script, m.Dir, strconv.Itoa(from), strconv.Itoa(from+step-1)); got != fmt.Sprintln(step*4<<10) {
			t.Fatalf("%s bytes were read of %d files", got, step)
		}
	}
	before := keys.Gets.Load()
	reader := startReader(t)
	for i := range last { // past the page cache
		path := filepath.Join(m.Dir, fmt.Sprintf("small-%06d", theStage.smallFiles-1-i))
		for _, o := range []order{{Op: "open", Path: path, Direct: true}, {Op: "read", Size: 4 << 10}, {Op: "close"}} {
			if got := reader.do(t, o); len(got.Failures) > 0 {
				t.Fatalf("%s of %s: %v", o.Op, path, got)
			}
		}
	}
	gets := keys.Gets.Load() - before
	t.Logf("%s; %d GETs for the last %d", rig.CheckMemory(t, m, group, 64<<20, int64(theStage.smallFiles)), gets, last)
	if gets > last/2 {
		t.Errorf("%d GETs for the last %d files", gets, last)
	}
}

// TestListedAgainAndAgain fills the cache, and lists 20,000 objects until the store
// was asked for them many times: what it says is remembered for a second only.
func TestListedAgainAndAgain(t *testing.T) {
	t.Parallel()
	const objects = 20_000
	var keys rig.KeyServer
	for i := range objects {
		keys.Put(fmt.Sprintf("flat/shard-%06d.safetensors", i), rig.Zeroes(64<<20))
	}
	m, group := mountKeys(t, &keys, "listed", "--metadata-ttl", "minimal")
	succeed(t, "sh", "-c", `cat "$0" >/dev/null`, filepath.Join(m.Dir, "flat/shard-000000.safetensors"))
	pages := int64(theStage.listings * objects / 1000)
	for keys.Lists.Load() < pages {
		if got := succeed(t, "sh", "-c", `ls "$0" | wc -l`, filepath.Join(m.Dir, "flat")); got != fmt.Sprintln(objects) {
			t.Fatalf("%s names were listed, want %d", got, objects)
		}
	}
	t.Logf("%s after %d pages", rig.CheckMemory(t, m, group, 64<<20, objects), keys.Lists.Load())
}
