package gpuload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weightfs/gpuload/safetensors"
	"weightfs/handoff"
	"weightfs/handoff/handofftest"
	"weightfs/tests/memstore"
)

// mount is files of a mount that a test leases of: a hand-off over a cache, and the
// same files on disk, which stand for the mount.
type mount struct {
	*handofftest.Server
	source *Source
	client *handoff.Client
	log    *bytes.Buffer // what was told
	data   map[string][]byte
}

// inode is that of every file of a handofftest.Server.
const inode = 4711

// newMount mounts files of so many bytes, each of two tensors, from a daemon with that
// memory limit.
func newMount(t *testing.T, limit int64, sizes ...int) *mount {
	t.Helper()
	m := &mount{data: map[string][]byte{}, log: &bytes.Buffer{}}
	var names []string
	for i, size := range sizes {
		name := fmt.Sprintf("model-%d.safetensors", i)
		names, m.data[name] = append(names, name), checkpoint(i, size)
	}
	m.Server = handofftest.Start(t, limit, m.data, nil)
	var err error
	if m.client, err = handoff.Dial(t.Context(), m.Socket, handoff.Options{Mode: handoff.Writable}); err != nil {
		t.Fatal(err)
	}
	ds := newDaemons(SourceConfig{Logger: slog.New(slog.NewTextHandler(m.log, nil)), Register: true})
	ds.connections[m.Socket] = &connection{client: m.client}
	m.source = &Source{label: "mount", daemons: ds}
	for _, name := range names {
		m.source.files = append(m.source.files, m.file(t, ds, name))
	}
	t.Cleanup(func() {
		for _, f := range m.source.files {
			if err := f.blob.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := m.source.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// TestInterruptedDialIsNotRemembered holds that who gives up while a daemon is connected
// to leaves it to the next one, and that nothing is told of it.
func TestInterruptedDialIsNotRemembered(t *testing.T) {
	m := newMount(t, 16<<20, 1000)
	ds := newDaemons(SourceConfig{Logger: slog.New(slog.NewTextHandler(m.log, nil))})
	defer ds.Close()
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ds.connect(interrupted, m.Socket); !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	client, err := ds.connect(t.Context(), m.Socket)
	if err != nil {
		t.Fatalf("the second: %v", err)
	}
	if again, err := ds.connect(interrupted, m.Socket); again != client || err != nil {
		t.Errorf("the third has another connection: %v", err)
	}
	if _, err := ds.connect(t.Context(), m.Socket+".none"); err == nil || ds.connections[m.Socket+".none"] == nil {
		t.Errorf("no daemon: %v, and it is asked for again", err)
	}
}

// checkpoint is a file with two tensors, the second of which ends with it.
func checkpoint(number, size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(number)}).Read(data)
	header := fmt.Appendf(nil, `{"first.%[1]d":{"dtype":"U8","shape":[%[2]d],"data_offsets":[0,%[2]d]},"second.%[1]d":{"dtype":"U8","shape":[%[3]d],"data_offsets":[%[2]d,%[4]d]}}`,
		number, size/3, size-size/3, size)
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

// file is one of them. Of what reads the page cache it is a file that is not cached,
// and has no bytes; what is read from the mount is the file on disk.
func (m *mount) file(t *testing.T, ds *daemons, name string) *File {
	t.Helper()
	data := m.data[name]
	onDisk := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(onDisk, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sparse := filepath.Join(t.TempDir(), name)
	if err := errors.Join(os.WriteFile(sparse, nil, 0o600), os.Truncate(sparse, int64(len(data)))); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(sparse)
	if err != nil {
		t.Fatal(err)
	}
	path, err := newPathBlob(f)
	if err != nil {
		t.Fatal(err)
	}
	path.direct.Close()
	if path.direct, err = os.Open(onDisk); err != nil {
		t.Fatal(err)
	}
	path.stat.Ino, path.mounted = inode, true
	file := newFile(name, name, int64(len(data)), &leaseBlob{pathBlob: path, client: m.client, path: name, daemons: ds})
	n := 8 + int64(binary.LittleEndian.Uint64(data))
	if file.header, err = safetensors.Parse(name, data[8:n], int64(len(data))); err != nil {
		t.Fatal(err)
	}
	return file
}

// staged is a device that copies from its own staging alone, as one that does not take
// foreign memory.
type staged struct{ Device }

// load loads the mount's files and compares what is on the device.
func (m *mount) load(ctx context.Context, dev Device, opts Options) (*Stats, error) {
	model, err := Load(ctx, dev, m.source, opts)
	if err != nil {
		return nil, err
	}
	for _, tensor := range model.Tensors() {
		got, readErr := io.ReadAll(tensor.Open())
		want := m.data[tensor.File().Name()][tensor.Offset():][:len(got)]
		if int64(len(got)) != tensor.Size() || !bytes.Equal(got, want) {
			err = errors.Join(err, readErr, fmt.Errorf("%s differs", tensor.Name))
		}
	}
	stats := model.Stats()
	return &stats, errors.Join(err, model.Close())
}

func newTestCPU(t *testing.T) *CPU {
	t.Helper()
	dev, err := NewCPU(CPUConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

// settled waits until nothing is leased any more.
func (m *mount) settled(t *testing.T) {
	t.Helper()
	// What a load gave up is wanted until the daemon has heard of it.
	m.Until(t, "nothing is wanted or held", func(s handoff.Stats) bool { return m.client.Wanted() == 0 && s.Held == 0 })
}

// TestLoadFromLeases holds that all of several files comes from the daemon's memory,
// within the memory limit, by devices that copy from there and by one that does not;
// also where the daemon has much less memory than the files have bytes, and a client
// may hold a few blocks; and wherever a load of a bucket would begin.
func TestLoadFromLeases(t *testing.T) {
	for _, daemon := range []int64{64 << 20, 16 << 20} {
		for _, limit := range []int64{MemoryMinimum, 512 << 10} {
			for name, device := range map[string]func(*CPU) Device{"borrowed": func(d *CPU) Device { return d }, "staged": func(d *CPU) Device { return staged{d} }} {
				t.Run(fmt.Sprintf("%d MiB/%d/%s", daemon>>20, limit, name), func(t *testing.T) {
					m := newMount(t, daemon, 14<<20+12345, 5, 0, 3<<20, 5<<20)
					var all int64
					for _, data := range m.data {
						all += int64(len(data))
					}
					var loads sync.WaitGroup
					for range 2 { // of one source, at the same time
						loads.Go(func() {
							stats, err := m.load(t.Context(), device(newTestCPU(t)), Options{MemoryLimit: limit, Concurrency: 5, Stagger: 5})
							if err != nil {
								t.Error(err)
								return
							}
							if stats.LeasedBytes != all {
								t.Errorf("%d bytes of leases are told of %d", stats.LeasedBytes, all)
							}
							if peak := stats.StagingPeakBytes; peak <= 0 || limit > 0 && peak > limit {
								t.Errorf("a peak of %d bytes", peak)
							}
						})
					}
					loads.Wait()
					m.settled(t)
					if got := m.Stats().Bytes; got != 2*all {
						t.Errorf("%d bytes were leased of %d", got, 2*all)
					}
					if m.log.Len() > 0 {
						t.Error(m.log)
					}
				})
			}
		}
	}
}

// TestDaemonGoes holds that a load whose daemon ends reads the rest from the mount, and
// says so once.
func TestDaemonGoes(t *testing.T) {
	for name, device := range map[string]func(*CPU) Device{"borrowed": func(d *CPU) Device { return d }, "staged": func(d *CPU) Device { return staged{d} }} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, 32<<20, 30<<20, 30<<20)
			var once sync.Once
			_, err := m.load(t.Context(), device(newTestCPU(t)), Options{MemoryLimit: 2 << 20, Progress: func(int64) {
				once.Do(func() { m.Server.Server.Close() })
			}})
			if err != nil {
				t.Error(err)
			}
			if n := strings.Count(m.log.String(), "read through FUSE"); n != 1 {
				t.Errorf("told %d times: %s", n, m.log)
			}
		})
	}
}

// TestLeaseThatWasLost holds that a lease whose connection ended while it was copied
// is read from the mount: what is on the device then is the file's.
func TestLeaseThatWasLost(t *testing.T) {
	m := newMount(t, 32<<20, 2<<20)
	dev := &spoilingDevice{CPU: newTestCPU(t), spoil: func() { m.Server.Server.Close() }}
	if _, err := m.load(t.Context(), dev, Options{}); err != nil {
		t.Error(err)
	}
	if !dev.spoilt.Load() {
		t.Error("nothing was copied from a lease")
	}
}

// spoilingDevice copies something else in place of the first that it borrows, as if
// that had been replaced meanwhile.
type spoilingDevice struct {
	*CPU
	spoil  func()
	spoilt atomic.Bool
}

func (d *spoilingDevice) Borrow(memory []byte) ([]Staging, bool) {
	if !d.spoilt.Swap(true) {
		d.spoil()
		memory = make([]byte, len(memory))
	}
	return d.CPU.Borrow(memory)
}

// TestLeaseFails holds that a load ends with an error that names file, range and
// tensor where the daemon cannot read the file, or has another version of it, and that
// nothing stays leased: the next load succeeds.
func TestLeaseFails(t *testing.T) {
	m := newMount(t, 32<<20, 5<<20, 30<<20)
	m.Store.Hook(memstore.Hooks{Range: func(_ context.Context, key string, off int64) error {
		if key == "model-1.safetensors" && off >= 16<<20 {
			return errors.New("the store broke")
		}
		return nil
	}})
	_, err := m.load(t.Context(), newTestCPU(t), Options{PartSize: 2 << 20})
	for _, part := range []string{"model-1.safetensors [", `tensor "second.1"`, "the store broke", "input/output error"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %q", err, part)
		}
	}
	m.settled(t)
	m.Store.Hook(memstore.Hooks{})
	m.Until(t, "the failure is forgotten", func(handoff.Stats) bool {
		_, err = m.load(t.Context(), newTestCPU(t), Options{})
		return err == nil
	})
	m.settled(t)
}

// TestReplacedBeforeLease holds that a file of which the daemon has another version is
// read from the mount, which knows that it is gone.
func TestReplacedBeforeLease(t *testing.T) {
	m := newMount(t, 32<<20, 5<<20)
	m.source.files[0].blob.(*leaseBlob).stat.Ino++
	if _, err := m.load(t.Context(), newTestCPU(t), Options{}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(m.log.String(), errReplaced.Error()) || m.Stats().Bytes != 0 {
		t.Errorf("%d bytes were leased: %s", m.Stats().Bytes, m.log)
	}
}

// pinningDevice copies from its own staging, and from what it has registered.
type pinningDevice struct {
	*CPU
	mount  *mount
	t      *testing.T
	refuse error

	mu         sync.Mutex
	registered map[int64]int64 // guarded by mu; ends by their begins, in the daemon's memory
	calls      int
}

func (d *pinningDevice) Register(memory []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.refuse != nil {
		return d.refuse
	}
	memory[0]++ // a fault where it cannot be written
	memory[0]--
	begin := d.mount.client.Offset(memory)
	end := begin + int64(len(memory))
	if begin%smallestSegment != 0 || int64(len(memory)) != smallestSegment && end != int64(len(d.mount.client.Memory())) || end > d.mount.Cache.Watermark() {
		d.t.Errorf("[%d,%d) is registered, of %d that are used", begin, end, d.mount.Cache.Watermark())
	}
	if d.registered[begin] != 0 {
		d.t.Errorf("%d is registered twice", begin)
	}
	d.registered[begin] = end
	return nil
}

func (d *pinningDevice) Unregister(memory []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	begin := d.mount.client.Offset(memory)
	if d.registered[begin] != begin+int64(len(memory)) {
		return fmt.Errorf("[%d,+%d) is not registered", begin, len(memory))
	}
	delete(d.registered, begin)
	return nil
}

func (d *pinningDevice) Borrow(memory []byte) ([]Staging, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	off := d.mount.client.Offset(memory)
	for begin, end := range d.registered {
		if begin <= off && off+int64(len(memory)) <= end {
			return d.CPU.Borrow(memory)
		}
	}
	return nil, false
}

// TestRegisters holds that a device registers whole segments of the memory that was
// used, which can only be read again then, copies from there in place, and lets go of
// them all at the end; and that a load by a device that refuses succeeds, and says why
// once.
func TestRegisters(t *testing.T) {
	for name, refuse := range map[string]error{"registered": nil, "refused": errors.ErrUnsupported} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, 80<<20, 66<<20)
			dev := &pinningDevice{CPU: newTestCPU(t), mount: m, t: t, refuse: refuse, registered: map[int64]int64{}}
			// Segments are registered while the load goes on, and may come too late.
			for end := time.Now().Add(2 * time.Minute); ; {
				stats, err := m.load(t.Context(), dev, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if len(dev.registered) != 0 {
					t.Errorf("registered after the load: %v", dev.registered)
				}
				if refuse == nil && stats.InPlaceBytes > 0 || refuse != nil && dev.calls > 1 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("nothing was copied in place by %d calls", dev.calls)
				}
			}
			if told := strings.Count(m.log.String(), "page-locked memory first"); told != 0 && refuse == nil || told != 1 && refuse != nil {
				t.Errorf("told %d times: %s", told, m.log)
			}
		})
	}
}
