package tier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// objectKey is that of the one object, whose path needs escaping.
	objectKey = "model one.safetensors"
	// secret stands in every URL that is signed, and nowhere else.
	secret = "SECRETSIGNATURE"
)

// signingStore is a store in memory that signs URLs.
type signingStore struct {
	*memstore.Store
	mu      sync.Mutex
	signed  []time.Time // as of when; guarded by mu
	refuses error       // to sign
	waits   atomic.Bool // for credentials that do not come
}

func (s *signingStore) Presign(ctx context.Context, obj remote.Object, at time.Time, valid time.Duration) (string, error) {
	if s.waits.Load() {
		<-ctx.Done()
		return "", ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed = append(s.signed, at)
	return fmt.Sprintf("https://store.example/bucket/%s?at=%d&for=%.0f&X-Amz-Signature=%s",
		strings.ReplaceAll(obj.Key, " ", "%20"), at.Unix(), valid.Seconds(), secret), s.refuses
}

// wire is a tier without a network.
type wire func(*http.Request) (*http.Response, error)

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

// scene is a store with a tier before it.
type scene struct {
	t       *testing.T
	content []byte
	origin  *signingStore
	tier    *Tier
	store   remote.Store
	log     bytes.Buffer

	mu       sync.Mutex
	requests []*http.Request // of the tier; guarded by mu
}

// newScene has answer stand for the tier, which is given the right answer too.
func newScene(t *testing.T, size int, cfg Config, answer func(r *http.Request, right *http.Response) (*http.Response, error)) *scene {
	t.Helper()
	s := &scene{t: t, content: make([]byte, size)}
	for i := 0; i < size; i += 64 { // no two blocks are the same
		binary.LittleEndian.PutUint64(s.content[i:], uint64(i))
	}
	s.origin = &signingStore{Store: memstore.New(map[string][]byte{objectKey: s.content})}
	if cfg.URLs == nil {
		cfg.URLs = []string{"http://tier.example:80"}
	}
	cfg.Logger = slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if s.tier, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	s.tier.transport = wire(func(r *http.Request) (*http.Response, error) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		return answer(r, s.right(r))
	})
	s.store = s.tier.Wrap(s.origin)
	t.Cleanup(func() {
		s.tier.Close()
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has a signature: %s", s.log.String())
		}
	})
	return s
}

// faithful is a tier as it should be.
func faithful(_ *http.Request, right *http.Response) (*http.Response, error) { return right, nil }

// right is the answer that a request of the client should have.
func (s *scene) right(r *http.Request) *http.Response {
	var first, last int
	if n, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); n != 2 || err != nil {
		s.t.Errorf("Range: %q", r.Header.Get("Range"))
	}
	body := s.content[first : last+1]
	return &http.Response{StatusCode: 206, Request: r, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
		Header: http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", first, last, len(s.content))},
			"Etag": {`"v1"`}, "X-Cache-Status": {"HIT"}}}
}

// read reads a range, and fails the test if it is anything else.
func (s *scene) read(off, n int) {
	s.t.Helper()
	if err := s.tryRead(off, n); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) tryRead(off, n int) error {
	s.t.Helper()
	obj := remote.Object{Key: objectKey, Size: int64(len(s.content)), Version: "v1"}
	body, err := s.store.OpenRange(s.t.Context(), obj, int64(off), int64(n))
	if err != nil {
		return s.withoutSecret(err)
	}
	defer body.Close()
	got := make([]byte, n)
	if _, err := io.ReadFull(body, got); err != nil {
		return s.withoutSecret(err)
	}
	if !bytes.Equal(got, s.content[off:off+n]) {
		s.t.Errorf("[%d,+%d) is not of the object", off, n)
	}
	if more, err := body.Read(make([]byte, 1)); more != 0 || err != io.EOF {
		s.t.Errorf("behind the end: %d bytes, %v", more, err)
	}
	return nil
}

func (s *scene) withoutSecret(err error) error {
	if strings.Contains(err.Error(), secret) {
		s.t.Errorf("the error has a signature: %v", err)
	}
	return err
}

// asked is how often the tier was.
func (s *scene) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// fallbacks are those that were counted, by the name of their cause.
func (s *scene) fallbacks() map[string]int64 {
	counted := map[string]int64{}
	for cause, n := range s.tier.Stats().Fallbacks {
		if n > 0 {
			counted[Cause(cause).String()] = n
		}
	}
	return counted
}

// never is a connection that gives no answer.
func never(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

var errRefused = &failure{Unreachable, errors.New("connection refused")}

// pacedBody gives a piece at a time after a pause; io.ErrUnexpectedEOF after all.
type pacedBody struct {
	ctx   context.Context
	data  []byte
	piece int
	pause time.Duration
}

func (b *pacedBody) Read(p []byte) (int, error) {
	if len(b.data) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	select {
	case <-time.After(b.pause):
	case <-b.ctx.Done():
		return 0, context.Cause(b.ctx)
	}
	n := copy(p, b.data[:min(b.piece, len(b.data))])
	b.data = b.data[n:]
	return n, nil
}

func (b *pacedBody) Close() error { return nil }
