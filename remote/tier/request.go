package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"weightfs/remote"
	"weightfs/remote/retry"
)

// The contract. A tier is asked by
//
//	GET https://STORE/BUCKET/KEY?X-Amz-...&X-Amz-SignedHeaders=host HTTP/1.1
//	Host: STORE
//	Range: bytes=FIRST-LAST
//	If-Match: "ETAG"
//	Accept-Encoding: identity
//
// in absolute form, so that a forward proxy can serve too, and answers with 206,
// that very range of that very version, and its length. Of a public bucket the URL
// has no query. Who may not read the object must be refused with 403, whatever is
// cached; 412 says that the version is not the current one.

// Cause says why a range was read from the store in place of the tier.
type Cause uint8

// The causes.
const (
	Unreachable Cause = iota // no connection
	Silent                   // no first byte in time
	Broken                   // the connection broke, or the body ended early
	Slow                     // the body stalled, or came at a crawl
	Failed                   // another status than these
	Forbidden                // 401 or 403, for a second URL too
	Changed                  // 412, which the store is asked to confirm
	Wrong                    // another range, version, size or length than asked for
	Broke                    // the breakers of all instances are open
	Unsigned                 // no URL could be made
	Causes                   // how many there are
)

// String is the cause's name in metrics.
func (c Cause) String() string {
	return [...]string{"unreachable", "silent", "broken", "slow", "status", "forbidden", "changed", "wrong", "open", "unsigned", "none"}[min(c, Causes)]
}

// silent says that the instance may not be there at all.
func (c Cause) silent() bool { return c == Unreachable || c == Silent }

// elsewhere says that another instance may do better.
func (c Cause) elsewhere() bool { return c == Unreachable || c == Silent || c == Broken }

// refusal says that the store may refuse the same, and the instance be right.
func (c Cause) refusal() bool { return c == Forbidden || c == Changed || c == Failed }

// failure is an answer of a tier that is not what was asked for, or none. It has
// nothing of the URL.
type failure struct {
	cause Cause
	err   error
}

func (f *failure) Error() string { return f.cause.String() + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// causeOf is the cause of an error of a request, or of its body once it has begun.
func causeOf(err error, begun bool) Cause {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.cause
	}
	switch stalled := errors.Is(err, retry.ErrStalled); {
	case stalled && !begun:
		return Silent
	case stalled, errors.Is(err, retry.ErrSlow):
		return Slow
	}
	return Broken
}

// dial connects within connectTimeout, the look-up of the name included.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	d := net.Dialer{KeepAlive: 30 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, &failure{Unreachable, err}
	}
	return conn, nil
}

// answer is the body of a tier's answer that is what was asked for, up to its last
// byte.
type answer struct {
	io.ReadCloser
	from Origin
}

// byURL has get ask an instance by the URL of an object. One URL that is refused is
// signed anew. Signing is no part of get, whose time is the instance's: credentials
// that do not come are no fault of it.
func (s *tiered) byURL(ctx context.Context, obj remote.Object, get func(signed string) error) error {
	signed, err := s.sign(ctx, obj, "")
	if err != nil {
		return err
	}
	err = get(signed)
	if f, ok := errors.AsType[*failure](err); !ok || f.cause != Forbidden || !strings.Contains(signed, "?") {
		return err
	}
	if signed, err = s.sign(ctx, obj, signed); err != nil {
		return err
	}
	return get(signed)
}

// get asks an instance for n bytes of an object at off.
func (t *Tier) get(ctx context.Context, in *instance, signed string, obj remote.Object, off, n int64) (*answer, error) {
	request, err := t.newRequest(ctx, in, signed, obj.Version, off, n)
	if err != nil {
		return nil, err
	}
	in.requests.Add(1)
	response, err := t.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if err := check(response, obj, off, n); err != nil {
		response.Body.Close()
		return nil, err
	}
	return &answer{response.Body, originOf(response.Header)}, nil
}

// newRequest has the URL's own spelling as its target, for that is what is signed.
func (t *Tier) newRequest(ctx context.Context, in *instance, signed, version string, off, n int64) (*http.Request, error) {
	target, query, _ := strings.Cut(signed, "?")
	_, rest, ok := strings.Cut(target, "://")
	host, _, slash := strings.Cut(rest, "/")
	if !ok || !slash || host == "" {
		return nil, &failure{Unsigned, errors.New("the object's URL has no host or no path")}
	}
	request := (&http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Scheme: in.url.Scheme, Host: in.url.Host, Opaque: target, RawQuery: query},
		Host:   host, Header: t.header.Clone(), ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if request.Header == nil {
		request.Header = make(http.Header)
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	request.Header.Set("If-Match", `"`+version+`"`)
	request.Header.Set("Accept-Encoding", "identity")
	return request, nil
}

// check holds an answer against what was asked for.
func check(r *http.Response, obj remote.Object, off, n int64) error {
	switch r.StatusCode {
	case http.StatusPartialContent:
	case http.StatusUnauthorized, http.StatusForbidden:
		return &failure{Forbidden, fmt.Errorf("HTTP %d", r.StatusCode)}
	case http.StatusPreconditionFailed:
		return &failure{Changed, fmt.Errorf("HTTP %d", r.StatusCode)}
	case http.StatusOK:
		return &failure{Wrong, errors.New("HTTP 200 in place of 206")}
	default:
		return &failure{Failed, fmt.Errorf("HTTP %d", r.StatusCode)}
	}
	want := fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, obj.Size)
	if got := r.Header.Get("Content-Range"); got != want {
		return &failure{Wrong, fmt.Errorf("Content-Range %.100q, want %q", got, want)}
	}
	if got := r.Header.Get("ETag"); got != `"`+obj.Version+`"` {
		return &failure{Wrong, fmt.Errorf("ETag %.100q, want %q", got, obj.Version)}
	}
	if r.ContentLength != n {
		return &failure{Wrong, fmt.Errorf("Content-Length %d, want %d", r.ContentLength, n)}
	}
	if got := r.Header.Get("Content-Encoding"); got != "" && got != "identity" {
		return &failure{Wrong, errors.New("Content-Encoding " + strconv.Quote(got))}
	}
	return nil
}

// Origin is where a tier says that it had an answer from.
type Origin uint8

// The origins.
const (
	Untold  Origin = iota // it does not say
	Hit                   // it had it
	Miss                  // it asked the store, or waited for who did
	Origins               // how many there are
)

// String is the origin's name in metrics.
func (o Origin) String() string { return [...]string{"untold", "hit", "miss", "none"}[min(o, Origins)] }

// originOf reads the fields by which caches tell: X-Cache-Status as nginx is set up
// to send it, X-Cache of others, Cache-Status of RFC 9211. It is of the first block
// of a range.
func originOf(h http.Header) Origin {
	for _, name := range []string{"X-Cache-Status", "X-Cache", "Cache-Status"} {
		switch told := strings.ToLower(h.Get(name)); {
		case told == "":
		case strings.Contains(told, "hit"):
			return Hit
		default:
			return Miss
		}
	}
	return Untold
}
