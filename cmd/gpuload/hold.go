package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"weightfs/gpuload"
)

// handoverTimeout is how long a client may take to read the handles.
const handoverTimeout = 30 * time.Second

// heldModel is what a client of --hold is sent, as one JSON object, before the
// connection is closed: where the tensors lie, and how to map that. The memory
// stays as it is until the holder ends, which its clients must not outlive.
type heldModel struct {
	Device      string           `json:"device"`
	PID         int              `json:"pid"`
	Allocations []heldAllocation `json:"allocations"`
	Tensors     []heldTensor     `json:"tensors"`
}

// heldAllocation is one allocation. The handle, in base64, is the 64 bytes of
// a CUDA IPC handle, or of the CPU device the path of a file to map.
type heldAllocation struct {
	Handle []byte `json:"handle"`
	NBytes int64  `json:"nbytes"`
}

// heldTensor is one tensor: nbytes at offset of an allocation, which is -1 for
// a tensor without bytes.
type heldTensor struct {
	Name       string   `json:"name"`
	DType      string   `json:"dtype"`
	Shape      []uint64 `json:"shape"`
	Allocation int      `json:"allocation"`
	Offset     int64    `json:"offset"`
	NBytes     int64    `json:"nbytes"`
}

// describe exports all memory of the model.
func describe(dev gpuload.Device, m *gpuload.Model) (heldModel, error) {
	held := heldModel{Device: dev.Name(), PID: os.Getpid(), Allocations: []heldAllocation{}, Tensors: []heldTensor{}}
	index := map[gpuload.Memory]int{nil: -1}
	for i, memory := range m.Memory() {
		handle, err := memory.Export()
		if err != nil {
			return heldModel{}, fmt.Errorf("hold: %w", err)
		}
		index[memory] = i
		held.Allocations = append(held.Allocations, heldAllocation{Handle: handle, NBytes: memory.Size()})
	}
	for _, t := range m.Tensors() {
		memory, offset := t.Memory()
		shape := append([]uint64{}, t.Shape...) // a scalar's is [], not null
		held.Tensors = append(held.Tensors, heldTensor{
			Name: t.Name, DType: t.DType.String(), Shape: shape,
			Allocation: index[memory], Offset: offset, NBytes: t.Size(),
		})
	}
	return held, nil
}

// holder serves the handles of a model on a Unix socket.
type holder struct {
	listener *net.UnixListener
	path     string
	answer   []byte
}

// newHolder makes the socket. The caller calls serve or close.
func newHolder(path string, held heldModel) (*holder, error) {
	answer, err := json.Marshal(held)
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	listener, err := listenPrivately(path)
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	return &holder{listener: listener, path: path, answer: append(answer, '\n')}, nil
}

// serve answers clients until ctx ends, and takes the socket away.
func (h *holder) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = h.listener.Close() }) // ends Accept
	defer stop()
	var clients sync.WaitGroup
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			clients.Wait()
			if ctx.Err() == nil {
				return errors.Join(fmt.Errorf("hold: %w", err), h.close())
			}
			return os.Remove(h.path)
		}
		clients.Go(func() { answerClient(ctx, conn, h.answer) })
	}
}

// close takes the socket away without having served.
func (h *holder) close() error { return errors.Join(h.listener.Close(), os.Remove(h.path)) }

// answerClient writes the answer. A client that does not read it is its own
// loss.
func answerClient(ctx context.Context, conn net.Conn, answer []byte) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if conn.SetDeadline(time.Now().Add(handoverTimeout)) == nil {
		_, _ = conn.Write(answer)
	}
}

const (
	// scratchFolder, with a number of 32 bits, is the folder in which a socket is
	// made, and socketName its name there.
	scratchFolder = ".gpuload-"
	socketName    = "s"
	// socketPathMax is the longest path that a socket can be bound to (sun_path,
	// unix(7)), and longestFolder the longest that leaves room for the two.
	socketPathMax = 107
	longestFolder = socketPathMax - len("/"+scratchFolder+"4294967295/"+socketName)
)

// listenPrivately listens on a socket of mode 0600 that appears at path when it
// is ready, in place of one that nobody listens on.
func listenPrivately(path string) (*net.UnixListener, error) {
	if err := freeForSocket(path); err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(path), scratchFolder) // of mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	hidden := filepath.Join(scratch, socketName)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(hidden, 0o600), os.Rename(hidden, path)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// freeForSocket is an error unless there is nothing at path, or a socket that
// nobody listens on.
func freeForSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: %w, and is no socket", path, fs.ErrExist)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		return errors.Join(fmt.Errorf("%s is in use", path), conn.Close())
	}
	return nil
}
