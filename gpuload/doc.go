// Package gpuload reads safetensors files and places their tensors on a device:
// a GPU (package cuda), or the host's memory ([CPU]).
//
// [OpenSource] finds the files: in a mounted or local folder, or in a bucket.
// [Load] reads them with a set number of readers and a set amount of staging
// memory, hands each tensor on as soon as it is complete, and returns a [Model].
//
//	            ┌ reader ── staging ──┐
//	parts of all│ reader ── staging ──┼─ copy on one of few streams ── device memory
//	files ──────┤ ...                 │           │                    = the files' layout
//	            └ reader ── staging ──┘           │
//	                 ↑                            │
//	                 └──────── event: free ◄──────┘
//
// The unit of reading is the part, a range of a file; one counter deals them
// out, so that one large tensor occupies every reader as a thousand small files
// do. The unit of staging and copying is the piece, as large as copies to the device
// should be, or smaller where the parts or the memory limit are; several reads fill
// it where the source gains from that. A reader enqueues the copy of what it has
// read and goes on to the next piece; the event after the copy gives the staging
// back. There is no barrier: reading waits only where all staging is being
// copied, which means that the device is what limits the load. While a device is
// being opened there is nothing to copy to, and readers fill all staging that the
// memory limit allows.
//
// A file on a mount of weightfs is not read but leased (package handoff), part by part
// and in the order of the parts. Its bytes are copied from the daemon's memory: to where
// they belong, by a device that is a [Borrower], or into staging. What cannot be leased
// is read from the mount.
//
// On the device a file lies as it does on disk, in one allocation or a few, or
// with other small files in one, and tensors are views of that. Only a tensor that
// would not begin at a multiple of 16 bytes, or of 256 if it has more than 4 KiB,
// is moved up, as it is copied, never afterwards.
//
// Who owns what: the caller owns the device, the source and the model, and
// closes each. A model owns its device memory, a load its staging and streams,
// which are freed when it returns, whatever it returns. The version of each file
// is pinned by OpenSource: a load of a file that has changed since fails, it
// never mixes.
package gpuload
