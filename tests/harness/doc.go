// Package harness drives the built programs from outside, as their users do,
// for the black-box tests, the benchmarks and the demo: it builds them, mounts
// with mountd as a child in the foreground, reads in children only, and
// measures what they take.
//
// Nothing here reads through a mount in its own process: a mount that hangs
// would hang the threads of the test, which then could not end.
package harness
