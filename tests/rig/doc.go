// Package rig is what tests, benchmarks and the demo stand on: it builds the
// programs, mounts with mountd as a child in the foreground, runs and reads in
// children that end with their parent, measures what they take, runs a real S3
// server (versitygw) over a folder with credentials of its own, and writes
// checkpoints, the same bytes for the same [Checkpoint].
//
// Nothing here reads through a mount in its own process: a mount that hangs
// would hang the threads of the test, which then could not end. It imports
// nothing of the product, so that it can be compared with it.
package rig
