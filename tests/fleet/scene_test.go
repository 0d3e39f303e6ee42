package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// scene is a fleet's cache before a store.
type scene struct {
	t     *testing.T
	store *proxy.Proxy
	tier  []*instance
	key   string // of this scene's object
	file  string // its original
	size  int64
	// endpoint is the store's, which is the proxy's, or that of a server by TLS.
	endpoint string
}

// instance is an nginx of the cache.
type instance struct {
	url     string // of the router
	owner   string // its address
	state   string
	process *rig.Process
}

// newScene starts an empty cache of so many instances before an object of its own.
// settings are those of render.sh, in addition.
func newScene(t *testing.T, instances int, settings ...string) *scene {
	t.Helper()
	return newSceneOf(t, theStage.original, instances, settings...)
}

// newSceneOf is newScene with another object.
func newSceneOf(t *testing.T, file string, instances int, settings ...string) *scene {
	t.Helper()
	info, err := os.Stat(file)
	noError(t, err)
	s := &scene{t: t, key: t.Name() + "/" + object, store: proxy.Start(t, theStage.Server.Endpoint), file: file, size: info.Size()}
	s.endpoint = s.store.Endpoint
	s.put(file)
	s.startTier(instances, settings...)
	return s
}

// newSmallScene is newScene with an object of three blocks, nearly.
func newSmallScene(t *testing.T, instances int, settings ...string) *scene {
	t.Helper()
	dir := t.TempDir()
	_, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: 3*block - block/8})
	noError(t, err)
	return newSceneOf(t, filepath.Join(dir, object), instances, settings...)
}

// put stores a file as the scene's object.
func (s *scene) put(name string) {
	s.t.Helper()
	noError(s.t, theStage.Server.PutFile(context.WithoutCancel(s.t.Context()), bucket, s.key, name))
}

// takePort is a free address that stays ours until the test ends.
func takePort(t *testing.T) string {
	t.Helper()
	addr, holder, err := rig.TakePort(rig.Loopback())
	noError(t, err)
	t.Cleanup(func() { holder.Close() })
	return addr
}

// storeHost is the store's name in requests.
func (s *scene) storeHost() string {
	_, host, _ := strings.Cut(s.endpoint, "://")
	return host
}

// startTier writes the configuration of each instance by render.sh and runs it.
func (s *scene) startTier(n int, settings ...string) {
	s.t.Helper()
	dir, err := os.MkdirTemp(theStage.Scratch, "tier-")
	noError(s.t, err)
	noError(s.t, os.Chmod(dir, 0o755))
	var routers, owners []string
	for range n {
		routers, owners = append(routers, takePort(s.t)), append(owners, takePort(s.t))
	}
	for i := range n {
		in := &instance{url: "http://" + routers[i], owner: owners[i], state: filepath.Join(dir, fmt.Sprint("state", i))}
		s.tier = append(s.tier, in)
		env := append([]string{
			"STORES=" + regexp.QuoteMeta(s.storeHost()), "SCHEME=http", "RESOLVER=127.0.0.1",
			"LISTEN=" + routers[i], "OWNER_LISTEN=" + owners[i], "OWNERS=" + strings.Join(owners, ","),
			"DIR=" + filepath.Join(dir, fmt.Sprint("cache", i)), "STATE=" + in.state, "SIZE=1g", "FREE=0", "WORKERS=1",
			"OWNER_TIMEOUT=60s", // no case may depend on how fast a block is filled
			"ACCESS_LOG=" + in.state + "/access.log",
		}, settings...)
		rig.Succeed(s.t, env, theStage.render, "write")
		s.start(in)
		s.t.Cleanup(func() { s.end(in) })
	}
}

// start runs an instance, and returns when it listens.
func (s *scene) start(in *instance) {
	s.t.Helper()
	var err error
	in.process, err = rig.StartProcess(exec.Command(nginx(), "-c", in.state+"/nginx.conf", "-g", "daemon off;"))
	noError(s.t, err)
	s.awaitListening(in.process, strings.TrimPrefix(in.url, "http://"))
}

