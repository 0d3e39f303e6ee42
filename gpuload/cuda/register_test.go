//go:build cuda

package cuda_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weightfs/gpuload"
)

// sharedMemory maps so many bytes that other processes may have too.
func sharedMemory(t *testing.T, n int) []byte {
	t.Helper()
	fd, err := unix.MemfdCreate("shared", unix.MFD_CLOEXEC)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Ftruncate(fd, int64(n)))
	memory, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Munmap(memory)) })
	for i := range memory {
		memory[i] = byte(i * 7 >> 3)
	}
	return memory
}

// TestForeignMemory holds that shared memory is copied from in place once it is
// registered, also when it can only be read by then, across ranges that were
// registered one by one, and not before or after; and that Close lets go of it.
func TestForeignMemory(t *testing.T) {
	d := open(t)
	memory := sharedMemory(t, 8*mib)
	if _, ok := d.Borrow(memory[:mib]); ok {
		t.Error("what is not registered is borrowed")
	}
	for _, i := range []int{4, 0, 2} { // two bytes, and a gap before the last
		must(t, d.Register(memory[i*mib:(i+2)*mib]))
	}
	must(t, unix.Mprotect(memory, unix.PROT_READ))
	for _, r := range [][2]int{{5 * mib, 7 * mib}, {7 * mib, 8 * mib}} {
		if _, ok := d.Borrow(memory[r[0]:r[1]]); ok {
			t.Errorf("[%d,%d) is borrowed", r[0], r[1])
		}
	}
	const begin, end = mib/2 + 3, 5*mib + 7
	parts, ok := d.Borrow(memory[begin:end])
	if !ok || len(parts) != 3 {
		t.Fatalf("%d parts of three ranges, %t", len(parts), ok)
	}
	m, err := d.Alloc(end - begin)
	must(t, err)
	stream, err := d.NewStream()
	must(t, err)
	at := int64(0)
	for _, p := range parts {
		n := len(p.Bytes())
		if err := stream.Copy(m, at, p, 1, n); err == nil {
			t.Error("a copy from beyond the memory")
		}
		must(t, stream.Copy(m, at, p, 0, n))
		at += int64(n)
	}
	must(t, stream.Sync())
	got := make([]byte, end-begin)
	_, err = m.ReadAt(got, 0)
	must(t, err)
	if !bytes.Equal(got, memory[begin:end]) {
		t.Error("other bytes on the device")
	}
	must(t, d.Unregister(memory[2*mib:4*mib]))
	if _, ok := d.Borrow(memory[begin:end]); ok {
		t.Error("what was unregistered is borrowed")
	}
	must(t, d.Close())
	must(t, d.Unregister(memory[:2*mib])) // which Close has done
}

// TestRefusedRegistration holds the errors where a driver does not page-lock foreign
// memory, and that staging is to be had then.
func TestRefusedRegistration(t *testing.T) {
	simulated(t)
	for variable, unsupported := range map[string]bool{"CUDADRIVER_NO_REGISTER": true, "CUDADRIVER_NO_SHARED": false} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, "1")
			d := open(t)
			memory := sharedMemory(t, mib)
			err := d.Register(memory)
			if err == nil || errors.Is(err, errors.ErrUnsupported) != unsupported || !strings.HasPrefix(err.Error(), d.Name()) {
				t.Errorf("registered: %v", err)
			}
			if _, ok := d.Borrow(memory); ok {
				t.Error("what is refused is borrowed")
			}
			_, err = d.NewStaging(mib)
			must(t, err)
			must(t, d.Close())
		})
	}
	d := open(t)
	memory := sharedMemory(t, mib)
	must(t, unix.Mprotect(memory, unix.PROT_READ))
	if d.Register(memory) == nil {
		t.Error("memory that cannot be written is registered")
	}
	var _ gpuload.Registrar = d
	must(t, d.Close())
}
