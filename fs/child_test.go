package fs_test

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weightfs/tests/lab"
)

// childVerb is the first argument of a test binary that is to act as a reader.
const childVerb = "as-reader"

// asChild does what the arguments of a re-executed test binary ask for.
func asChild(args []string) (code int, ok bool) {
	if len(args) < 3 || args[0] != childVerb {
		return 0, false
	}
	verbs := map[string]func([]string) error{
		"handle": childHandle, "stat": childStat, "mmap": childMmap,
		"direct": childDirect, "parallel": childParallel, "touch": childTouch,
		"serve": childServe, "spread": childSpread, "fail": childFail, "repeat": childRepeat,
	}
	if err := verbs[args[1]](args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// childCommand makes the command of a re-executed test binary.
func childCommand(t *testing.T, verb string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(self, append([]string{childVerb, verb}, args...)...)
}

// child runs a re-executed test binary to its end and returns its stdout.
func child(t *testing.T, verb string, args ...string) string {
	t.Helper()
	cmd := childCommand(t, verb, args...)
	return output(t, cmd.Path, cmd.Args[1:]...)
}

// childRepeat does one thing with each of two files in turns, as in "open 1000 PATH
// PATH", the first of a turn being the last of the next. It prints the median ns of each,
// and the median of what the second took for one of the first in the same turn: what slows
// a machine down for longer than a turn cancels out.
func childRepeat(args []string) error {
	turns, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	once, often, err := repeated(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	var files [2]*os.File
	for i := range files {
		if files[i], err = os.OpenFile(args[2+i], os.O_RDONLY|syscall.O_DIRECT, 0); err != nil {
			return err
		}
		defer files[i].Close()
	}
	var took [2][]float64 // ns
	var ratios []float64
	for turn := range turns {
		var now [2]float64
		for k := range files {
			side := (turn + k) % 2
			began := time.Now()
			for i := range often {
				if err := once(files[side], turn*often+i); err != nil {
					return err
				}
			}
			now[side] = float64(time.Since(began).Nanoseconds()) / float64(often)
			took[side] = append(took[side], now[side])
		}
		ratios = append(ratios, now[1]/now[0])
	}
	fmt.Println(lab.Median(took[0]), lab.Median(took[1]), lab.Median(ratios))
	return nil
}

// repeated is what childRepeat does with a file the i-th time, and how often in a turn.
func repeated(kind string) (once func(f *os.File, i int) error, often int, err error) {
	switch kind {
	case "read":
		page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		return func(f *os.File, i int) error { _, err := f.ReadAt(page, int64(i%1024)*4096); return err }, 20, err
	case "open":
		return func(f *os.File, _ int) error {
			again, err := os.Open(f.Name())
			if err != nil {
				return err
			}
			return again.Close()
		}, 20, nil
	case "list":
		return func(f *os.File, _ int) error {
			dir, err := os.Open(filepath.Dir(f.Name()))
			if err != nil {
				return err
			}
			_, err = dir.Readdirnames(-1)
			return errors.Join(err, dir.Close())
		}, 1, nil
	}
	return nil, 0, fmt.Errorf("cannot repeat %q", kind)
}

// childHandle opens a file and obeys lines on stdin: "OFFSET LENGTH" reads and
// answers with the digest of what it got, or the errno's name.
func childHandle(args []string) error {
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	fmt.Println("open")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var off, n int64
		if _, err := fmt.Sscan(lines.Text(), &off, &n); err != nil {
			return err
		}
		buf := make([]byte, n)
		got, err := file.ReadAt(buf, off)
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			fmt.Println(unix.ErrnoName(errno))
			continue
		}
		fmt.Printf("%x\n", sha256.Sum256(buf[:got]))
	}
	return nil
}

// handle is a child that holds a file open.
type handle struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Scanner
}

