// The runtime's profiles of the daemon, over HTTP.

package monitor

import (
	"net/http"
	"net/http/pprof"
)

// handleProfiles adds the runtime's profiles, one request at a time, for those
// whom holders lets in: they name what is in memory. The command line, which is
// among those of net/http/pprof, is left out.
func handleProfiles(mux *http.ServeMux, holders func(http.Handler) http.Handler) {
	busy := make(chan struct{}, 1)
	for path, handler := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.Handle("GET "+path, holders(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
				handler(w, r)
			default:
				http.Error(w, "a profile is being taken", http.StatusServiceUnavailable)
			}
		})))
	}
}
