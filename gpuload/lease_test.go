package gpuload

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"weightfs/handoff"
	"weightfs/handoff/handofftest"
)

// leased is a file on disk that stands for a mount's, and a server that leases its
// bytes.
func leased(t *testing.T, size int) (*handofftest.Server, *leaseBlob, []byte) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(data)
	s := handofftest.Start(t, 32<<20, map[string][]byte{"a": data}, nil)
	name := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	path, err := newPathBlob(f)
	if err != nil {
		t.Fatal(err)
	}
	c, err := handoff.Dial(t.Context(), s.Socket, handoff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	file, err := c.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	b := &leaseBlob{pathBlob: path, file: file, ahead: map[int64]*handoff.Want{}}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, b, data
}

// lease is a body of leases, whatever the page cache holds.
func lease(t *testing.T, b *leaseBlob, off, n int64) *leaseBody {
	t.Helper()
	wants, err := b.want(off, off+n)
	if err != nil {
		t.Fatal(err)
	}
	body := &leaseBody{ctx: t.Context(), blob: b, wants: wants, off: off, end: off + n}
	t.Cleanup(func() { body.Close() })
	return body
}

// piecesOf reads the next n bytes by copies.
func piecesOf(t *testing.T, b body, n int) []byte {
	t.Helper()
	buf := make([]byte, (n+pageSize-1)/pageSize*pageSize)
	if err := b.next(buf, n); err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// A load reads all parts once, what follows is wanted ahead, and nothing stays
// leased; so does the next load.
func TestLeasesAhead(t *testing.T) {
	const part = 3 << 20
	s, b, data := leased(t, 20<<20+12345)
	for range 2 {
		for off := 0; off < len(data); off += part {
			body := lease(t, b, int64(off), int64(min(part, len(data)-off)))
			if off == 0 && len(b.ahead) == 0 {
				t.Error("nothing is wanted ahead")
			}
			for at := off; at < min(off+part, len(data)); at += hotPiece {
				n := min(hotPiece, len(data)-at)
				if !bytes.Equal(piecesOf(t, body, n), data[at:at+n]) {
					t.Errorf("wrong bytes at %d", at)
				}
			}
		}
		if len(b.ahead) != 0 || b.file.Client().Wanted() != 0 {
			t.Errorf("%d wants are left, %d of them ahead", b.file.Client().Wanted(), len(b.ahead))
		}
	}
	if st := s.Stats(); st.Bytes != int64(2*len(data)) {
		t.Errorf("%d bytes were leased of %d", st.Bytes, 2*len(data))
	}
}

// When the daemon goes in the middle of a part, the rest is read from the mount.
func TestLeaseFallsBack(t *testing.T) {
	s, b, data := leased(t, 8<<20)
	body := lease(t, b, 0, 8<<20)
	var got []byte
	got = append(got, piecesOf(t, body, hotPiece)...)
	if err := s.Server.Close(); err != nil {
		t.Error(err)
	}
	for len(got) < len(data) {
		got = append(got, piecesOf(t, body, hotPiece)...)
	}
	if !bytes.Equal(got, data) || body.mount == nil {
		t.Errorf("wrong bytes, or not from the mount: %v", body.mount)
	}
	if again, err := b.read(t.Context(), 0, 8<<20); err != nil {
		t.Error(err)
	} else if _, leases := again.(*leaseBody); leases {
		t.Error("a daemon that has gone is asked")
	}
}

// A load onto the CPU copies from the leases themselves; of leases that were taken
// away meanwhile it reads the mount.
func TestLoadFromLeases(t *testing.T) {
	for name, gone := range map[string]bool{"there": false, "gone": true} {
		t.Run(name, func(t *testing.T) {
			s, b, data := leased(t, 8<<20)
			device, err := NewCPU(CPUConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer device.Close()
			to, err := device.Alloc(int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			stream, err := device.NewStream()
			if err != nil {
				t.Fatal(err)
			}
			w, ok, err := lease(t, b, 0, 2<<20).lend()
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			q := &queue{loader: &loader{device: device, pool: newStagingPool(device, budget{slots: 2, piece: hotPiece})}, stream: stream}
			f := &fileLoad{file: newFile("a", "a", int64(len(data)), b), memory: []Memory{to}, layout: &layout{segments: []segment{{end: int64(len(data))}}}}
			c := piece{file: f, begin: 0, end: w.Range().Length, lent: w}
			if err := q.copyLent(c); err != nil {
				t.Fatal(err)
			}
			if err := stream.Sync(); err != nil {
				t.Fatal(err)
			}
			if gone {
				if err := s.Server.Close(); err != nil {
					t.Fatal(err)
				}
				clear(to.(*mapping).Bytes()) // as if it had been replaced
			}
			if err := q.giveBack(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(to.(*mapping).Bytes()[:c.end], data[:c.end]) {
				t.Error("wrong bytes on the device")
			}
		})
	}
}
