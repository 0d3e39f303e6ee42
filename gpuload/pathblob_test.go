package gpuload

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"weightfs/remote"
)

// TestPathBodies reads a file past the page cache and through it, in pieces, to
// an end that is not aligned.
func TestPathBodies(t *testing.T) {
	const piece = 3 * pageSize
	dev, err := NewCPU(CPUConfig{})
	if err != nil {
		t.Fatal(err)
	}
	staging, err := dev.NewStaging(piece)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, pageSize, piece, piece + 1, 5*piece - 1, 5 * piece} {
		want := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(want) // never fails
		b := openTemp(t, want)
		for _, direct := range []bool{true, false} {
			r := &pathBody{ctx: t.Context(), blob: b, direct: direct && b.direct != nil}
			var got []byte
			for len(got) < size {
				n := min(piece, size-len(got))
				if err := r.next(staging.Bytes(), n); err != nil {
					t.Fatalf("%d bytes, direct %v: %v", size, direct, err)
				}
				got = append(got, staging.Bytes()[:n]...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes, direct %v: other bytes", size, direct)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

// TestRefusedDirectFallsBack hands O_DIRECT an unaligned buffer, which is
// refused as by a file system that cannot do it.
func TestRefusedDirectFallsBack(t *testing.T) {
	want := bytes.Repeat([]byte("x"), 2*pageSize)
	b := openTemp(t, want)
	buf := make([]byte, 4*pageSize)
	skew := int(-uintptr(unsafe.Pointer(unsafe.SliceData(buf)))%pageSize) + 1
	r := &pathBody{ctx: t.Context(), blob: b, direct: b.direct != nil}
	if err := r.next(buf[skew:], len(want)); err != nil || !bytes.Equal(buf[skew:][:len(want)], want) {
		t.Errorf("%v, or other bytes", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestCachedFollowsThePageCache(t *testing.T) {
	const size = 4 << 20
	b := openTemp(t, make([]byte, size))
	if !b.cached(0, size) {
		t.Error("a file just written is not cached")
	}
	cold, err := b.evict()
	if err != nil {
		t.Fatal(err)
	}
	if cold == b.cached(0, size) {
		t.Errorf("evicted: %v, cached: %v", cold, b.cached(0, size))
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestMincoreAgreesWithCachestat holds that older kernels are asked the same.
func TestMincoreAgreesWithCachestat(t *testing.T) {
	const size = 4<<20 + 5
	b := openTemp(t, make([]byte, size))
	for _, evicted := range []bool{false, true} {
		if evicted {
			if _, err := b.evict(); err != nil {
				t.Fatal(err)
			}
			if _, err := b.buffered.ReadAt(make([]byte, 1), 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range [][2]int64{{0, size}, {0, 1 << 20}, {pageSize, 3 * pageSize}, {1 << 20, 1}, {size - 5, 5}, {7, 0}} {
			want, err := heldByCachestat(b.buffered, r[0], max(r[1], 0))
			if r[1] == 0 {
				want = 0 // cachestat takes a length of 0 for all the rest
			}
			got, mincoreErr := heldByMincore(b.buffered, r[0], r[1])
			if err != nil || mincoreErr != nil || got != want {
				t.Errorf("evicted %t, %v: mincore says %d, %v, cachestat %d, %v", evicted, r, got, mincoreErr, want, err)
			}
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestRewriteInPlaceIsAChange rewrites a file as a copier does that keeps size
// and modification time.
func TestRewriteInPlaceIsAChange(t *testing.T) {
	content := make([]byte, pageSize)
	b := openTemp(t, content)
	path := b.buffered.Name()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.unchanged(); err != nil {
		t.Errorf("before: %v", err)
	}
	content[0] = 1
	// The kernel's clock for change times ticks every few milliseconds: the minute
	// bounds a hang.
	for deadline := time.Now().Add(time.Minute); b.unchanged() == nil && time.Now().Before(deadline); {
		if err := errors.Join(os.WriteFile(path, content, 0o600), os.Chtimes(path, time.Time{}, info.ModTime())); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.unchanged(); !errors.Is(err, remote.ErrChanged) {
		t.Errorf("%v, want ErrChanged", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func openTemp(t *testing.T, content []byte) *pathBlob {
	t.Helper()
	path := filepath.Join(t.TempDir(), fmt.Sprint(len(content)))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newPathBlob(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
