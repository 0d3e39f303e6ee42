// Package handoff leases the cached bytes of a mount to other processes of the
// host, without FUSE and without a copy.
//
// The mount's memory is one file that a client maps ([arena.Shared]). A client
// connects to a Unix socket, gets the file's descriptor, and asks for ranges of
// objects; the answer to each says where in the mapping its bytes lie. They stay
// there until the client gives the range back, or its connection ends.
//
// Data flow: a WANT is announced to the [Store], so that it is fetched ahead; waits
// for its share of what clients may hold together (quota.go); is leased through the
// Store, in the same line as all other readers; and is answered by a LEASE.
//
// Who owns what. A connection owns its open files, wants and leases, and gives them
// up at its end, whatever the client did: the server first shuts the socket down,
// and then releases the leases. So a client that could still send a message after
// it had used leased bytes knows that they were right: [Want.Give] tells.
//
// Who may connect is the kernel's rule for the mount ([Rule]). Readers get a
// descriptor that cannot be made writable.
//
// wire.go has the messages, server.go and session.go the daemon's side, client.go
// and want.go the other. docs/handoff.md says how to write a client in another
// language; package handofftest holds a client and a server to it.
package handoff
