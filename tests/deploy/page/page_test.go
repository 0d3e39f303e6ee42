package page

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weightfs/tests/rig"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// entry is a line of one of the page's lists.
type entry struct {
	Text       string
	Value, Max float64 // of its bar
}

// seen is what the page shows.
type seen struct {
	Title, State, Source, By, Why          string
	Served, Fetched, CacheUsed, CacheLimit string
	Gets                                   float64
	Parts, Widths                          []float64 // of the cache: bytes, and what is drawn of them
	Stack                                  float64   // how wide the bar is
	Files, Fetches, Failures, Clients      []entry
	Leased                                 string // so far, and what is kept
	Curve                                  string // of what was served
	Kernel                                 string
	Images                                 float64 // in the lists
	Labels                                 []string
	Overflow                               float64 // how much wider than the window the page is
	Ground                                 string  // the colour behind it
	TooSmall                               []string
}

// lookScript finds a seen.
const lookScript = `(() => {
  const text = (id) => document.getElementById(id).innerText;
  const entries = (id) => [...document.querySelectorAll("#" + id + " li")].map((li) => {
    const bar = li.querySelector("progress");
    return { Text: li.innerText, Value: bar && !bar.hidden ? bar.value : -1, Max: bar ? bar.max : -1 };
  });
  const parts = [...document.querySelectorAll("#stack i")];
  return {
    Title: document.title, State: text("state"), Source: text("source"), By: text("bound-by"), Why: text("bound-why"),
    Served: text("served-now"), Fetched: text("fetched-now"), CacheUsed: text("cache-used"), CacheLimit: text("cache-limit"),
    Gets: Number(text("gets")) || 0,
    Parts: parts.map((i) => Number(i.dataset.bytes)), Widths: parts.map((i) => i.getBoundingClientRect().width),
    Stack: document.getElementById("stack").getBoundingClientRect().width,
    Files: entries("files"), Fetches: entries("gets-list"), Failures: entries("failures"), Clients: entries("clients"), Leased: text("handoff-more"),
    Curve: document.querySelector("#chart .curve.served")?.getAttribute("d") ?? "",
    Kernel: text("kernel"),
    Images: document.querySelectorAll("main img, main b b, .list b").length,
    Labels: [...document.querySelectorAll("[role=img], main progress:not([hidden])")].map((e) => e.getAttribute("aria-label") ?? ""),
    Overflow: document.scrollingElement.scrollWidth - window.innerWidth,
    Ground: getComputedStyle(document.body).backgroundColor,
    TooSmall: [...document.querySelectorAll("main *")].filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display === "block" && e.clientWidth).map((e) => e.id || e.className),
  };
})()`

func (b *browser) look() seen {
	b.t.Helper()
	return run(b, chromedp.Evaluate[seen](lookScript))
}

// find is the entry that shows a key.
func find(entries []entry, key string) (entry, bool) {
	for _, e := range entries {
		if strings.Contains(strings.ReplaceAll(e.Text, "\n", ""), key) {
			return e, true
		}
	}
	return entry{}, false
}

// isBusy says whether the page shows the load, all of it.
func (s seen) isBusy() bool {
	file, ok := find(s.Files, shard)
	return ok && file.Value > 0 && s.Gets > 0 && len(s.Fetches) > 0 && moves(s.Served) && moves(s.Fetched) && strings.Contains(s.Curve, "L")
}

// moves says whether a rate is one of something.
func moves(rate string) bool { return strings.HasSuffix(rate, "/s") && !strings.HasPrefix(rate, "0 ") }

