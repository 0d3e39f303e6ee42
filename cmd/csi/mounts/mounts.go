// Package mounts owns the mountds of a node: one for each [volume.Spec] that
// somebody uses, bind-mounted wherever it is used, and ended with its last use.
//
// Each has a folder in the state directory, named by the spec's digest:
//
//	DIGEST/mnt     where mountd mounts
//	DIGEST/log     what mountd writes
//	DIGEST/token   a service account's token, of which mountd reads the newest
//	DIGEST/ready   the socket by which mountd says that the mount answers
//	DIGEST/spec    what mountd was started for, without secrets
//
// The truth is the kernel's table of mounts, and no file: a mount of type
// fuse.weightfs at DIGEST/mnt is a shared mount, and every other mount of the
// same device is a use of it. So a driver that starts anew knows what its
// predecessor left.
//
// mountd runs in a session of its own and outlives this process. It ends when
// its mount is unmounted, or with its container: the driver of the next pod has
// mountds of its own take the mounts over before that (takeover.go). Of two
// drivers the one that came last may change something (owner.go).
package mounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/cmd/csi/volume"
)

// Config says where a Pool keeps its mounts, and what serves them.
type Config struct {
	// Dir is the state directory, absolute. It is made, for root alone.
	Dir string
	// Mountd is the path of the program.
	Mountd string
	// MaxMounts is how many mountds there may be at once; 0 is any number.
	MaxMounts int
	// Logger gets what happens to mounts, and what mountds write.
	Logger *slog.Logger
}

// Pool is the mountds of a node. It is safe for concurrent use.
type Pool struct {
	cfg   Config
	owner *owner
	locks Locks // by digest
	log   *follower
	stop  context.CancelFunc
	wg    sync.WaitGroup // the follower

	mu       sync.Mutex
	started  map[string]*process // by digest, those that this Pool started; guarded by mu
	starting map[string]bool     // by digest, those that do not answer yet; guarded by mu
}

// ErrFull says that there are as many mountds as there may be.
var ErrFull = errors.New("the node serves as many mounts as it has room for")

// Open takes over what is mounted in cfg.Dir, and ends what nobody uses. From then on
// every other Pool of that folder fails with ErrReplaced. What mountds of another
// container serve is served by others of this one when Open returns, in up to four
// minutes; what cannot be is logged, and left to them.
func Open(cfg Config) (*Pool, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	dir, err := filepath.EvalSymlinks(cfg.Dir) // as the table of mounts has it
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	cfg.Dir = dir
	ctx, stop := context.WithCancel(context.Background())
	p := &Pool{cfg: cfg, stop: stop, started: map[string]*process{}, starting: map[string]bool{}, log: newFollower(cfg)}
	if p.owner, err = own(dir); err != nil {
		stop()
		return nil, err
	}
	if err := p.inherit(); err != nil {
		p.Close()
		return nil, err
	}
	p.wg.Go(func() { p.log.run(ctx) })
	return p, nil
}

// inherit ends what nobody uses, and takes over what another container serves.
func (p *Pool) inherit() error {
	end, err := p.owner.begin() // another driver waits
	if err != nil {
		return err
	}
	defer end()
	if err := p.clean(); err != nil {
		return err
	}
	return p.takeOverAll()
}

// Check says what would keep the Pool from its work.
func (p *Pool) Check() error {
	if err := p.owner.check(); err != nil {
		return err
	}
	_, err := p.table()
	return err
}

// Close lets go of the mountds, which go on.
func (p *Pool) Close() {
	p.stop()
	p.wg.Wait()
	p.owner.close()
}

// begin begins to change something that belongs to a digest, for which nobody else
// does until end is called.
func (p *Pool) begin(ctx context.Context, digest string) (end func(), err error) {
	unlock, err := p.locks.Lock(ctx, digest)
	if err != nil {
		return nil, err
	}
	done, err := p.owner.begin()
	if err != nil {
		unlock()
		return nil, err
	}
	return func() { done(); unlock() }, nil
}

// digestPattern is what the name of a folder looks like.
var digestPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// folder is what belongs to the spec with that digest.
func (p *Pool) folder(digest string) string { return filepath.Join(p.cfg.Dir, digest) }

// mountpoint is where its mountd mounts.
func (p *Pool) mountpoint(digest string) string { return filepath.Join(p.folder(digest), "mnt") }

// tokenFile is where its mountd finds a token.
func (p *Pool) tokenFile(digest string) string { return filepath.Join(p.folder(digest), "token") }

// Bind shows spec at target, an existing folder, and starts its mountd where
// none runs. On an error nothing is left that was not there before.
func (p *Pool) Bind(ctx context.Context, spec volume.Spec, target string) error {
	digest := spec.Digest()
	end, err := p.begin(ctx, digest)
	if err != nil {
		return err
	}
	defer end()
	if err := p.ensure(ctx, digest, spec); err != nil {
		return err
	}
	if err := p.bind(p.mountpoint(digest), target); err != nil {
		return errors.Join(err, p.endUnused(digest))
	}
	return nil
}

// ErrStaged says that a staged mount is dead. Its volume must be staged again: only
// then are its credentials known.
var ErrStaged = errors.New("the staged mount is dead: stage the volume again")

// BindStaged shows at target what is mounted at staged.
func (p *Pool) BindStaged(ctx context.Context, staged Mount, target string) error {
	if staged.Digest == "" {
		return ErrStaged // another mountd has taken the place of its own
	}
	end, err := p.begin(ctx, staged.Digest)
	if err != nil {
		return err
	}
	defer end()
	if err := Answers(ctx, staged.Path); err != nil {
		return fmt.Errorf("%w: %w", ErrStaged, err)
	}
	return p.bind(staged.Path, target)
}

