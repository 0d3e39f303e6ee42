package workload

import (
	"context"
	"fmt"
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
	if IsChild(os.Args) {
		if err := Main(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
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

// What is timed from exec to exit has its preparation in its time.
func TestFromExecToExit(t *testing.T) {
	path, size := writeFile(t)
	whole := FromExecToExit(&Read{Path: path, Way: Buffered, Threads: 1, Block: 1 << 20, Copy: Fresh, Size: size})
	reports, err := Run(t.Context(), Options{}, whole)
	if err != nil || reports[0].Bytes != size || reports[0].Seconds() < 0.001 {
		t.Errorf("%+v, %v", reports, err)
	}
	_, err = Run(t.Context(), Options{}, FromExecToExit(&Read{Path: "/no/such/file", Way: Buffered, Threads: 1, Block: 1}))
	if err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("error %v", err)
	}
}

func TestTouchReportsItsBytes(t *testing.T) {
	const size = 64 << 20
	reports, err := Run(t.Context(), Options{First: &Touch{Bytes: size}}, &Touch{Bytes: size})
	if err != nil || len(reports) != 1 || reports[0].Bytes != size {
		t.Errorf("%+v, %v; want one report of %d bytes", reports, err, size)
	}
	if _, err := Run(t.Context(), Options{}, &Touch{Bytes: 1 << 60}); err == nil || !strings.Contains(err.Error(), "bytes of memory") {
		t.Errorf("%v; want that there is no such memory", err)
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

func TestSmallReaders(t *testing.T) {
	path, size := writeFile(t)
	reports, err := Run(t.Context(), Options{}, &Mix{Path: path, Random: 2, Reads: 5},
		&Skip{Path: path, Every: 4}, &Mix{Path: path, Sequential: 2, Random: 2, For: time.Millisecond}, &Header{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	random, skip, mix, header := reports[0], reports[1], reports[2], reports[3]
	if random.Items != 10 || len(random.Latencies) != 10 || slices.Contains(random.Latencies, 0) {
		t.Errorf("random: %+v", random)
	}
	if skip.Items != 2 || skip.Bytes != 2<<20 {
		t.Errorf("skip: %+v", skip)
	}
	if len(mix.Each) != 4 || slices.Contains(mix.Each, 0) {
		t.Errorf("mix: %+v", mix)
	}
	if header.Items < 8 || size == 0 {
		t.Errorf("header: %+v", header)
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

func TestFindAndNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "c", "a"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("12345"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	reports, err := Run(t.Context(), Options{}, &Find{Dir: dir})
	if err != nil || reports[0].Items != 3 || reports[0].Bytes != 15 {
		t.Errorf("%+v, %v", reports, err)
	}
}

func TestAFailedReaderSaysWhy(t *testing.T) {
	_, err := Run(t.Context(), Options{}, &Read{Path: "/no/such/file", Way: Buffered, Threads: 1, Block: 1})
	if err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("error %v", err)
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
