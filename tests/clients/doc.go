// Package clients has unmodified tools of others read mounts of a bucket and of
// a folder, and compares what they got with what they get from the original.
// Each of them is also shown a file that differs by one byte: a tool that does
// not notice that is no witness.
//
// There is nothing here but tests, which mount and read in children alone.
package clients