// TestPageOfABusyMount looks at the page of a mount under load, in windows of a
// telephone and of a desk, light and dark.
func TestPageOfABusyMount(t *testing.T) {
	m := mountUnderLoad(t, "--http=127.0.0.1:0")
	m.lease(t, hostile)
	address := m.address(t)
	b := openBrowser(t)
	grounds := map[string]bool{}
	for _, window := range []struct{ width, height int64 }{{360, 800}, {1280, 900}} {
		for _, scheme := range []string{"light", "dark"} {
			b.dress(window.width, window.height, scheme)
			run(b, chromedp.Navigate(address+"/"))
			var s seen
			if !rig.Eventually(func() bool { s = b.look(); return s.isBusy() }) {
				t.Fatalf("the load is not shown: %+v\n%q", s, b.complained())
			}
			b.screenshot(fmt.Sprintf("page-%d-%s", window.width, scheme))
			s.check(t)
			grounds[scheme+s.Ground] = true
		}
	}
	if len(grounds) != 2 {
		t.Errorf("light and dark are %v", grounds)
	}
	b.checkKeyboard()
	b.checkManners(address)
	b.checkEnd(m)
}

// TestPageTakesItsToken opens the page of a mount that wants a token: with it, as a
// browser that asked its user does, and without.
func TestPageTakesItsToken(t *testing.T) {
	const token = "correct-horse-battery-staple"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := mountUnderLoad(t, "--http=127.0.0.1:0", "--http-token-file="+file)
	address := m.address(t)
	for _, path := range []string{"/", "/page.js", "/api/report"} {
		answer, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without the token: %s", path, answer.Status)
		}
	}
	b := openBrowser(t)
	run(b, chromedp.Navigate(strings.Replace(address, "://", "://any:"+token+"@", 1)+"/"))
	var s seen
	if !rig.Eventually(func() bool { s = b.look(); return s.State == "live" && s.isBusy() }) {
		t.Errorf("with the token: %+v\n%q", s, b.complained())
	}
}

// TestPageOfManyFiles holds that a list ends, and says how many it does not show.
func TestPageOfManyFiles(t *testing.T) {
	const files, shown = 300, 64
	m := mountUnderLoad(t, "--http=127.0.0.1:0")
	m.read(t, fmt.Sprintf(`exec bash -c 'for i in {1..%d}; do exec {fd}<"$0"; done; exec sleep 3600' "$0"`, files-2), hostile)
	b := openBrowser(t)
	run(b, chromedp.Navigate(m.address(t)+"/"))
	var s seen
	if !rig.Eventually(func() bool {
		s = b.look()
		return len(s.Files) == shown+1 && s.Files[shown].Text == fmt.Sprintf("and %d more", files-shown)
	}) {
		t.Errorf("%d files: %+v\n%q", len(s.Files), s.Files, b.complained())
	}
	// The busiest come first: it is among them once its next bytes have come.
	if !rig.Eventually(func() bool { _, ok := find(b.look().Files, shard); return ok }) {
		t.Error("the one that is read is not among the first")
	}
}

