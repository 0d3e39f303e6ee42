// Package fleet tests the cache that a fleet of nodes shares: the built programs,
// real mounts, nginx as deploy/nginx sets it up, and a real S3 server, behind a
// proxy that counts what it is asked for. What the client decides by itself is
// tested in weightfs/remote/tier, in virtual time.
package fleet