// openInChild opens path in a child, which ends with the test.
func openInChild(t *testing.T, path string) *handle {
	t.Helper()
	cmd := childCommand(t, "handle", path)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &handle{t: t, cmd: cmd, stdin: stdin, stdout: bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if got := h.answer(); got != "open" {
		t.Fatalf("the child says %q", got)
	}
	return h
}

// ask has the child read without waiting for the answer.
func (h *handle) ask(off, n int64) {
	h.t.Helper()
	if _, err := fmt.Fprintln(h.stdin, off, n); err != nil {
		h.t.Fatal(err)
	}
}

// answer is the child's next line.
func (h *handle) answer() string {
	h.stdout.Scan()
	return h.stdout.Text()
}

// read is the digest of n bytes, or the name of an errno.
func (h *handle) read(off, n int64) string {
	h.t.Helper()
	h.ask(off, n)
	return h.answer()
}

// close ends the child and with it its handle.
func (h *handle) close() {
	h.stdin.Close()
	h.cmd.Wait()
}

// childStat prints inode, size, mode, owner and modification time of files.
func childStat(args []string) error {
	for _, name := range args {
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		fmt.Println(st.Ino, st.Size, strconv.FormatUint(uint64(st.Mode), 8), st.Uid, st.Gid, st.Mtim.Sec)
	}
	return nil
}

// childMmap prints the digest of a file read through a mapping.
func childMmap(args []string) error {
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	fmt.Printf("%x\n", sha256.Sum256(data))
	return nil
}

// childTouch reads one byte of each page of a file through a mapping, and drops
// the kernel's pages of it afterwards.
func childTouch(args []string) error {
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	sum := byte(0)
	for off := 0; off < len(data); off += os.Getpagesize() {
		sum += data[off]
	}
	fmt.Println(sum)
	if err := unix.Munmap(data); err != nil {
		return err
	}
	return unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// childDirect prints the digest of a file read by O_DIRECT in pieces of 1 MiB.
func childDirect(args []string) error {
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	buf := alignedPiece()
	hash := sha256.New()
	for off := int64(0); ; {
		n, err := unix.Pread(fd, buf, off)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		hash.Write(buf[:n])
		off += int64(n)
	}
	fmt.Printf("%x\n", hash.Sum(nil))
	return nil
}

// alignedPiece is 1 MiB as O_DIRECT wants it.
func alignedPiece() []byte {
	const align, piece = 4096, 1 << 20
	space := make([]byte, piece+align)
	shift := align - int(uintptr(unsafe.Pointer(&space[0]))%align)
	return space[shift : shift+piece]
}

// childFail has a number of goroutines read 3 MiB each of a file, at once and 4 MiB
// apart, and wants each to get EIO.
func childFail(args []string) error {
	readers, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	errs := make([]error, readers)
	var wg sync.WaitGroup
	for i := range readers {
		file, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer file.Close()
		wg.Go(func() {
			if _, err := file.ReadAt(make([]byte, 3<<20), int64(i)<<22); !errors.Is(err, syscall.EIO) {
				errs[i] = fmt.Errorf("reader %d: %w", i, cmp.Or(err, errors.New("no error")))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// childSpread prints the digest of a file of whole MiB, each of which is read
// by O_DIRECT, by a goroutine of its own, at once with the others.
func childSpread(args []string) error {
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	pieces := make([][]byte, st.Size>>20)
	errs := make([]error, len(pieces))
	var wg sync.WaitGroup
	for i := range pieces {
		pieces[i] = alignedPiece()
		wg.Go(func() {
			_, errs[i] = unix.Pread(fd, pieces[i], int64(i)<<20)
		})
	}
	wg.Wait()
	hash := sha256.New()
	for _, piece := range pieces {
		hash.Write(piece)
	}
	fmt.Printf("%x\n", hash.Sum(nil))
	return errors.Join(errs...)
}

// childParallel reads each of the files by 8 goroutines at once, which Go
// interrupts now and then, and fails at the first error.
func childParallel(args []string) error {
	errs := make([]error, 8*len(args))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = os.ReadFile(args[i%len(args)])
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fields are the words of each line.
func fields(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		all = append(all, strings.Fields(line))
	}
	return all
}
