// Package monitoring tests what operators watch mountd by: the built program's
// HTTP listener, and the rules and the dashboard of deploy/monitoring.
package monitoring

import (
	"context"
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

// stage is what the tests share.
type stage struct {
	*rig.Stage
	root string // of the project
}

// theStage is set before the first test runs.
var theStage stage

func TestMain(m *testing.M) {
	rig.Main(m, "monitoring", rig.ServerOptions{}, func(_ context.Context, s *rig.Stage) (err error) {
		theStage.Stage = s
		theStage.root, err = rig.Root()
		return err
	})
}
