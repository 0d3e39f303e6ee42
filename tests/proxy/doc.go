// Package proxy stands between S3 clients and a real S3 server on loopback and
// makes the server look like one that is far away, or broken.
//
// It shapes: a time to the first byte of each response, a bandwidth for each
// connection and one for all together ([Shape]), even or with a tail ([Tail]). It injects faults by an
// ordered list of rules ([Rule]): status codes, resets, stalls, truncated or
// mislabelled bodies, slow connections. And it counts what passes ([Stats],
// [Record]), so that a test can say how many requests something took.
//
// The proxy understands just as much HTTP/1.1 as it needs to see where requests
// begin: heads are forwarded byte for byte, unless a rule edits them, so that
// signatures stay valid, and bodies are moved by splice(2) without being
// copied, so that client and server keep the processor: 500 MB/s cost a fifth
// of a core, half of what reading and writing takes. Each client connection has
// one server connection of its own. Objects are addressed by path.
//
// All methods of [Proxy] are safe for concurrent use.
package proxy
