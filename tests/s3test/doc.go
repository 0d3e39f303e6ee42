// Package s3test runs a real S3 server for tests, benchmarks and the demo:
// versitygw over a folder, on a loopback port of its own, with credentials
// made for the occasion.
//
// A test calls [Start] and gets a [Server] that ends with the test; a program
// calls [New] and then [Server.Close]. Objects go in through the S3 API, so
// that they have the ETags a bucket would give them. The server binary is
// built once into the .tools folder of the module; where it cannot be had,
// tests fail, they never skip.
//
// A Server is safe for concurrent use.
package s3test
