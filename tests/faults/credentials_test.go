package faults

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"testing"
	"time"

	"weightfs/tests/proxy"
)

// TestCredentialsExpire holds that credentials which the store calls expired in
// the middle of a read are renewed with the token file as it is then, invisibly.
func TestCredentialsExpire(t *testing.T) {
	t.Parallel()
	for name, source := range sources() {
		for _, way := range everyWay() {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				issuer := startIssuer(t)
				r := sceneWith(t, sceneOptions{env: source(issuer)})
				before := issuer.issued.Load()
				if way == direct {
					before++ // its own, at its start
				} else {
					issuer.rotate("the-second-token")
				}
				r.proxy.SetRules(1, proxy.Rule{
					Op: "GET", Skip: 5, When: func(proxy.Request) bool { return issuer.issued.Load() == before },
					Fault: failing(400, "ExpiredToken"),
				})
				must(t, r.read(way))
				if faults := r.proxy.Stats().Faults; faults == 0 || issuer.issued.Load() == before {
					t.Errorf("%d requests were refused, credentials were issued %d times", faults, issuer.issued.Load())
				}
			})
		}
	}
}

// TestCredentialsRunOut holds that credentials whose time is over in the middle
// of a read are renewed by then, and hardly ever shown to the store any more.
func TestCredentialsRunOut(t *testing.T) {
	t.Parallel()
	const atOnce = 2 // requests under way
	for name, source := range sources() {
		for _, way := range waysRunOut() {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				issuer := startIssuer(t)
				issuer.lifetime = 4 * time.Second // in whole ones, rounded down
				flags := []string{"--concurrency", fmt.Sprint(atOnce)}
				r := sceneWith(t, sceneOptions{shape: proxy.Shape{Total: theStage.size / 6}, env: source(issuer), flags: flags})
				r.loadFlags = flags
				r.proxy.SetRules(1, proxy.Rule{Op: "GET", When: issuer.expired, Fault: failing(400, "ExpiredToken")})
				before := issuer.issued.Load()
				must(t, r.read(way))
				issued := issuer.issued.Load() - before
				t.Logf("issued %d times, %d requests too late", issued, issuer.refused.Load())
				// Those under way at each turn, and what they are followed by until the keys
				// are there.
				if limit := 4 * atOnce * (issued + 1); issued < 1 || issuer.refused.Load() > limit {
					t.Errorf("issued %d times, %d requests too late, %d allowed", issued, issuer.refused.Load(), limit)
				}
			})
		}
	}
}

// waysRunOut are two in short: all wait for the same.
func waysRunOut() []string {
	if testing.Short() {
		return []string{"sequential", direct}
	}
	return everyWay()
}

// TestRenewalRefused holds that who is not given new credentials is told so: the
// old ones have expired, and the token is nobody's any more.
func TestRenewalRefused(t *testing.T) {
	t.Parallel()
	for name, source := range sources() {
		for _, way := range everyWay() {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				r, o := readWhileDistrusted(t, startIssuer(t), source, way)
				r.checkRefused(way, o, "InvalidIdentityToken")
			})
		}
	}
}

// readWhileDistrusted reads in one way, in the middle of which the credentials
// expire and the issuer takes the token for nobody's.
func readWhileDistrusted(t *testing.T, issuer *issuer, source func(*issuer) []string, way string, flags ...string) (*scene, outcome) {
	t.Helper()
	r := sceneWith(t, sceneOptions{env: source(issuer), flags: append(flags, "--concurrency", "2")})
	r.loadFlags = []string{"--concurrency", "2"}
	r.proxy.SetRules(1,
		proxy.Rule{Op: "GET", Skip: 4, Count: 1, Fault: proxy.Fault{Edit: func(*http.Response) { issuer.distrust() }}},
		proxy.Rule{Op: "GET", When: func(proxy.Request) bool { return issuer.distrusting.Load() }, Fault: failing(400, "ExpiredToken")},
	)
	return r, r.read(way)
}

// checkRefused holds that every reader got EACCES, that nothing was asked for
// again but once, with credentials that are thought to be new, and that the log
// says why.
func (r *scene) checkRefused(way string, o outcome, cause string) {
	r.t.Helper()
	r.t.Log(o)
	if len(o.Failures) == 0 {
		r.t.Errorf("the reader got: %v", o)
	}
	for _, errno := range o.Failures {
		if errno != errnoOfWay(way, "EACCES") {
			r.t.Errorf("a reader got %s", errno)
		}
	}
	if way != direct {
		awaitLogged(r.t, r.mount.Process, cause)
	}
	checkQuiet(r.t, r.mount)
	r.checkAttempts(storageCase{}, way, 2)
}

// TestRevoked holds that who reads with keys that the store has revoked, by
// taking their account away, is told so.
func TestRevoked(t *testing.T) {
	t.Parallel()
	for _, way := range everyWay() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			server, access, secret := theStage.Server, rand.Text(), rand.Text()
			ctx := context.WithoutCancel(t.Context())
			noError(t, server.AddAccount(ctx, access, secret))
			r := sceneWith(t, sceneOptions{
				flags: []string{"--concurrency", "2"},
				env:   append(server.Env(), "AWS_ACCESS_KEY_ID="+access, "AWS_SECRET_ACCESS_KEY="+secret),
			})
			r.loadFlags = []string{"--concurrency", "2"}
			removed := make(chan struct{}) // later requests reach the store then
			r.proxy.SetRules(1,
				proxy.Rule{Op: "GET", Skip: 4, Count: 1, Fault: proxy.Fault{Edit: func(*http.Response) {
					if err := server.RemoveAccount(ctx, access); err != nil {
						t.Error(err)
					}
					close(removed)
				}}},
				proxy.Rule{Op: "GET", Skip: 4, Fault: proxy.Fault{Hold: removed}},
			)
			r.checkRefused(way, r.read(way), "InvalidAccessKeyId")
		})
	}
}

// TestTokensStaySecret looks for the token that credentials are asked for with,
// and for what is given for it, when they are renewed and when that is refused.
func TestTokensStaySecret(t *testing.T) {
	t.Parallel()
	for name, source := range sources() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := startIssuer(t)
			const token = "the-secret-token"
			issuer.rotate(token)
			r, _ := readWhileDistrusted(t, issuer, source, "sequential", "--log-level", "debug", "--http", "127.0.0.1:0")
			awaitLogged(t, r.mount.Process, "request failed")
			env := append(source(issuer), "AWS_ENDPOINT_URL="+theStage.Server.Endpoint)
			places := append(placesOf(t, r.mount), refusals(t, env, "InvalidIdentityToken")...)
			issuer.rotate(token)
			checkSecrets(t, append(places, gpuloadLog(t, env)), token, theStage.Server.SecretKey)
		})
	}
}
