package monitoring

import (
	"net/http"
	"strings"
	"testing"

	"weightfs/tests/proxy"
)

// TestProbes holds that a mount lives while its store is away, is not ready then,
// and is ready again when the store is back, without a restart.
func TestProbes(t *testing.T) {
	p := proxy.Start(t, theStage.Server.Endpoint)
	m := mount(t, "127.0.0.1:0", []string{"AWS_ENDPOINT_URL=" + p.Endpoint})
	ready := func(a answer) bool { return a.code == http.StatusOK }
	not := func(class string) func(answer) bool {
		return func(a answer) bool { return a.code == http.StatusServiceUnavailable && strings.Contains(a.body, class) }
	}
	m.want("/healthz", nil, http.StatusOK)
	m.want("/readyz", nil, http.StatusOK)

	if err := p.Refuse(); err != nil {
		t.Fatal(err)
	}
	away := m.await("/readyz", not("network"))
	m.want("/healthz", nil, http.StatusOK)
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	m.await("/readyz", ready)

	p.SetRules(1, proxy.Rule{Op: "LIST", Fault: proxy.Fault{Status: 403, Code: "AccessDenied"}})
	forbidden := m.await("/readyz", not("forbidden"))
	silence := make(chan struct{})
	defer close(silence)
	p.SetRules(1, proxy.Rule{Op: "LIST", Fault: proxy.Fault{Hold: silence}})
	silent := m.await("/readyz", not("timeout"))
	m.want("/healthz", nil, http.StatusOK)
	p.SetRules(1)
	m.await("/readyz", ready)
	if !m.read(object) {
		t.Error("a reader gets an error after it all")
	}
	for _, a := range []answer{away, forbidden, silent} {
		if strings.Count(a.body, "\n") != 1 || strings.Contains(a.body, "secret") || strings.Contains(a.body, bucket) {
			t.Errorf("the cause is not one line that names nothing: %q", a.body)
		}
	}
}