// check holds what the page shows of a busy mount.
func (s seen) check(t *testing.T) {
	t.Helper()
	if s.Source != "s3://"+bucket || s.State != "live" || s.Title == "taken" || !strings.Contains(s.Title, "s3://"+bucket) {
		t.Errorf("source %q, state %q, title %q", s.Source, s.State, s.Title)
	}
	if s.Why == "" || !slices.Contains([]string{"the line", "the store", "memory", "the reader"}, s.By) {
		t.Errorf("held back by %q: %q", s.By, s.Why)
	}
	if s.CacheLimit != "32 MiB" {
		t.Errorf("cache of %q", s.CacheLimit)
	}
	var bytes, width float64
	for i := range s.Parts {
		bytes, width = bytes+s.Parts[i], width+s.Widths[i]
	}
	if bytes <= 0 || bytes > limit || bytes < limit-(1<<20) || width > s.Stack+1 || width < s.Stack-float64(2*len(s.Parts)) {
		t.Errorf("the parts of the cache are %v bytes, %v wide of %v", s.Parts, s.Widths, s.Stack)
	}
	if file, ok := find(s.Files, shard); !ok || file.Max != size || file.Value > size || !strings.Contains(file.Text, "dd (") || !strings.Contains(file.Text, "% of 48 MiB") {
		t.Errorf("the shard: %+v", file)
	}
	if _, ok := find(s.Files, hostile); !ok || s.Images != 0 {
		t.Errorf("the hostile name is not text (%v images): %+v", s.Images, s.Files)
	}
	if get, ok := find(s.Fetches, shard); !ok || !strings.Contains(get.Text, "GET") || !strings.Contains(get.Text, "oldest") {
		t.Errorf("GETs: %+v", s.Fetches)
	}
	if failure, ok := find(s.Failures, broken); !ok || !strings.Contains(failure.Text, "AccessDenied") || !strings.Contains(failure.Text, "read at 0 B") {
		t.Errorf("failures: %+v", s.Failures)
	}
	client, ok := find(s.Clients, "page.test ("+strconv.Itoa(os.Getpid())+")")
	if !ok || client.Value != 1<<20 || !strings.Contains(client.Text, "1.0 MiB in 1 lease · 0 ranges wanted · 1 file") || !strings.HasPrefix(s.Leased, "1.0 MiB so far · 1.0 MiB of ") {
		t.Errorf("leased %q by %+v", s.Leased, s.Clients)
	}
	if !strings.Contains(s.Kernel, "Readahead") || !strings.Contains(s.Kernel, "4.0 MiB") {
		t.Errorf("kernel: %q", s.Kernel)
	}
	for _, label := range s.Labels {
		if label == "" {
			t.Error("a picture has no label")
		}
	}
	if len(s.Labels) < 5 || s.Overflow > 0 || len(s.TooSmall) > 0 {
		t.Errorf("labels %q; %v px wider than the window; cut: %v", s.Labels, s.Overflow, s.TooSmall)
	}
}

// checkKeyboard reads the chart by keys.
func (b *browser) checkKeyboard() {
	b.t.Helper()
	read := func() string { return run(b, chromedp.Text(chromedp.CSS("#chart-reading"))) }
	usual := read()
	run(b, chromedp.Steps(chromedp.Focus(chromedp.CSS("#chart")), chromedp.KeyEvent(kb.ArrowLeft)))
	if text := read(); text == usual || !strings.Contains(text, "served") {
		b.t.Errorf("by an arrow key: %q", text)
	}
}

// checkEnd ends the mount under the page, which says so.
func (b *browser) checkEnd(m *busyMount) {
	b.t.Helper()
	m.stopReading()
	if err := m.Close(); err != nil {
		b.t.Error(err)
	}
	var s seen
	if !rig.Eventually(func() bool { s = b.look(); return strings.HasPrefix(s.State, "mountd does not answer: seen last at") }) {
		b.t.Errorf("after the end of the mount: %q", s.State)
	}
}

// TestPageNamesTheCache looks at the page of a mount whose shared cache is not there.
func TestPageNamesTheCache(t *testing.T) {
	const url = "http://127.0.0.1:9" // of discard, where nobody listens
	address := mountUnderLoad(t, "--http=127.0.0.1:0", "--cache-url="+url).address(t)
	b := openBrowser(t)
	b.dress(360, 800, "light")
	run(b, chromedp.Navigate(address+"/"))
	shown := ""
	if !rig.Eventually(func() bool {
		shown = run(b, chromedp.Evaluate[string](`document.getElementById("tier").innerText`))
		return strings.Contains(shown, url) && strings.Contains(shown, "left alone") && strings.Contains(shown, "unreachable")
	}) {
		t.Errorf("of the cache it shows %q", shown)
	}
	if s := b.look(); s.Overflow > 0 || len(s.TooSmall) > 0 {
		t.Errorf("%v px wider than the window, too small %v", s.Overflow, s.TooSmall)
	}
	b.screenshot("page-cache")
	b.checkManners(address)
}
