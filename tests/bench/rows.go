package main

import "weightfs/tests/proxy"

// row is one comparison: the client and a reader through the mount, before the
// same server.
type row struct {
	name string
	// shape is the server's distance; none is plain loopback.
	shape proxy.Shape
	// connections are the client's.
	connections int
	reader      readSpec
}

// mib is the unit of block sizes.
const mib = 1 << 20

// rows are all comparisons, in the order of the table.
func rows() []row {
	readers := []struct {
		name string
		spec readSpec
	}{
		{"dd bs=1M", readSpec{Kind: "dd", Threads: 1, Block: mib}},
		{"16 readers of one file", readSpec{Kind: "buffered", Threads: 16, Block: mib}},
		{"mmap, 1 thread", readSpec{Kind: "mmap", Threads: 1, Block: mib}},
		{"mmap, 8 threads", readSpec{Kind: "mmap", Threads: 8, Block: mib}},
		{"8 readers, O_DIRECT, 8 MiB", readSpec{Kind: "direct", Threads: 8, Block: 8 * mib}},
	}
	var all []row
	for _, r := range readers {
		all = append(all, row{name: "loopback: " + r.name, connections: 16, reader: r.spec})
	}
	for _, r := range readers {
		all = append(all, row{name: "S3-like: " + r.name, shape: proxy.S3Like(), connections: 32, reader: r.spec})
	}
	return all
}
