package fs

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The kinds of request, as <linux/fuse.h> numbers them, that [device] looks at.
const (
	opLookup      = 1
	opForget      = 2
	opReadlink    = 5
	opOpen        = 14
	opRead        = 15
	opRelease     = 18
	opGetxattr    = 22
	opListxattr   = 23
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opInterrupt   = 36
	opNotifyReply = 41
	opIoctl       = 39
	opBatchForget = 42
	opReaddirplus = 44
)

const (
	sizeOfReplyHeader = uint32(unsafe.Sizeof(fuse.OutHeader{}))
	// fixedReply has room for the header and the fixed part of any reply.
	fixedReply = 512
	// maxListing bounds the reply to a getdents: the kernel asks for as much as
	// its caller has room for, up to 1 MiB, and takes less.
	maxListing = 64 << 10
	// maxLink is the longest target of a link, and its end.
	maxLink = unix.PathMax
)

// header is the beginning of a request, which is at least as long.
func header(req []byte) *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&req[0])) }

// isForget tells whether a request of that kind gets no reply.
func isForget(op uint32) bool { return op == opForget || op == opBatchForget }

// isRead tells whether a request is a whole READ.
func isRead(req []byte) bool {
	return header(req).Opcode == opRead && len(req) >= int(unsafe.Sizeof(fuse.ReadIn{}))
}

// replyStatus is the status in a reply.
func replyStatus(reply []byte) fuse.Status {
	return fuse.Status(-(*fuse.OutHeader)(unsafe.Pointer(&reply[0])).Status)
}

// errorReply is a reply that says EIO.
func errorReply(unique uint64) []byte {
	reply := make([]byte, sizeOfReplyHeader)
	*(*fuse.OutHeader)(unsafe.Pointer(&reply[0])) = fuse.OutHeader{
		Length: sizeOfReplyHeader, Status: -int32(fuse.EIO), Unique: unique,
	}
	return reply
}

// limitReply makes req ask for no more than is answered at once.
func limitReply(req []byte) {
	op := header(req).Opcode
	if (op == opReaddir || op == opReaddirplus) && len(req) >= int(unsafe.Sizeof(fuse.ReadIn{})) {
		in := (*fuse.ReadIn)(unsafe.Pointer(&req[0]))
		in.Size = min(in.Size, maxListing)
	}
}

// replySpace is how long the reply to req may be. A request that is too short
// for its kind asks for nothing. It is refused by go-fuse, as is one that asks
// for more than any file system gives.
func replySpace(req []byte) int {
	start := unsafe.Pointer(&req[0])
	holds := func(size uintptr) bool { return len(req) >= int(size) }
	asked := uint32(0)
	switch op := header(req).Opcode; {
	case op == opReadlink:
		asked = maxLink
	case (op == opReaddir || op == opReaddirplus || op == opRead) && holds(unsafe.Sizeof(fuse.ReadIn{})):
		asked = (*fuse.ReadIn)(start).Size
	case (op == opGetxattr || op == opListxattr) && holds(unsafe.Sizeof(fuse.GetXAttrIn{})):
		asked = (*fuse.GetXAttrIn)(start).Size
	case op == opIoctl && holds(unsafe.Sizeof(fuse.IoctlIn{})):
		asked = (*fuse.IoctlIn)(start).OutSize
	}
	return fixedReply + int(min(asked, maxRead))
}
