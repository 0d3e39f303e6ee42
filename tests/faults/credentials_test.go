package faults

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// atOnce bounds what fails without waiting for anything, on a busy machine.
const atOnce = 3 * time.Second

// mountWith mounts the bucket with the environment env, which says who asks,
// through the store at endpoint.
func mountWith(t *testing.T, env []string, endpoint string, flags ...string) *scene {
	t.Helper()
	m := mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket, Args: append([]string{"--memory-limit", "128Mi", "--part-size", "1Mi"}, flags...),
		Env: append(env, "AWS_ENDPOINT_URL="+endpoint),
	})
	return &scene{t: t, mount: m}
}

// readAs is read, with gpuload alone asking by env where it is the way.
func (r *scene) readAs(way string, env []string, endpoint string) outcome {
	r.t.Helper()
	if way != direct {
		return r.read(way)
	}
	prefix := append(append([]string{"env"}, env...), "AWS_ENDPOINT_URL="+endpoint)
	return loadFile(r.t, prefix, "--part-size", "1Mi", "--concurrency", "2", "s3://"+bucket+"/"+object)
}

// everyWay is ways, and gpuload from S3.
func everyWay() []string { return append(ways(), direct) }

// TestCredentialsExpire holds that credentials which the store calls expired in
// the middle of a read are renewed with the token file as it is then, invisibly.
func TestCredentialsExpire(t *testing.T) {
	for name, source := range sources() {
		for _, way := range everyWay() {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				seen := seenBy(t, "intact, renewed")
				issuer := startIssuer(t)
				p := proxy.Start(t, theStage.server.Endpoint)
				r := mountWith(t, source(issuer), p.Endpoint)
				before := issuer.count()
				if way == direct {
					before++ // its own, at its start
				} else {
					issuer.rotate("the-second-token")
				}
				p.SetRules(1, proxy.Rule{
					Op: "GET", Skip: 5, When: func(proxy.Request) bool { return issuer.count() == before },
					Fault: proxy.Fault{Status: 400, Code: "ExpiredToken"},
				})
				fmt.Fprintf(seen, "%v, issued %d times", must(t, r.readAs(way, source(issuer), p.Endpoint)), issuer.count())
				if p.Stats().Faults == 0 || issuer.count() == before {
					t.Errorf("%d requests were refused, credentials were issued %d times", p.Stats().Faults, issuer.count())
				}
			})
		}
	}
}

// TestCredentialsRunOut holds that credentials whose time is over in the middle
// of a read are renewed by then, and hardly ever shown to the store any more.
func TestCredentialsRunOut(t *testing.T) {
	for name, source := range sources() {
		for _, way := range waysRunOut() {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				seen := seenBy(t, "intact, renewed in time")
				issuer := startIssuer(t)
				issuer.lifetime = 2 * time.Second // in whole ones, rounded down
				p := proxy.Start(t, theStage.server.Endpoint)
				p.SetShape(proxy.Shape{Total: theStage.size / 3})
				endpoint := issuer.guard(p.Endpoint)
				r := mountWith(t, source(issuer), endpoint, "--concurrency", "2")
				before := issuer.count()
				o := must(t, r.readAs(way, source(issuer), endpoint))
				fmt.Fprintf(seen, "%v, issued %d times, %d requests too late", o, issuer.count()-before, issuer.refused)
				if issuer.count()-before < 1 || issuer.refused > 16 { // those under way at the turn
					t.Errorf("issued %d times, %d requests too late", issuer.count()-before, issuer.refused)
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
	for name, source := range sources() {
		for _, way := range everyWay() {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				errno := errnoOfWay(way, "EACCES")
				seen := seenBy(t, errno+", named in the log")
				r, o := readWhileDistrusted(t, startIssuer(t), source, way)
				r.checkRefused(way, o, errno, seen, "InvalidIdentityToken")
			})
		}
	}
}

// readWhileDistrusted reads in one way, in the middle of which the credentials
// expire and the issuer takes the token for nobody's.
func readWhileDistrusted(t *testing.T, issuer *issuer, source func(*issuer) []string, way string, flags ...string) (*scene, outcome) {
	t.Helper()
	p := proxy.Start(t, theStage.server.Endpoint)
	flags = append([]string{"--concurrency", "2", "--read-timeout", theStage.readTimeout.String()}, flags...)
	r := mountWith(t, source(issuer), p.Endpoint, flags...)
	p.SetRules(1,
		proxy.Rule{Op: "GET", Skip: 4, Count: 1, Fault: proxy.Fault{Edit: func(proxy.Request, *proxy.Head) { issuer.distrust() }}},
		proxy.Rule{Op: "GET", When: func(proxy.Request) bool { return issuer.distrusts() }, Fault: proxy.Fault{Status: 400, Code: "ExpiredToken"}},
	)
	return r, r.readAs(way, source(issuer), p.Endpoint)
}

// errnoOfWay is errno as the reader of one way is told.
func errnoOfWay(way, errno string) string {
	if way == "mapped" {
		return "SIGBUS"
	}
	return errno
}

// checkRefused holds that every reader got the errno, soon, and that the log
// says why.
func (r *scene) checkRefused(way string, o outcome, errno string, seen *strings.Builder, cause string) {
	r.t.Helper()
	fmt.Fprintf(seen, "%v", o)
	if len(o.Failures) == 0 {
		r.t.Errorf("the reader got: %v", o)
	}
	for _, f := range o.Failures {
		if f.Errno != errno || f.Seconds > theStage.readTimeout.Seconds() {
			r.t.Errorf("a reader got %s after %.1f s", f.Errno, f.Seconds)
		}
	}
	if way != direct {
		awaitLogged(r.t, r.mount.Process, cause)
	}
	checkQuiet(r.t, r.mount)
}

// TestRevoked holds that who reads with keys that the store has revoked, by
// taking their account away, is told so at once.
func TestRevoked(t *testing.T) {
	for _, way := range everyWay() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			errno := errnoOfWay(way, "EACCES")
			seen := seenBy(t, errno+", named in the log")
			server, access, secret := theStage.server, rand.Text(), rand.Text()
			ctx := context.WithoutCancel(t.Context())
			if err := server.AddAccount(ctx, access, secret); err != nil {
				t.Fatal(err)
			}
			env := append(server.Env(), "AWS_ACCESS_KEY_ID="+access, "AWS_SECRET_ACCESS_KEY="+secret)
			p := proxy.Start(t, server.Endpoint)
			p.SetShape(proxy.Shape{Total: theStage.size / 2}) // it goes on while the account goes
			r := mountWith(t, env, p.Endpoint, "--concurrency", "2")
			p.SetRules(1, proxy.Rule{Op: "GET", Skip: 4, Count: 1, Fault: proxy.Fault{Edit: func(proxy.Request, *proxy.Head) {
				if err := server.RemoveAccount(ctx, access); err != nil {
					t.Error(err)
				}
			}}})
			r.checkRefused(way, r.readAs(way, env, p.Endpoint), errno, seen, "InvalidAccessKeyId")
		})
	}
}

