package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// TestUnknownAuthority holds that a server whose authority nobody knows is
// refused at the start, and trusted where --ca-bundle names it.
func TestUnknownAuthority(t *testing.T) {
	server := rig.StartServer(t, rig.ServerOptions{TLS: true})
	noError(t, theStage.fill(t.Context(), server))
	env := append(server.Env(), "AWS_CA_BUNDLE=")
	trust := []string{"--ca-bundle", server.CABundle}
	for _, p := range refusals(t, env, "certificate") {
		if !strings.Contains(p.text, p.has) {
			t.Errorf("%s does not name the %s: %s", p.name, p.has, p.text)
		}
	}
	m := mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Env: env, Args: append(trust, "--memory-limit", "128Mi", "--part-size", "1Mi")})
	for _, way := range everyWay() {
		r := &scene{t: t, mount: m, env: env, loadFlags: trust}
		must(t, r.read(way))
	}
}

// TestNamesFail holds that a time in which names cannot be resolved, and all
// connections have broken, is invisible but for time.
func TestNamesFail(t *testing.T) {
	t.Parallel()
	for _, way := range everyWay() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := sceneWithNames(t)
			r.checkPassing(storageCase{inflict: func(r *scene) {
				r.during(r.before("GET", 5, func() { failNames(r) }), func() error {
					r.names.Fail.Store(false)
					return r.proxy.Accept()
				})
			}}, way)
		})
	}
}

// TestNamesFailForEver holds that readers get an error in time when names cannot
// be resolved any more, and the object as soon as they can.
func TestNamesFailForEver(t *testing.T) {
	t.Parallel()
	c := lastingCase{storageCase{inflict: failNames}, "EIO", "server misbehaving", maxAttempts, "cannot be resolved"}
	for _, way := range everyWay() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := sceneWithNames(t, c.timeLimit()...)
			succeed(t, r.prefix[0], append(r.prefix[1:], "stat", r.file())...)
			r.checkLasting(c, way)
		})
	}
}

// failNames has no name be resolved, and ends the connections that need none: also
// one whose name was resolved just before.
func failNames(r *scene) {
	r.names.Fail.Store(true)
	refuse(r)
}

// sceneWithNames is newScene for programs that resolve names by a server of ours
// alone. It mounts in a mount namespace of its own, into which readers go.
func sceneWithNames(t *testing.T, flags ...string) *scene {
	t.Helper()
	names := rig.StartNameServer(t)
	r := &scene{t: t, proxy: proxy.Start(t, theStage.Server.Endpoint), names: names}
	r.proxy.SetShape(proxy.Shape{PerConnection: 20e6, Total: 40e6})
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	noError(t, os.WriteFile(resolv, fmt.Appendf(nil, "nameserver %s\noptions timeout:1 attempts:1\n", names.Address), 0o644))
	r.env = append(theStage.Server.Env(), "AWS_ENDPOINT_URL=http://store.test"+r.proxy.Endpoint[strings.LastIndexByte(r.proxy.Endpoint, ':'):])
	prefix := append(rig.OwnMounts(), "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, resolv, "env")
	prefix = append(prefix, r.env...)
	flags = append([]string{"--memory-limit", "128Mi", "--part-size", "1Mi", "--metadata-ttl", "1h", "--force-path-style"}, flags...)
	r.mount = mountUnder(t, prefix, "s3://"+bucket, flags...)
	r.prefix = []string{"nsenter", "--mount", "--target", fmt.Sprint(r.mount.PID()), "--"}
	return r
}
