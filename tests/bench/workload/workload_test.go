package workload

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weightfs/tests/rig"
)

func TestMain(m *testing.M) {
	MainIfChild()
	goleak.VerifyTestMain(m)
}

func TestDivisionCoversEveryByteOnce(t *testing.T) {
	for _, c := range []struct {
		size, block int64
		threads     int
		turns       bool
	}{
		{100, 7, 1, false}, {100, 7, 4, false}, {100, 7, 4, true}, {3, 7, 4, false}, {64, 8, 8, false}, {1, 1, 3, true},
	} {
		d := newDivision(c.size, c.block, c.threads, c.turns)
		covered := make([]int, c.size)
		for i := range c.threads {
			for {
				off, n := d.take(i)
				if n == 0 {
					break
				}
				for k := off; k < off+n; k++ {
					covered[k]++
				}
			}
		}
		if slices.ContainsFunc(covered, func(n int) bool { return n != 1 }) {
			t.Errorf("%+v: %v", c, covered)
		}
	}
}

// writeFile makes a checkpoint of 8 tensors and returns its path and size.
func writeFile(t *testing.T) (path string, size int64) {
	t.Helper()
	dir := t.TempDir()
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: 8 << 20, TensorSize: 1 << 20, Dtypes: []string{"F16"}})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, names[0])
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, info.Size()
}

func TestReadersReadAll(t *testing.T) {
	path, size := writeFile(t)
	for _, w := range []Workload{
		&Read{Path: path, Way: Buffered, Threads: 3, Block: 1 << 20},
		&Read{Path: path, Way: Buffered, Threads: 2, Block: 1 << 20, Turns: true, Copy: Touched, Size: size},
		&Read{Path: path, Way: Direct, Threads: 2, Block: 1 << 20, Turns: true, Copy: Fresh, Size: size},
		&Read{Path: path, Way: Direct, Threads: 2, Block: 1 << 20},
		&Read{Path: path, Way: Mapped, Threads: 2, Block: 1 << 20},
		&DD{Paths: []string{path}, Block: 1 << 20},
	} {
		reports, err := Run(t.Context(), Options{}, w, w)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			if r.Bytes != size || r.Seconds() <= 0 {
				t.Errorf("%+v: %+v", w, r)
			}
		}
		if sum := Sum(reports); sum.Bytes != 2*size || sum.Begin > reports[0].Begin || sum.End < reports[1].End {
			t.Errorf("sum %+v of %+v", sum, reports)
		}
	}
}

func TestFirstIsDoneBeforeTheOthersBegin(t *testing.T) {
	dir := t.TempDir()
	made := filepath.Join(dir, "made")
	program := filepath.Join(dir, "program")
	script := "#!/bin/sh\nsleep 0.2\nprintf 12345678 >" + made + "\necho '{\"bytes\": 1, \"seconds\": 1}'\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	reports, err := Run(t.Context(), Options{First: &Gpuload{Program: program}}, &DD{Paths: []string{made}, Block: 1 << 20})
	if err != nil || len(reports) != 1 || reports[0].Bytes != 8 {
		t.Errorf("%+v, %v; want one report of 8 bytes", reports, err)
	}
	reports, err = Run(t.Context(), Options{First: &Gpuload{Program: "/bin/false"}}, &DD{Paths: []string{made}, Block: 1 << 20})
	if err == nil || !strings.Contains(err.Error(), "/bin/false") {
		t.Errorf("%+v, %v; want the error of the first", reports, err)
	}
}

// TestWorkloads holds what each reports, and that one that fails says why.
func TestWorkloads(t *testing.T) {
	path, size := writeFile(t)
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "c"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("12345"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	nowhere := &Read{Path: "/no/such/file", Way: Buffered, Threads: 1, Block: 1}
	for _, c := range []struct {
		w            Workload
		bytes, items int64
		err          string
	}{
		{w: FromExecToExit(&Read{Path: path, Way: Buffered, Threads: 1, Block: 1 << 20, Copy: Fresh, Size: size}), bytes: size},
		{w: FromExecToExit(nowhere), err: "/no/such/file"},
		{w: nowhere, err: "/no/such/file"},
		{w: &Touch{Bytes: 64 << 20}, bytes: 64 << 20},
		{w: &Touch{Bytes: 1 << 60}, err: "bytes of memory"},
		{w: &Skip{Path: path, Every: 4}, bytes: 2 << 20, items: 2},
		{w: &Find{Dir: dir}, bytes: 15, items: 3},
		{w: &Mix{Path: path, Random: 2, Reads: 5}, bytes: 10 * mixRandomRead, items: 10},
		{w: &Fill{Paths: []string{path}}},
	} {
		reports, err := Run(t.Context(), Options{}, c.w)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", kindOf(c.w), err, c.err)
			}
		} else if err != nil || reports[0].Bytes != c.bytes || reports[0].Items != c.items || reports[0].Seconds() <= 0 {
			t.Errorf("%s: %+v, %v", kindOf(c.w), reports, err)
		}
	}
	reports, err := Run(t.Context(), Options{}, &Mix{Path: path, Sequential: 2, Random: 2, For: time.Millisecond},
		&Mix{Path: path, Random: 2, Reads: 5}, &Header{Path: path})
	if err != nil || len(reports[0].Each) != 4 || slices.Contains(reports[0].Each, 0) || len(reports[1].Latencies) != 10 || reports[2].Items < 8 {
		t.Errorf("%+v, %v", reports, err)
	}
}

func TestRanksShareTheMatrices(t *testing.T) {
	path, size := writeFile(t)
	for _, columns := range []bool{false, true} {
		var ranks []Workload
		for i := range 8 {
			ranks = append(ranks, &Rank{Path: path, Rank: int64(i), Of: 8, Columns: columns, Delay: time.Duration(i) * time.Millisecond})
		}
		reports, err := Run(t.Context(), Options{}, ranks...)
		if err != nil {
			t.Fatal(err)
		}
		// The vectors, which every rank copies, are less than a hundredth.
		if got := Sum(reports).Bytes; got < size-size/50 || got > size+size/10 {
			t.Errorf("columns %v: %d bytes of a file of %d", columns, got, size)
		}
	}
}

func TestSequentialReadersGoRound(t *testing.T) {
	next := (&Mix{Sequential: 2}).pattern(1, 5<<20)
	var got []int64
	for range 6 {
		off, n := next()
		if n != 1<<20 {
			t.Errorf("read of %d", n)
		}
		got = append(got, off>>20)
	}
	if !slices.Equal(got, []int64{2, 3, 4, 0, 1, 2}) {
		t.Errorf("%v", got)
	}
}

func TestTheEndOfTheContextEndsTheReaders(t *testing.T) {
	path, _ := writeFile(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := Run(ctx, Options{}, &Mix{Path: path, Sequential: 1, For: time.Hour})
		done <- err
	}()
	cancel()
	if err := <-done; err == nil {
		t.Error("ended in peace")
	}
}
