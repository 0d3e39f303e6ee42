package main

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"weightfs/tests/proxy"
)

// newAdmin returns the handler of the admin requests.
func newAdmin(p *proxy.Proxy, seed uint64) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.Stats()) })
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.Log()) })
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { p.ResetStats() })
	mux.HandleFunc("POST /rules", func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		rules, err := proxy.ParseRules(data)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		p.SetRules(seed, rules...)
	})
	mux.HandleFunc("POST /refuse", func(w http.ResponseWriter, r *http.Request) { refuse(w, r, p) })
	mux.HandleFunc("POST /accept", func(w http.ResponseWriter, _ *http.Request) { report(w, p.Accept()) })
	return mux
}

// refuse stops accepting, for a time where the request says so: it answers at
// the end of that time.
func refuse(w http.ResponseWriter, r *http.Request, p *proxy.Proxy) {
	var d time.Duration
	if text := r.FormValue("for"); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	if err := p.Refuse(); err != nil || d == 0 {
		report(w, err)
		return
	}
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
	report(w, p.Accept())
}

func report(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
