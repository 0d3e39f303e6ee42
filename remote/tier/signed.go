package tier

import (
	"context"
	"errors"
	"sync"
	"time"

	"weightfs/remote"
)

const (
	// renewal is how old a URL may become, and the grid of the times that they are
	// signed as of. A tier asks the store about each URL that it has not seen in
	// the last minute: nodes with the same credentials have the same URLs.
	renewal = 5 * time.Minute
	// validity is how long a URL is good, from then on.
	validity = 15 * time.Minute
	// maxURLs bounds what is kept, a KiB or two each.
	maxURLs = 1024
)

// signer has the URLs of a store's objects. Safe for concurrent use.
type signer struct {
	store remote.Presigner

	mu   sync.Mutex
	urls map[string]signedURL // by key; guarded by mu
}

// signedURL is the URL of an object.
type signedURL struct {
	url  string
	slot time.Time // on the grid
}

func newSigner(store remote.Presigner) *signer {
	return &signer{store: store, urls: make(map[string]signedURL)}
}

// sign returns the URL of obj. refused is one that was refused, "" for none: it is
// not given again.
func (s *signer) sign(ctx context.Context, obj remote.Object, refused string) (string, error) {
	now := time.Now()
	slot, at := now.Truncate(renewal), now.Truncate(renewal)
	if known, ok := s.known(obj.Key); ok && known.slot.Equal(slot) && known.url != refused {
		return known.url, nil
	}
	if refused != "" {
		at = now
	}
	signed, err := s.store.Presign(ctx, obj, at, validity)
	if err != nil {
		return "", err
	}
	s.keep(obj.Key, signedURL{signed, slot})
	return signed, nil
}

// errNoCredentials says why a URL took too long to sign.
var errNoCredentials = errors.New("no credentials in time to sign the object's URL")

// sign is signer.sign, with an error that is a failure. Credentials are waited for as
// long as an instance is: the store, which is asked then, needs them too, and says what
// it thinks of them.
func (s *tiered) sign(ctx context.Context, obj remote.Object, refused string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.tier.patience, errNoCredentials)
	defer cancel()
	signed, err := s.signer.sign(ctx, obj, refused)
	switch {
	case err == nil:
		return signed, nil
	case context.Cause(ctx) == errNoCredentials:
		err = errNoCredentials
	}
	return "", &failure{Unsigned, err}
}

func (s *signer) known(key string) (signedURL, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.urls[key]
	return known, ok
}

func (s *signer) keep(key string, signed signedURL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.urls) >= maxURLs {
		for other, old := range s.urls {
			if len(s.urls) >= maxURLs/2 || !old.slot.Equal(signed.slot) {
				delete(s.urls, other)
			}
		}
	}
	s.urls[key] = signed
}
