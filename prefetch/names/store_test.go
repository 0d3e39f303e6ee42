package names

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weightfs/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pageSize is how many keys a page has, as with S3.
const pageSize = 1000

// content is what a directory has, in S3's order. A million names are not held.
type content struct {
	len  int
	at   func(i int) remote.Entry
	find func(name string) (remote.Entry, bool)
}

// these are the entries of a directory as given.
func these(entries ...remote.Entry) content {
	return content{len(entries), func(i int) remote.Entry { return entries[i] }, func(name string) (remote.Entry, bool) {
		i := slices.IndexFunc(entries, func(e remote.Entry) bool { return nameOf(e) == name })
		return entries[max(i, 0)], i >= 0
	}}
}

// many are n files k0000000, k0000001 and so on.
func many(dir string, n int) content {
	at := func(i int) remote.Entry { return file(dir + "/k" + strconv.Itoa(10_000_000 + i)[1:]) }
	return content{n, at, func(name string) (remote.Entry, bool) {
		i, err := strconv.Atoi(strings.TrimPrefix(name, "k"))
		return at(i), err == nil && i < n && len(name) == 8
	}}
}

func nameOf(e remote.Entry) string {
	_, name := splitKey(e.Key)
	return name
}

func file(key string) remote.Entry {
	return remote.Entry{Object: remote.Object{
		Key: key, Size: 1, ModTime: time.Unix(1_700_000_000, 0), Version: "d41d8cd98f00b204e9800998ecf8427e",
	}}
}

func folderAt(key string) remote.Entry {
	return remote.Entry{Object: remote.Object{Key: key}, Kind: remote.KindDir}
}

// pagedStore takes a while for each request, and counts them.
type pagedStore struct {
	delay time.Duration

	mu        sync.Mutex
	dirs      map[string]content                                  // guarded by mu
	asked     map[string]int                                      // guarded by mu; by "page DIR", "below DIR", "stat KEY"
	now, most int                                                 // guarded by mu; requests under way at once
	hook      func(ctx context.Context, what, token string) error // guarded by mu; before each answer
}

func newStore(dirs map[string]content) *pagedStore {
	return &pagedStore{dirs: dirs, asked: map[string]int{}}
}

func (s *pagedStore) set(dir string, c content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirs[dir] = c
}

func (s *pagedStore) onRequest(hook func(ctx context.Context, what, token string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// count is how often the store was asked for what.
func (s *pagedStore) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[what]
}

// request is one request for what, which sees dir as it is then.
func (s *pagedStore) request(ctx context.Context, what, token, dir string) (content, bool, error) {
	s.mu.Lock()
	s.asked[what]++
	s.now++
	s.most = max(s.most, s.now)
	c, ok := s.dirs[dir]
	hook := s.hook
	s.mu.Unlock()
	time.Sleep(s.delay)
	var err error
	if hook != nil {
		err = hook(ctx, what, token)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	return c, ok, err
}

func (s *pagedStore) ListPage(ctx context.Context, dir, token string, limit int) (remote.Page, error) {
	what := "page " + dir
	if limit > 0 {
		what = "below " + dir
	}
	c, ok, err := s.request(ctx, what, token, dir)
	if err != nil || !ok {
		return remote.Page{}, err
	}
	from, _ := strconv.Atoi(token)
	to := min(from+pageSize, c.len)
	if limit > 0 {
		to = min(from+limit, c.len)
	}
	page := remote.Page{Exists: c.len > 0 || dir == ""}
	for i := from; i < to; i++ {
		page.Entries = append(page.Entries, c.at(i))
	}
	if to < c.len {
		last := page.Entries[len(page.Entries)-1]
		page.Next, page.Through = strconv.Itoa(to), nameOf(last)
		if last.Kind == remote.KindDir {
			page.Through += "/"
		}
	}
	return page, nil
}

func (s *pagedStore) Stat(ctx context.Context, key string) (remote.Object, error) {
	dir, name := splitKey(key)
	c, ok, err := s.request(ctx, "stat "+key, "", dir)
	if err != nil {
		return remote.Object{}, err
	}
	if !ok {
		return remote.Object{}, fs.ErrNotExist
	}
	entry, ok := c.find(name)
	if !ok || entry.Kind == remote.KindDir {
		return remote.Object{}, fs.ErrNotExist
	}
	return entry.Object, nil
}

func (s *pagedStore) OpenRange(context.Context, remote.Object, int64, int64) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}

func (s *pagedStore) Close() error { return nil }

// modelStore has a model of three shards in the folder m.
func modelStore() *pagedStore {
	return newStore(map[string]content{
		"":  these(file("a"), folderAt("m"), file("z")),
		"m": these(file("m/x-00001-of-00003.bin"), file("m/x-00002-of-00003.bin"), file("m/x-00003-of-00003.bin")),
	})
}

func open(t testing.TB, store remote.Store, cfg Config) *Cache {
	t.Helper()
	c, err := New(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// lookup finds the entry at key.
func lookup(ctx context.Context, c *Cache, key string) (remote.Entry, error) {
	answer, err := c.Lookup(ctx, pathOf(key), nameOf(remote.Entry{Object: remote.Object{Key: key}}))
	if err == nil && !answer.Found {
		err = fs.ErrNotExist
	}
	return answer.Entry, err
}

func pathOf(key string) string {
	dir, _ := splitKey(key)
	return dir
}
