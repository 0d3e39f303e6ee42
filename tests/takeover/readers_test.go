package takeover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readersVariable has the test binary read what is mounted at a directory, until
// its stdin ends. It prints a summary then.
const readersVariable = "TAKEOVER_TEST_READERS"

// summary is what readers got.
type summary struct {
	Reads, Bytes, Looks int64
	Longest             time.Duration // of one read or look
	Failures            []string
}

// readers read a mount by several goroutines.
type readers struct {
	dir     string
	content map[string][]byte
	over    atomic.Bool
	reads   atomic.Int64
	bytes   atomic.Int64
	looks   atomic.Int64
	longest atomic.Int64

	mu       sync.Mutex
	failures []string // guarded by mu
}

// beReaders is 16 of them: buffered, by O_DIRECT, mapped, of files that stay open,
// and in and out of folders.
func beReaders(dir string) error {
	debug.SetPanicOnFault(true)
	r := &readers{dir: dir, content: map[string][]byte{}}
	large, small := names()
	for _, name := range large {
		r.content[name] = content(name, largeSize)
	}
	for _, name := range small {
		r.content[name] = content(name, smallSize)
	}
	var wg sync.WaitGroup
	for i := range 16 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		kinds := []func(*rand.Rand) error{r.buffered, r.direct, r.mapped, r.churn, r.whole}
		wg.Go(func() {
			for !r.over.Load() {
				if err := r.guarded(kinds[i%len(kinds)], random); err != nil {
					r.fail(err)
					return
				}
			}
		})
	}
	fmt.Println("reading")
	_, err := io.Copy(io.Discard, os.Stdin)
	r.over.Store(true)
	wg.Wait()
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(summary{
		Reads: r.reads.Load(), Bytes: r.bytes.Load(), Looks: r.looks.Load(),
		Longest: time.Duration(r.longest.Load()), Failures: r.failures,
	}))
}

// guarded has the fault of a mapping be an error.
func (r *readers) guarded(read func(*rand.Rand) error, random *rand.Rand) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%v", cause)
		}
	}()
	return read(random)
}

func (r *readers) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, time.Now().Format("15:04:05.000 ")+err.Error())
}

// timed notes how long something took.
func (r *readers) timed(do func() error) error {
	began := time.Now()
	err := do()
	took := int64(time.Since(began))
	for old := r.longest.Load(); took > old && !r.longest.CompareAndSwap(old, took); old = r.longest.Load() {
	}
	return err
}

// pick is some file, mostly a large one.
func (r *readers) pick(random *rand.Rand) (name string, data []byte) {
	large, small := names()
	if random.IntN(4) == 0 {
		name = small[random.IntN(len(small))]
	} else {
		name = large[random.IntN(len(large))]
	}
	return name, r.content[name]
}

// readAt reads a range and compares it.
func (r *readers) readAt(file *os.File, name string, buf []byte, off int64) error {
	n := 0
	err := r.timed(func() (err error) {
		n, err = file.ReadAt(buf, off)
		return err
	})
	want := r.content[name][off:min(off+int64(len(buf)), int64(len(r.content[name])))]
	if err != nil && (err != io.EOF || n != len(want)) {
		return fmt.Errorf("read %s at %d: %w", name, off, err)
	}
	if !bytes.Equal(buf[:n], want) {
		return fmt.Errorf("read %s at %d: wrong bytes", name, off)
	}
	r.reads.Add(1)
	r.bytes.Add(int64(n))
	return nil
}

// open opens one of the files, with no page of it cached by the kernel.
func (r *readers) open(random *rand.Rand, flags int) (file *os.File, name string, data []byte, err error) {
	name, data = r.pick(random)
	err = r.timed(func() (err error) {
		file, err = os.OpenFile(filepath.Join(r.dir, name), os.O_RDONLY|flags, 0)
		return err
	})
	if err == nil {
		_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	return file, name, data, err
}

func (r *readers) buffered(random *rand.Rand) error {
	return r.readSome(random, 0, make([]byte, 1+random.IntN(1<<20)))
}

func (r *readers) direct(random *rand.Rand) error {
	const page = 4096
	buf := make([]byte, 1<<20+page)
	lead := -uintptr(unsafe.Pointer(&buf[0])) % page
	return r.readSome(random, syscall.O_DIRECT, buf[lead:][:page*(1+random.IntN(1<<20/page))])
}

// readSome reads a file that is opened for it, here and there.
func (r *readers) readSome(random *rand.Rand, flags int, buf []byte) error {
	file, name, data, err := r.open(random, flags)
	if err != nil {
		return err
	}
	defer file.Close()
	for range 1 + random.IntN(8) {
		if err := r.readAt(file, name, buf, random.Int64N(int64(len(data)))&^4095); err != nil {
			return err
		}
	}
	return nil
}

// whole reads a file from its beginning to its end, which takes it over several
// deaths.
func (r *readers) whole(random *rand.Rand) error {
	file, name, data, err := r.open(random, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	buf := make([]byte, 128<<10)
	for off := int64(0); off < int64(len(data)) && !r.over.Load(); off += int64(len(buf)) {
		if err := r.readAt(file, name, buf, off); err != nil {
			return err
		}
		time.Sleep(time.Duration(random.IntN(4)) * time.Millisecond)
	}
	return nil
}

// mapped touches pages of a mapping.
func (r *readers) mapped(random *rand.Rand) error {
	file, name, data, err := r.open(random, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	mapping, err := unix.Mmap(int(file.Fd()), 0, len(data), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", name, err)
	}
	defer unix.Munmap(mapping)
	for range 1 + random.IntN(30) {
		off := random.IntN(len(data)) &^ 4095
		end := min(off+4096*(1+random.IntN(8)), len(data))
		same := false
		if err := r.timed(func() error { same = bytes.Equal(mapping[off:end], data[off:end]); return nil }); err != nil || !same {
			return fmt.Errorf("%s mapped at %d: wrong bytes: %w", name, off, err)
		}
		r.reads.Add(1)
		r.bytes.Add(int64(end - off))
	}
	return nil
}

// churn looks names up, those that are there and others, opens, and lists folders.
func (r *readers) churn(random *rand.Rand) error {
	name, data := r.pick(random)
	return r.timed(func() error {
		r.looks.Add(1)
		switch random.IntN(4) {
		case 0:
			if info, err := os.Lstat(filepath.Join(r.dir, name)); err != nil || info.Size() != int64(len(data)) {
				return fmt.Errorf("stat %s: %v, %w", name, info, err)
			}
		case 1:
			other := fmt.Sprintf("%s.%d", name, random.Uint64())
			if _, err := os.Lstat(filepath.Join(r.dir, other)); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("stat %s: %w", other, err)
			}
		case 2:
			file, err := os.Open(filepath.Join(r.dir, name))
			if err != nil {
				return err
			}
			return file.Close()
		case 3:
			return r.list()
		}
		return nil
	})
}

// list lists the folder of the large files.
func (r *readers) list() error {
	entries, err := os.ReadDir(filepath.Join(r.dir, "large"))
	if err != nil {
		return err
	}
	large, _ := names()
	if len(entries) != len(large) {
		return fmt.Errorf("a folder of %d files has %d", len(large), len(entries))
	}
	for i, entry := range entries {
		if entry.Name() != filepath.Base(large[i]) {
			return fmt.Errorf("%s in place of %s", entry.Name(), large[i])
		}
	}
	return nil
}
