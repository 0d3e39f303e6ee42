// Command rclone is rclone with the one backend and the one command that the
// comparisons use, which takes less than half of the time to build that all of it takes.
package main

import (
	_ "github.com/rclone/rclone/backend/local" // the cache of a mount
	_ "github.com/rclone/rclone/backend/s3"    // the store
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/mount"   // how it is read
	_ "github.com/rclone/rclone/cmd/version" // what is measured
)

func main() { cmd.Main() }
