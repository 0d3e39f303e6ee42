package tier

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

const mib = 1 << 20

// TestContract holds what a tier is asked, to the letter.
func TestContract(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which no five minutes end
		s := newScene(t, 3*Block, Config{URLs: []string{"https://tier.example"}, Header: http.Header{"X-Team": {"red"}}}, faithful)
		s.read(Block-5, 2*mib)
		r := s.requests[0]
		slot := time.Now().Truncate(5 * time.Minute).Unix()
		var line bytes.Buffer
		if err := r.Write(&line); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("GET https://store.example/bucket/model%%20one.safetensors?at=%d&for=900&X-Amz-Signature=%s HTTP/1.1\r\nHost: store.example\r\n", slot, secret)
		if got := line.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
		if r.URL.Scheme != "https" || r.URL.Host != "tier.example" {
			t.Errorf("asked %s://%s", r.URL.Scheme, r.URL.Host)
		}
		fields := http.Header{"Range": {"bytes=8388603-10485754"}, "If-Match": {`"v1"`}, "Accept-Encoding": {"identity"}, "X-Team": {"red"}}
		if !maps.EqualFunc(r.Header, fields, slices.Equal) {
			t.Errorf("header %v, want %v", r.Header, fields)
		}
		stats := s.tier.Stats()
		if gets, _ := s.origin.Fetched(); gets != 0 || s.asked() != 1 || stats.Bytes[Hit] != 2*mib || stats.DirectBytes != 0 {
			t.Errorf("%d requests of the store, %d of the tier: %+v", gets, s.asked(), stats)
		}
	})
}

// TestSigning holds how often an object's URL is signed, and that nodes with the
// same credentials have the same.
func TestSigning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, mib, Config{}, faithful)
		other := s.tier.Wrap(s.origin)
		begin := time.Now().Truncate(renewal).Add(renewal)
		time.Sleep(time.Until(begin.Add(time.Second)))
		for range 3 {
			s.read(0, mib)
		}
		time.Sleep(renewal - 2*time.Second)
		s.read(0, 1)
		s.store = other
		s.read(0, 1)
		time.Sleep(2 * time.Second)
		s.read(0, 1)
		want := []time.Time{begin, begin, begin.Add(renewal)}
		if !slices.EqualFunc(s.origin.signed, want, time.Time.Equal) {
			t.Errorf("signed as of %v, want %v", s.origin.signed, want)
		}
	})
}

