package monitor

import (
	"encoding/json"
	"io/fs"
	"mime"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// pageServer serves the page of no mount.
func pageServer() http.Handler {
	mux := http.NewServeMux()
	(&Mount{}).handlePage(mux, func(h http.Handler) http.Handler { return h })
	return mux
}

func fetch(h http.Handler, path string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer
}

// TestPageIsWhole holds that all that the page names is served, and from here.
func TestPageIsWhole(t *testing.T) {
	server := pageServer()
	reference := regexp.MustCompile(`(?:href|src)="([^"#]+)"|from "([^"]+)"|url\(([^)]+)\)`)
	kinds := map[string]string{"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript", "/chart.js": "text/javascript", "/icon.svg": "image/svg+xml"}
	for path, kind := range kinds {
		answer := fetch(server, path)
		if got, _, err := mime.ParseMediaType(answer.Header().Get("Content-Type")); answer.Code != http.StatusOK || got != kind || err != nil {
			t.Errorf("%s: %d, %s, %v", path, answer.Code, got, err)
		}
		policy := answer.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || answer.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: the header %v", path, answer.Header())
		}
		for _, match := range reference.FindAllStringSubmatch(answer.Body.String(), -1) {
			name := "/" + strings.TrimPrefix(strings.Join(match[1:], ""), "./")
			if kinds[name] == "" && name != "/api/report" && name != "/metrics" {
				t.Errorf("%s refers to %s", path, name)
			}
		}
	}
	for _, path := range []string{"/page/", "/page/index.html", "/index.html", "/nothing"} {
		if code := fetch(server, path).Code; code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// TestPageHoldsNoMarkupFromReports holds that no file of the page writes markup, or
// loads from elsewhere.
func TestPageHoldsNoMarkupFromReports(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://|style="|\son[a-z]+="`)
	files := 0
	err := fs.WalkDir(pageFiles, "page", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		text, err := fs.ReadFile(pageFiles, path)
		for _, found := range forbidden.FindAllString(string(text), -1) {
			if found != "http://" || !strings.Contains(string(text), "http://www.w3.org/2000/svg") || strings.Count(string(text), "http://") > 1 {
				t.Errorf("%s has %q", path, found)
			}
		}
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestReportsAreBounded has as many reports be made as may be, and one more.
func TestReportsAreBounded(t *testing.T) {
	entered, goOn := make(chan struct{}), make(chan struct{})
	handler := reportHandler(func() Report {
		entered <- struct{}{}
		<-goOn
		return underLoad()
	})
	answers := make(chan *httptest.ResponseRecorder)
	for range maxReports {
		go func() { answers <- fetch(handler, "/api/report") }()
		<-entered
	}
	if code := fetch(handler, "/api/report").Code; code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", code)
	}
	close(goOn)
	for range maxReports {
		answer := <-answers
		var r Report
		if err := json.Unmarshal(answer.Body.Bytes(), &r); err != nil || r.Source != underLoad().Source || len(r.Files.Listed) != 3 || r.Bound != underLoad().Bound {
			t.Errorf("%v: %+v", err, r)
		}
		if kind := answer.Header().Get("Content-Type"); kind != "application/json" || answer.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("the header %v", answer.Header())
		}
	}
}