// TestNoCredentials holds that who has none is told at once.
func TestNoCredentials(t *testing.T) {
	seen := seenBy(t, "exit 1 at once")
	began := time.Now()
	env := append(theStage.server.Env(), "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=")
	result := runChild(t, env, theStage.Mountd, "s3://"+bucket, t.TempDir())
	took := time.Since(began)
	fmt.Fprintf(seen, "exit %d after %.1f s", result.Code, took.Seconds())
	if result.Code != 1 || !strings.Contains(result.Stderr, "credentials") || took > atOnce {
		t.Errorf("exit %d after %v: %s", result.Code, took, result.Stderr)
	}
}

// TestTokensStaySecret looks for the token that credentials are asked for with,
// and for what is given for it, when they are renewed and when that is refused.
func TestTokensStaySecret(t *testing.T) {
	for name, source := range sources() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "nowhere")
			issuer := startIssuer(t)
			const token = "the-secret-token"
			issuer.rotate(token)
			r, o := readWhileDistrusted(t, issuer, source, "sequential", "--log-level", "debug", "--http", "127.0.0.1:0")
			if len(o.Failures) == 0 {
				t.Errorf("the reader got: %v", o)
			}
			awaitLogged(t, r.mount.Process, "request failed")
			gpuload := append(source(issuer), "AWS_ENDPOINT_URL="+theStage.server.Endpoint)
			shown := map[string]string{
				"status":            succeed(t, theStage.Mountd, "status", "--json", r.mount.Dir),
				"the metrics":       get(t, metricsURL(t, r.mount)),
				"the command line":  readProc(t, r.mount, "cmdline"),
				"the log":           r.mount.Output(),
				"a refusal":         fmt.Sprint(runChild(t, gpuload, theStage.Mountd, "--log-level", "debug", "s3://"+bucket, t.TempDir())),
				"gpuload's refusal": fmt.Sprint(runChild(t, gpuload, theStage.Gpuload, "load", "--log-level", "debug", "--device", "cpu", "s3://"+bucket)),
			}
			issuer.rotate(token)
			shown["gpuload's log"] = fmt.Sprint(runChild(t, gpuload, theStage.Gpuload, "load", "--log-level", "debug", "--device", "cpu", "s3://"+bucket+"/"+object))
			for where, text := range shown {
				if text == "" || strings.Contains(text, token) || strings.Contains(text, theStage.server.SecretKey) {
					t.Errorf("%s: %q", where, text)
				}
			}
			fmt.Fprintf(seen, "looked at %d places", len(shown))
		})
	}
}
