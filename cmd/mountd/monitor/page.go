package monitor

import (
	"embed"
	"encoding/json"
	"net/http"
)

// pageFiles is the page: nothing of it comes from elsewhere, and nothing is built.
//
//go:embed page
var pageFiles embed.FS

const (
	// pagePolicy lets a browser take what the page consists of from here alone, run
	// no script within it, and show it within no other.
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	// maxReports bounds how many reports are made at once; others get a 503.
	maxReports = 4
)

// handlePage adds the page, what it consists of, and the report that it shows, for
// those whom allow lets have them: the report names objects.
func (m *Mount) handlePage(mux *http.ServeMux, allow func(http.Handler) http.Handler) {
	for path, file := range map[string]string{
		"/{$}": "page/index.html", "/page.css": "page/page.css", "/page.js": "page/page.js", "/chart.js": "page/chart.js", "/icon.svg": "page/icon.svg",
	} {
		mux.Handle("GET "+path, allow(pageFile(file)))
	}
	mux.Handle("GET /api/report", allow(reportHandler(m.Report)))
}

// pageFile serves one file of the page.
func pageFile(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard(w.Header())
		w.Header().Set("Content-Security-Policy", pagePolicy)
		http.ServeFileFS(w, r, pageFiles, name)
	})
}

// reportHandler serves the report as JSON.
func reportHandler(report func() Report) http.Handler {
	busy := make(chan struct{}, maxReports)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
		default:
			http.Error(w, "enough reports are being made", http.StatusServiceUnavailable)
			return
		}
		guard(w.Header())
		w.Header().Set("Content-Type", "application/json")
		// Nobody is left to tell of an error: the client has gone.
		_ = json.NewEncoder(w).Encode(report())
	})
}

// guard has browsers take an answer for what it says it is, keep nothing, and tell
// nobody where they were.
func guard(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