// TestSignerIsBounded holds that what is kept does not grow with the objects.
func TestSignerIsBounded(t *testing.T) {
	store := &signingStore{Store: memstore.New(nil)}
	s := newSigner(store)
	for i := range 3 * maxURLs {
		if _, err := s.sign(t.Context(), remote.Object{Key: fmt.Sprint(i)}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.urls) > maxURLs {
		t.Errorf("%d URLs are kept", len(s.urls))
	}
}

// TestLies holds that an answer which is not what was asked for is never given to a
// reader: it is counted, and the store is asked once for that block alone.
func TestLies(t *testing.T) {
	header := func(name, value string) func(*http.Request, *http.Response) (*http.Response, error) {
		return func(_ *http.Request, right *http.Response) (*http.Response, error) {
			right.Header.Set(name, value)
			return right, nil
		}
	}
	status := func(code int) func(*http.Request, *http.Response) (*http.Response, error) {
		return func(_ *http.Request, right *http.Response) (*http.Response, error) {
			right.StatusCode = code
			return right, nil
		}
	}
	paced := func(piece int, pause time.Duration, part int) func(*http.Request, *http.Response) (*http.Response, error) {
		return func(r *http.Request, right *http.Response) (*http.Response, error) {
			data, err := io.ReadAll(right.Body)
			right.Body = &pacedBody{r.Context(), data[:len(data)/part], piece, pause}
			return right, err
		}
	}
	for name, c := range map[string]struct {
		answer func(*http.Request, *http.Response) (*http.Response, error)
		cause  string
		longest,
		direct int64 // seconds, and bytes of the store
	}{
		"another ETag":     {header("ETag", `"v2"`), "wrong", 0, Block},
		"no ETag":          {header("ETag", ""), "wrong", 0, Block},
		"a weak ETag":      {header("ETag", `W/"v1"`), "wrong", 0, Block},
		"another range":    {header("Content-Range", fmt.Sprintf("bytes 1-%d/%d", Block, 2*Block)), "wrong", 0, Block},
		"another size":     {header("Content-Range", fmt.Sprintf("bytes 0-%d/%d", Block-1, Block)), "wrong", 0, Block},
		"an unknown size":  {header("Content-Range", fmt.Sprintf("bytes 0-%d/*", Block-1)), "wrong", 0, Block},
		"no range":         {header("Content-Range", ""), "wrong", 0, Block},
		"compressed":       {header("Content-Encoding", "gzip"), "wrong", 0, Block},
		"the whole object": {status(200), "wrong", 0, Block},
		"another length": {func(_ *http.Request, right *http.Response) (*http.Response, error) {
			right.ContentLength--
			return right, nil
		}, "wrong", 0, Block},
		"an unknown length": {func(_ *http.Request, right *http.Response) (*http.Response, error) {
			right.ContentLength = -1
			return right, nil
		}, "wrong", 0, Block},
		"an error":       {status(502), "status", 0, Block},
		"a redirection":  {status(307), "status", 0, Block},
		"not found":      {status(404), "status", 0, Block},
		"nothing":        {func(r *http.Request, _ *http.Response) (*http.Response, error) { return never(r) }, "silent", 10, Block},
		"no connection":  {func(*http.Request, *http.Response) (*http.Response, error) { return nil, errRefused }, "unreachable", 0, Block},
		"a broken one":   {func(*http.Request, *http.Response) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, "broken", 0, Block},
		"half a body":    {paced(mib, 0, 2), "broken", 0, Block / 2},
		"a stalled body": {paced(mib, time.Minute, 1), "slow", 10, Block},
		"a slow body":    {paced(16<<10, time.Second, 1), "slow", 11, Block - 10*(16<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, 2*Block, Config{}, c.answer)
				began := time.Now()
				s.read(0, Block)
				took := time.Since(began)
				stats := s.tier.Stats()
				if got := s.fallbacks(); len(got) != 1 || got[c.cause] != 1 {
					t.Errorf("counted %v, want one for %s", got, c.cause)
				}
				gets, bytes := s.origin.Fetched()
				if gets != 1 || bytes != c.direct || stats.DirectBytes != c.direct || s.asked() != 1 {
					t.Errorf("%d requests of the store for %d bytes, %d of the tier, want 1 for %d, 1: %+v", gets, bytes, s.asked(), c.direct, stats)
				}
				if took > time.Duration(c.longest)*time.Second+spread {
					t.Errorf("took %v", took)
				}
				if in := stats.Instances[0]; in.Failures != 1 {
					t.Errorf("%+v", in)
				}
			})
		})
	}
}

// TestTierAgainBehindABadBlock holds that one bad block of a large range costs no
// other one.
func TestTierAgainBehindABadBlock(t *testing.T) {
	first := true
	s := newScene(t, 4*Block, Config{}, func(_ *http.Request, right *http.Response) (*http.Response, error) {
		if first {
			first = false
			right.Header.Del("ETag")
		}
		return right, nil
	})
	s.read(mib, 3*Block)
	stats := s.tier.Stats()
	if stats.DirectBytes != Block-mib || stats.Bytes[Hit] != 2*Block+mib {
		t.Errorf("%+v", stats)
	}
	if rate, ok := stats.HitRate(); rate != 1 || !ok {
		t.Errorf("hit rate %v, %v", rate, ok)
	}
}

// TestChanged holds that a reader learns of a replaced object from the store, and
// that the tier is not blamed for being right; and that one which is wrong is left
// alone soon.
func TestChanged(t *testing.T) {
	s := newScene(t, 2*Block, Config{}, func(_ *http.Request, right *http.Response) (*http.Response, error) {
		right.StatusCode = 412
		return right, nil
	})
	for i := range maxStrikes {
		s.read(0, 10)
		if in := s.tier.Stats().Instances[0]; in.Failures != int64(i+1) {
			t.Errorf("a 412 that the store does not confirm: %+v", in)
		}
	}
	if got := s.tier.Stats().Instances[0]; got.State != Open || got.Breaks != 1 {
		t.Errorf("%+v", got)
	}
	s = newScene(t, 2*Block, Config{}, s.tier.transport.(wire).answer)
	s.origin.Put(objectKey, memstore.Object{Data: make([]byte, 2*Block)})
	for range 5 {
		if err := s.tryRead(0, 10); !errors.Is(err, remote.ErrChanged) {
			t.Errorf("replaced: %v", err)
		}
	}
	if got := s.tier.Stats().Instances[0]; got.State != Closed || got.Failures != 0 {
		t.Errorf("%+v", got)
	}
}

