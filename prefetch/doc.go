// Package prefetch reads a store fast within a hard byte cap.
//
// A [Reader] is an open object version; its View leases the cached bytes of a
// range, waiting for those that are missing. In user space each byte is written
// once, from the socket into the arena.
//
// Three owners, each with a lock of its own:
//
//   - An object (object.go) has the streams of one object version, the flights
//     that fetch it and the views that wait for these.
//   - The scheduler (scheduler.go) has the limit of concurrent GETs, the queue of
//     demanded flights and the objects whose streams have room ahead. It alone
//     starts GETs.
//   - The arena (package arena) has the memory: which bytes are there, who reads
//     and who writes them, who waits for memory, what is evicted.
//
// What is decided without a lock, which stream a read belongs to and how far
// ahead it is fetched, is package stream.
//
// Locks. An object's lock comes first, then that of one of its flights, then that
// of the table of objects (Cache.mu), then the arena's. The scheduler's is held
// alone, and what an object publishes for eviction has a leaf. None is held across
// I/O, and none over more than one object: what a change has others do is written
// down (after) and done once the lock is released.
//
// Who owns what. A chunk (16 KiB) is written by exactly one flight, which claimed
// it, and never again once it can be read. A flight belongs to the cache, a wait
// to the request: cancelling a View's context ends its wait, and the fetch goes on
// for others until the version's last Reader is closed.
//
// Why it cannot get stuck: a View takes all of its blocks at once or waits in
// line holding none, so nobody holds memory while waiting for memory; those
// who hold it wait for the network alone, which answers or fails in time.
// Demand may evict whatever is idle and cancels speculation that is in its
// way; speculation takes only what no stream needs, at most three quarters.
//
// Glossary. Block: 1 MiB of an object. Chunk: 16 KiB of a block. Lease: a reader
// holds blocks. Claim: a flight writes chunks. Flight: one GET. Part: what a
// stream's flight fetches. Window: how far ahead of its reader a stream is
// fetched. Demand: a reader waits for it; all else is speculation.
//
// Names and attributes are those of package prefetch/names.
package prefetch
