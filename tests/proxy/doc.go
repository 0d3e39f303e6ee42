// Package proxy stands between S3 clients and a real S3 server on loopback and
// makes the server look like one that is far away, or broken.
//
// It shapes: a time to the first byte of each response, a bandwidth for each
// connection and one for all together ([Shape]), even or with a tail ([Tail]). It
// injects faults by an ordered list of rules ([Rule]): status codes, resets,
// stalls, truncated or mislabelled bodies, slow connections. And it counts what
// passes ([Stats], [Record]), so that a test can say how many requests something
// took.
//
// Heads are read by net/http and forwarded with the same target and fields, so
// that signatures stay valid. Bodies of responses are moved by splice(2) without
// being copied, so that client and server keep the processor: 500 MB/s cost a
// fifth of a core, half of what reading and writing takes. Each client connection
// has one server connection of its own. Objects are addressed by path, and
// requests have no bodies: uploads go to the server itself.
//
// All methods of [Proxy] are safe for concurrent use.
package proxy