// TestStoreFails holds that the tier is not blamed for what the store does too: an
// object that is gone, or a store that is down, has other objects read through it.
func TestStoreFails(t *testing.T) {
	for _, status := range []int{404, 500, 502} {
		s := newScene(t, 2*Block, Config{}, func(_ *http.Request, right *http.Response) (*http.Response, error) {
			right.StatusCode = status
			return right, nil
		})
		s.origin.Remove(objectKey)
		for range 5 {
			if err := s.tryRead(0, 10); err == nil {
				t.Error("it was read")
			}
		}
		if got := s.tier.Stats().Instances[0]; got.State != Closed || got.Failures != 0 {
			t.Errorf("HTTP %d: %+v", status, got)
		}
	}
}

// answer makes a wire an answer of newScene.
func (w wire) answer(r *http.Request, _ *http.Response) (*http.Response, error) { return w(r) }

// TestForbidden holds that a refused URL is signed anew, once.
func TestForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Second) // off the grid
		old := ""
		s := newScene(t, mib, Config{}, func(r *http.Request, right *http.Response) (*http.Response, error) {
			if old == "" || r.URL.RawQuery == old {
				old = r.URL.RawQuery
				right.StatusCode = 403
			}
			return right, nil
		})
		s.read(0, mib)
		s.read(0, mib)
		if got := s.fallbacks(); len(got) != 0 || s.asked() != 3 || len(s.origin.signed) != 2 {
			t.Errorf("%v, %d requests, %d signatures", got, s.asked(), len(s.origin.signed))
		}
		always := newScene(t, mib, Config{}, func(_ *http.Request, right *http.Response) (*http.Response, error) {
			right.StatusCode = 401
			return right, nil
		})
		always.read(0, mib)
		if got := always.fallbacks(); got["forbidden"] != 1 || always.asked() != 2 {
			t.Errorf("%v, %d requests", got, always.asked())
		}
	})
}

// TestUnsigned holds that a store that signs nothing is read all the same.
func TestUnsigned(t *testing.T) {
	s := newScene(t, mib, Config{}, faithful)
	s.origin.refuses = errors.ErrUnsupported
	s.read(0, mib)
	if got := s.fallbacks(); got["unsigned"] != 1 || s.asked() != 0 {
		t.Errorf("%v, %d requests", got, s.asked())
	}
	if in := s.tier.Stats().Instances[0]; in.Failures != 0 {
		t.Errorf("the tier is blamed: %+v", in)
	}
}

// TestNotOfTheTier holds what goes to the store as if there were no tier.
func TestNotOfTheTier(t *testing.T) {
	s := newScene(t, mib, Config{}, faithful)
	for name, obj := range map[string]remote.Object{
		"a store without ETags": {Key: objectKey, Size: mib, Version: "modified 1700000000, 5 bytes"},
		"an archived object":    {Key: objectKey, Size: mib, Version: "v1", Archived: true},
		"a quote in the ETag":   {Key: objectKey, Size: mib, Version: `v"1`},
	} {
		body, err := s.store.OpenRange(t.Context(), obj, 0, 1)
		if err == nil {
			body.Close()
		}
		if got := s.fallbacks(); s.asked() != 0 || len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if plain := memstore.New(nil); s.tier.Wrap(plain) != remote.Store(plain) {
		t.Error("a store that has no URLs is wrapped")
	}
}

// TestPatienceIsPartOfTheReadTimeout holds that a hung tier leaves the store time.
func TestPatienceIsPartOfTheReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		urls := []string{"http://one.example", "http://two.example", "http://three.example"}
		s := newScene(t, mib, Config{URLs: urls, ReadTimeout: 8 * time.Second},
			func(r *http.Request, _ *http.Response) (*http.Response, error) { return never(r) })
		began := time.Now()
		s.read(0, mib)
		if took := time.Since(began); took > 4*time.Second || s.asked() != 2 {
			t.Errorf("took %v, %d requests", took, s.asked())
		}
	})
}

// TestConfig holds what is refused at the start.
func TestConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no URL":       {},
		"no scheme":    {URLs: []string{"tier:80"}},
		"another":      {URLs: []string{"ftp://tier"}},
		"a path":       {URLs: []string{"http://tier/cache"}},
		"a user":       {URLs: []string{"http://me:" + secret + "@tier"}},
		"twice":        {URLs: []string{"http://tier", "http://tier/"}},
		"Range":        {URLs: []string{"http://tier"}, Header: http.Header{"range": {"bytes=0-1"}}},
		"two lines":    {URLs: []string{"http://tier"}, Header: http.Header{"X-Team": {"a\r\nHost: b"}}},
		"no name":      {URLs: []string{"http://tier"}, Header: http.Header{"X Team": {"a"}}},
		"no such file": {URLs: []string{"http://tier"}, CABundle: "/nowhere"},
	} {
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
