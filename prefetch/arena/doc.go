// Package arena keeps blocks of objects in memory within a hard byte cap.
//
// An object's block i is its bytes [i MiB, i+1 MiB). The memory is one mapping
// outside the Go heap, in frames of 1 MiB; a block that is shorter, the last one
// of its object, takes an eighth of a frame or a sixty-fourth if it fits. Of each
// block the arena knows which chunks of 16 KiB can be read, which are being
// fetched and which were read, who writes it and who reads it. These records lie
// outside the Go heap too, and are part of the cap.
//
// A [Lease] holds all blocks of a range, for a reader; a [Claim] is the exclusive
// right to write the chunks of a range that were neither there nor claimed. A
// block that nobody holds is idle, in one of two lists: unread (fetched ahead) or
// retained (read). Memory is taken from the idle ones, in the order that
// [Arena.victim] gives. A record that is gone from the index is gone: nobody else
// has to be told.
//
// One lock guards everything but the bytes: a claimed chunk is written by its
// claimant alone, and never again once it can be read. Every operation takes as
// long as its blocks are many. None does I/O, and none takes another lock, but
// that an [Owner] is asked what its streams will come to.
//
// Readers wait for memory in one line, in order of arrival and holding none.
package arena