// awaitListening waits until the process takes connections at addr.
func (s *scene) awaitListening(process *rig.Process, addr string) {
	s.t.Helper()
	rig.Await(s.t, "nginx listens", func() bool {
		select {
		case <-process.Done():
			s.t.Fatalf("nginx ended: %s", process.Output())
		default:
		}
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// nginx is the program, which is not in every user's PATH.
func nginx() string {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path
	}
	return "/usr/sbin/nginx"
}

// signal is for all processes of an instance.
func (s *scene) signal(in *instance, sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(-in.process.PID(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.t.Fatal(err)
	}
}

// kill ends an instance at once.
func (s *scene) kill(in *instance) {
	s.signal(in, syscall.SIGKILL)
	in.process.Wait()
}

// end ends an instance, and holds that its log has no URL.
func (s *scene) end(in *instance) {
	s.kill(in)
	text, err := os.ReadFile(in.state + "/access.log")
	noError(s.t, err)
	for _, said := range []string{string(text), in.process.Output()} {
		if strings.Contains(said, "X-Amz") || strings.Contains(said, object) {
			s.t.Errorf("nginx logs URLs: %.500s", said)
		}
	}
}

// urls are what --cache-url is given.
func (s *scene) urls() string {
	var urls []string
	for _, in := range s.tier {
		urls = append(urls, in.url)
	}
	return strings.Join(urls, ",")
}

// env is of a client that knows the store and the cache.
func (s *scene) env() []string {
	return append(theStage.Server.Env(), "AWS_ENDPOINT_URL="+s.store.Endpoint, "WEIGHTFS_CACHE_URL="+s.urls())
}

// mount mounts the scene's folder for the length of the test.
func (s *scene) mount(flags ...string) *rig.Mount {
	s.t.Helper()
	args := append([]string{"--memory-limit", "64Mi", "--force-path-style", "--metadata-ttl", "1h"}, flags...)
	return theStage.MountFor(s.t, rig.MountOptions{Source: "s3://" + bucket + "/" + s.t.Name(), Env: s.env(), Args: args})
}

// mounts mounts it so many times.
func (s *scene) mounts(n int, flags ...string) (all []*rig.Mount) {
	s.t.Helper()
	for range n {
		all = append(all, s.mount(flags...))
	}
	return all
}

// readAll has a child for each mount compare the object with its original, all at
// the same time; meanwhile is done once some of it was asked of the store.
func (s *scene) readAll(mounts []*rig.Mount, meanwhile func()) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	var readers sync.WaitGroup
	for _, m := range mounts {
		readers.Go(func() {
			if _, err := rig.Output(ctx, nil, "cmp", s.file, filepath.Join(m.Dir, object)); err != nil {
				s.t.Error(err)
			}
		})
	}
	if meanwhile != nil {
		rig.Await(s.t, "some is read", func() bool { return s.store.Stats().Bytes["GET"] > s.size/4 })
		meanwhile()
	}
	readers.Wait()
}

// load has gpuload load the object straight from the bucket and compare each tensor.
func (s *scene) load(flags ...string) {
	s.t.Helper()
	args := append([]string{"load", "--device", "cpu", "--progress", "none", "--memory-limit", "64Mi", "--force-path-style", "--expect", theStage.manifest}, flags...)
	rig.Succeed(s.t, s.env(), theStage.Gpuload, append(args, "s3://"+bucket+"/"+s.key)...)
}

// asked are the bytes of objects that the store was asked for, by the cache and by
// nodes: the one asks by URLs that are signed, the other by its header. A byte that
// only asks for permission does not count.
func (s *scene) asked() (byTier, direct int64) {
	s.t.Helper()
	rig.Await(s.t, "the store is left alone", func() bool { return s.store.Stats().InFlight == 0 })
	for _, r := range s.store.Log() {
		switch {
		case r.Op != "GET" || r.Length == 1:
		case r.AccessKey == "":
			byTier += r.Bytes
		default:
			direct += r.Bytes
		}
	}
	return byTier, direct
}

// holds that the store was asked for at most so much of the object since the last
// call, and for no more than that by nodes.
func (s *scene) holds(most float64, mostDirect int64) {
	s.t.Helper()
	byTier, direct := s.asked()
	share := float64(byTier+direct) / float64(s.size)
	s.t.Logf("asked of the store: %.3f of the object, %d bytes of it by nodes", share, direct)
	if share > most || direct > mostDirect {
		s.t.Errorf("want at most %.3f, and %d bytes by nodes", most, mostDirect)
	}
	s.store.ResetStats()
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
