// Package monitor shows a running mount to those who operate it: as text for
// "mountd status" and as one JSON object ([Mount.Report]), and over HTTP
// ([Mount.Serve]) as metrics, the answers to probes, profiles and a page to look
// at. It asks fs, prefetch and remote for their numbers when it is asked, and keeps
// none but the throughput of ten minutes ([Mount.KeepHistory]).
//
// A new number goes into measures.go, where it gets the one name that it has
// everywhere, and into docs/metrics.md; what names objects, or is a list, goes into
// the [Report], which all but the metrics show. What holds readers back is decided
// in bound.go. A new path goes into http.go, which says for whom it is; what a
// client may take of the daemon is bounded there too.
package monitor

import (
	"log/slog"
	"time"

	"weightfs/fs"
	"weightfs/handoff"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
	"weightfs/remote/tier"
)

// Mount is a running mount. Its owner sets the fields before the first call and
// leaves them alone from then on; all methods are safe for concurrent use.
type Mount struct {
	Source      string
	Mountpoint  string // "" where another process has mounted
	MemoryLimit int64  // bytes
	Since       time.Time
	PID         int   // of the process that signals are for
	Takeovers   int64 // how often a process took over from one that had died
	Upgrades    int64 // how often one of another program took over from one that was well
	Server      *fs.Server
	Cache       *prefetch.Cache
	Names       *names.Cache
	Store       remote.Store
	Tier        *tier.Tier      // before it; nil: there is none
	Handoff     *handoff.Server // nil: the memory is not shared
	Logger      *slog.Logger

	history history
}
