package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// placement is where the shared cache is.
type placement string

const (
	nowhere   placement = "no cache"
	onThree   placement = "on 3 machines"
	onEachOne placement = "on every node"
)

// placements are those that are compared.
func placements() []placement { return []placement{nowhere, onThree, onEachOne} }

// cache is a running shared cache, as deploy/nginx has it. Close ends it.
type cache struct {
	dir       string // what it keeps
	instances []*rig.Process
	urls      string // what mountd is told
}

const (
	routerPort, ownerPort = 8081, 8082
	// ownerTimeout is how long an owner may take to the first byte. On links as slow as
	// these a block takes longer than deploy/nginx expects.
	ownerTimeout = "9s"
	// stopGrace is how long an instance may take to end.
	stopGrace = 30 * time.Second
)

// startCache runs an empty cache for n nodes.
func (s *scene) startCache(ctx context.Context, p placement, n int) (_ *cache, err error) {
	c := &cache{}
	machines := map[placement][]*machine{onThree: s.apart, onEachOne: s.nodes[:n]}[p]
	if machines == nil {
		return c, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.dir, err = os.MkdirTemp("", "cache-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(c.dir, 0o755); err != nil { // for nginx's user
		return nil, err
	}
	var owners, urls []string
	for _, m := range machines {
		owners = append(owners, fmt.Sprintf("%s:%d", m.address, ownerPort))
		urls = append(urls, fmt.Sprintf("http://%s:%d", m.address, routerPort))
	}
	c.urls = strings.Join(urls, ",")
	if p == onEachOne {
		c.urls = fmt.Sprintf("http://127.0.0.1:%d", routerPort)
	}
	for _, m := range machines {
		if err := c.startInstance(s, m, strings.Join(owners, ",")); err != nil {
			return nil, err
		}
	}
	for i, owner := range owners {
		err := lab.Poll(ctx, startLimit, "the cache at "+owner+" does not listen", func(context.Context) (bool, error) {
			select {
			case <-c.instances[i].Done():
				return false, fmt.Errorf("the cache at %s ended: %s", owner, c.instances[i].Output())
			default:
			}
			conn, err := net.Dial("tcp", owner)
			if err != nil {
				return false, nil // not yet
			}
			return true, conn.Close()
		})
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// startInstance runs an instance on a machine.
func (c *cache) startInstance(s *scene, m *machine, owners string) error {
	store := strings.TrimPrefix(s.store.Endpoint, "http://")
	dir := filepath.Join(c.dir, m.address.String())
	cmd := m.command(filepath.Join(s.Root, "deploy/nginx/render.sh"), "run")
	cmd.Env = append(os.Environ(), "SCHEME=http", "STORE_VERIFY=off", "STORES="+strings.ReplaceAll(store, ".", `\.`),
		"DIR="+filepath.Join(dir, "kept"), "STATE="+filepath.Join(dir, "state"), "SIZE=10g", "FREE=0", "WORKERS=1", "ACCESS_LOG="+os.DevNull,
		fmt.Sprintf("LISTEN=%d", routerPort), fmt.Sprintf("OWNER_LISTEN=%d", ownerPort), "PEERS=10.77.0.0/24", "OWNERS="+owners, "OWNER_TIMEOUT="+ownerTimeout)
	instance, err := rig.StartProcess(cmd)
	if err == nil {
		c.instances = append(c.instances, instance)
	}
	return err
}

// flags are those of a mountd that reads through the cache.
func (c *cache) flags() []string {
	if c.urls == "" {
		return nil
	}
	return []string{"--cache-url=" + c.urls}
}

// Close ends the instances and removes what they keep.
func (c *cache) Close() error {
	var group errgroup.Group
	for _, instance := range c.instances {
		group.Go(func() error {
			if err := instance.Stop(stopGrace); err != nil {
				return fmt.Errorf("%w: %s", err, instance.Output())
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), os.RemoveAll(c.dir))
}
