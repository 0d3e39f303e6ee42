// Package tests holds the black-box tests: the built programs, real mounts, a
// real S3 server, real clients, and an independent reader of the format. They
// know the programs by their command line alone; testdata/script has what users
// write there. Mounting needs root, or fusermount3; what needs root says so.
package tests
