package page

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"weightfs/tests/rig"
)

// browser is one tab of a Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	requests   []string // guarded by mu; the URLs that were asked for
	complaints []string // guarded by mu; errors and warnings of the page and of Chromium about it
}

// openBrowser starts a Chromium until the test ends.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v (make deploy-packages installs it)", err)
	}
	// What it leaves in TMPDIR goes with a folder of its own. A socket there has a path of
	// 107 bytes at most, for which t.TempDir may be too long.
	temp, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(temp); err != nil {
			t.Error(err)
		}
	})
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox,
		chromedp.UserDataDir(t.TempDir()), chromedp.Env("TMPDIR="+temp))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel) // which waits for the end of Chromium
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	do(b, network.Enable, network.EnableParams{})
	do(b, log.Enable, cdp.Empty{})
	do(b, runtime.Enable, cdp.Empty{})
	return b
}

// do runs a command of the protocol, which must succeed.
func do[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, hang)
	defer cancel()
	if _, err := chromedp.Call(ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// run has the browser do something, which must succeed.
func run[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, hang)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// note remembers what the tab asks for, and what goes wrong in it.
func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *network.EventWebSocketCreated:
		b.requests = append(b.requests, e.URL)
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("the console: %s %v", e.Type, e.Args))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s at %s:%d: %v", e.ExceptionDetails.Text, e.ExceptionDetails.URL, e.ExceptionDetails.LineNumber, e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

// dress makes the window so wide and high, and light or dark.
func (b *browser) dress(width, height int64, scheme string) {
	b.t.Helper()
	do(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600})
	do(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// screenshot writes what the whole page looks like to bin/deploy.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	picture := run(b, chromedp.FullScreenshot(100))
	root, err := rig.Root()
	if err != nil {
		b.t.Fatal(err)
	}
	dir := filepath.Join(root, "bin", "deploy")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// complained is what went wrong so far.
func (b *browser) complained() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.complaints)
}

// checkManners holds that the page asked for nothing elsewhere, and that nothing
// went wrong in it.
func (b *browser) checkManners(address string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	reports := 0
	for _, url := range b.requests {
		if !strings.HasPrefix(url, address+"/") {
			b.t.Errorf("the page asks for %s", url)
		}
		if url == address+"/api/report" {
			reports++
		}
	}
	if reports == 0 {
		b.t.Errorf("no report was asked for: %v", b.requests)
	}
	for _, complaint := range b.complaints {
		b.t.Error(complaint)
	}
}
