// Package monitoring tests what operators watch mountd by: the built program's
// HTTP listener, and the rules and the dashboard of deploy/monitoring.
package monitoring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// limit bounds what hangs, and nothing else.
const limit = 3 * time.Minute

// What the bucket holds: the names must not be seen by who has no token.
const (
	bucket = "models"
	prefix = "secret-project"
	object = "secret-weights.safetensors"
	large  = "secret-blob.bin"
)

// stage is what the tests share; TestMain sets it up, and they read it.
type stage struct {
	*rig.Programs
	server *rig.Server
	root   string // of the project
}

var theStage stage

func TestMain(m *testing.M) {
	code, err := runOnStage(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests:", err)
		code = 1
	}
	os.Exit(code)
}

func runOnStage(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if theStage.root, err = rig.Root(); err != nil {
		return 1, err
	}
	scratch, err := os.MkdirTemp("", "weightfs-monitoring-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if theStage.Programs, err = rig.Build(ctx, scratch); err != nil {
		return 1, err
	}
	if theStage.server, err = rig.NewServer(ctx, rig.ServerOptions{}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, theStage.server.Close()) }()
	return m.Run(), nil
}
