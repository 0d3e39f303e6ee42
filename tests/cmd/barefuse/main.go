// Command barefuse mounts one file of memory: the least that a file system over
// go-fuse does for a read, and so the yardstick for what the kernel, FUSE and
// go-fuse leave to one that does more.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"weightfs/tests/lab"
)

const usage = `Usage: barefuse BYTES MOUNTPOINT

Mounts a folder with one file, "memory", of BYTES bytes of touched memory, and
prints "ready". SIGTERM unmounts.
`

// The kernel's parameters are those of mountd, so that only the work differs.
// Its readahead is set from outside, once it is mounted.
const (
	maxRead             = 1 << 20
	maxBackground       = 1024
	congestionThreshold = 120
)

func main() { lab.Main("barefuse", run) }

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("two arguments are needed")
	}
	size, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || size <= 0 {
		return fmt.Errorf("%q is not a number of bytes", args[0])
	}
	content, err := memory(size)
	if err != nil {
		return err
	}
	server, err := fs.Mount(args[1], &root{content: content}, &fs.Options{
		MountOptions: fuse.MountOptions{
			FsName: "barefuse", Name: "barefuse", DirectMount: true,
			MaxWrite: maxRead, MaxBackground: maxBackground, CongestionThreshold: congestionThreshold,
			DisableSplice: true, DisableXAttrs: true, ExplicitDataCacheControl: true,
		},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", args[1], err)
	}
	fmt.Println("ready")
	<-ctx.Done()
	return server.Unmount()
}

// memory returns size touched bytes in huge pages, as mountd's cache has them.
func memory(size int64) ([]byte, error) {
	data, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("%d bytes of memory: %w", size, err)
	}
	// Without huge pages the yardstick is a little shorter, and still one.
	_ = unix.Madvise(data, unix.MADV_HUGEPAGE)
	for i := 0; i < len(data); i += os.Getpagesize() {
		data[i] = 1
	}
	return data, nil
}

// root is the folder.
type root struct {
	fs.Inode
	content []byte
}

// OnAdd implements fs.NodeOnAdder. Of a file in memory go-fuse writes the reply by
// one writev from there.
func (r *root) OnAdd(ctx context.Context) {
	file := &fs.MemRegularFile{Data: r.content, Attr: fuse.Attr{Mode: 0o444}}
	r.AddChild("memory", r.NewPersistentInode(ctx, file, fs.StableAttr{Mode: syscall.S_IFREG}), false)
}