// Refresh hands the newest token to the mountd of that digest, where spec has one.
func (p *Pool) Refresh(ctx context.Context, digest string, spec volume.Spec) error {
	if spec.Credentials.Token() == "" {
		return nil
	}
	end, err := p.begin(ctx, digest)
	if err != nil {
		return err
	}
	defer end()
	return p.writeToken(digest, spec)
}

// Release takes away whatever is mounted of ours at target, and ends the mountds
// that nobody uses any more. A target without a mount is no error.
func (p *Pool) Release(ctx context.Context, target string) error {
	end, err := p.owner.begin()
	if err != nil {
		return err
	}
	defer end()
	released := map[string]bool{}
	for {
		mount, mounted, err := p.At(target)
		if err != nil {
			return err
		}
		if !mounted {
			return p.sweep(ctx, released)
		}
		if !mount.Ours {
			return fmt.Errorf("%s has a mount of type %s: it is not ours", target, mount.Type)
		}
		if err := unmount(target); err != nil {
			return err
		}
		released[mount.Digest] = true
	}
}

// ensure sees to it that the mountd of spec answers. The digest is locked.
func (p *Pool) ensure(ctx context.Context, digest string, spec volume.Spec) error {
	_, mounted, err := p.At(p.mountpoint(digest))
	if err != nil {
		return err
	}
	if mounted {
		err := Answers(ctx, p.mountpoint(digest))
		if err == nil {
			return p.writeToken(digest, spec)
		}
		if !errors.Is(err, unix.ENOTCONN) {
			return fmt.Errorf("the mount of %s does not answer: %w", spec.Source, err)
		}
		p.cfg.Logger.Warn("the mountd of a mount is gone: starting it again", "source", spec.Source, "mount", digest)
		if err := p.end(digest); err != nil {
			return err
		}
	}
	if err := p.admit(digest); err != nil {
		return err
	}
	defer p.admitted(digest)
	err = p.prepare(digest, spec)
	if err == nil {
		err = p.start(ctx, digest, spec, "mounted")
	}
	if err != nil {
		return errors.Join(err, p.end(digest))
	}
	return nil
}

// admit makes room for one more mountd, until admitted is called.
func (p *Pool) admit(digest string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	table, err := p.table()
	if err != nil {
		return err
	}
	taken := maps.Clone(p.starting)
	for _, mount := range table {
		if mount.Digest != "" {
			taken[mount.Digest] = true
		}
	}
	if p.cfg.MaxMounts > 0 && len(taken) >= p.cfg.MaxMounts {
		return fmt.Errorf("%w: %d", ErrFull, p.cfg.MaxMounts)
	}
	p.starting[digest] = true
	return nil
}

// admitted is called when the mountd is in the table of mounts, or is no more.
func (p *Pool) admitted(digest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.starting, digest)
}

// clean ends what a predecessor left and nobody uses: its driver may have ended
// between two steps.
func (p *Pool) clean() error {
	entries, err := os.ReadDir(p.cfg.Dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, entry := range entries {
		if digestPattern.MatchString(entry.Name()) {
			if err := p.endUnused(entry.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweep ends the mountds that nobody uses. It waits for whoever is at work on one
// that was just released, and may have looked for uses before. Another one is left
// to whoever is at work on it.
func (p *Pool) sweep(ctx context.Context, released map[string]bool) error {
	table, err := p.table()
	if err != nil {
		return err
	}
	var errs []error
	for _, mount := range table {
		if mount.Digest == "" || mount.Path != p.mountpoint(mount.Digest) {
			continue
		}
		unlock, ok := p.locks.TryLock(mount.Digest)
		if !ok && released[mount.Digest] {
			if unlock, err = p.locks.Lock(ctx, mount.Digest); err != nil {
				return errors.Join(append(errs, err)...)
			}
			ok = true
		}
		if ok {
			errs = append(errs, p.endUnused(mount.Digest))
			unlock()
		}
	}
	return errors.Join(errs...)
}

// endUnused ends the mountd of that digest unless somebody uses its mount. The
// digest is locked.
func (p *Pool) endUnused(digest string) error {
	table, err := p.table()
	if err != nil {
		return err
	}
	for _, mount := range table {
		if mount.Digest == digest && mount.Path != p.mountpoint(digest) {
			return nil
		}
	}
	return p.end(digest)
}

// endGrace is how long a mountd may take to end once it is unmounted. One that
// still serves open files of a detached mount is not waited for.
const endGrace = 5 * time.Second

// end unmounts the shared mount of that digest, upon which its mountd ends, and
// removes its folder. The digest is locked.
func (p *Pool) end(digest string) error {
	for {
		_, mounted, err := p.At(p.mountpoint(digest))
		if err != nil {
			return err
		}
		if !mounted {
			break
		}
		if err := unmount(p.mountpoint(digest)); err != nil {
			return err
		}
	}
	p.mu.Lock()
	started := p.started[digest]
	delete(p.started, digest)
	p.mu.Unlock()
	if started != nil {
		started.awaitEnd(endGrace)
	}
	p.log.copyLast(digest)
	defer p.log.forget(digest)
	var errs []error
	for _, name := range []string{"mnt", "token", "token.new", "spec", "spec.new", "ready", "log", ""} {
		if err := os.Remove(filepath.Join(p.folder(digest), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove what belongs to a mount: %w", err))
		}
	}
	return errors.Join(errs...)
}
