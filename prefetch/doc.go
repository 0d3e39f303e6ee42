// Package prefetch reads a store fast within a hard byte cap.
//
// A [Cache] owns one arena of memory, carved into blocks of 1 MiB, and the
// fetches that fill them. A [Reader] is an open object version; its View
// leases the cached bytes of a range, waiting for those that are missing. In
// user space each byte is written once, from the socket into its block.
//
// Data flow: View → which stream is this read of? (cursor) → how far ahead
// should it be fetched? (windowPolicy) → flights: GETs whose body is read
// straight into claimed chunks of blocks → readers are woken chunk by chunk,
// not at a part's end → the lease ends, the block comes to rest in the
// recency list → memory is taken from its far end.
//
// Who owns what. A chunk (16 KiB) of a block is written by exactly one flight,
// which claimed it, and never again once it can be read. A block goes back to
// the arena when claims and leases are gone and eviction chose it. A flight
// belongs to the cache, a wait to the request: cancelling a View's context
// ends its wait, and the fetch goes on for others until the version's last
// Reader is closed.
//
// Why it cannot get stuck: a View takes all of its blocks at once or waits in
// line holding none, so nobody holds memory while waiting for memory; those
// who hold it wait for the network alone, which answers or fails in time.
// Demand may evict whatever is idle and cancels speculation that is in its
// way; speculation takes only what no stream needs, at most three quarters.
//
// ristretto advises on retention (see adviser); the cache's own map and lists are
// the truth. Names and attributes are those of package prefetch/names.
package prefetch
