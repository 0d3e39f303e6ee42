package tier

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"weightfs/remote"
	"weightfs/remote/retry"
)

// tiered is a store with a tier before it.
type tiered struct {
	remote.Store
	tier   *Tier
	signer *signer
}

// OpenRange implements [remote.Store].
func (s *tiered) OpenRange(ctx context.Context, obj remote.Object, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n <= 0 || off > obj.Size-n || obj.Archived || !isETag(obj.Version) {
		return s.Store.OpenRange(ctx, obj, off, n) // which has its own word on it
	}
	b := &body{tiered: s, ctx: ctx, obj: obj, pos: off, end: off + n}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// isETag says whether a version can be asked for by If-Match: not that of a store
// which gives none, nor what could not stand in a header.
func isETag(version string) bool {
	return version != "" && !strings.ContainsFunc(version, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f })
}

// body is a range that comes from the tier, and from the store where the tier
// fails: the rest of that block alone, after which the tier is asked again.
type body struct {
	*tiered
	ctx      context.Context // of OpenRange
	obj      remote.Object
	pos, end int64

	source io.ReadCloser // of the bytes up to until; nil between two
	until  int64
	via    *instance // that brings source; nil for the store
	asked  time.Time // when an instance was for the last time
	from   Origin    // of what via brings
	direct int64     // up to here the tier is not asked again
	final  error     // sticky
}

// open opens the source of the bytes from pos on.
func (b *body) open() error {
	if b.pos < b.direct {
		return b.openDirect(nil)
	}
	refusal, err := b.openTier()
	if err != nil || b.source != nil {
		return err
	}
	b.direct = min(b.pos-b.pos%Block+Block, b.end)
	return b.openDirect(refusal)
}

// refused is an instance's answer of which the store decides whether it was right.
type refused struct {
	*instance
	asked time.Time
	*failure
}

// openTier asks the instances in their order, at most maxTries of them. Without an
// error and a source it is the store's turn.
func (b *body) openTier() (*refused, error) {
	t, cause, tries := b.tier, Broke, 0
	until := b.end
	if len(t.instances) > 1 {
		until = min(until, groupEnd(b.pos))
	}
	for _, in := range t.order(b.obj, b.pos) {
		ask, probe := in.admit()
		if probe {
			b.probe(in, b.obj, b.pos)
		}
		if !ask {
			continue
		}
		err := b.byURL(b.ctx, b.obj, func(signed string) error { return b.openAt(in, signed, until) })
		if err == nil {
			t.counts.answers[b.from].Add(1)
			return nil, nil
		}
		if b.ctx.Err() != nil {
			return nil, err
		}
		retry.Report(b.ctx, err)
		cause = causeOf(err, false)
		if f, _ := errors.AsType[*failure](err); f != nil && cause.refusal() {
			t.counts.fallbacks[cause].Add(1)
			return &refused{in, b.asked, f}, nil
		}
		if cause != Unsigned {
			t.failed(in, b.asked, cause, err)
		}
		if tries++; tries == maxTries || !cause.elsewhere() {
			break
		}
	}
	t.counts.fallbacks[cause].Add(1)
	return nil, nil
}

// openAt asks an instance for the bytes from pos up to until, under a watch.
func (b *body) openAt(in *instance, signed string, until int64) error {
	b.asked = time.Now()
	source, err := b.tier.retrier.Open(b.ctx, b.pos, until-b.pos, func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		got, err := b.tier.get(ctx, in, signed, b.obj, off, n)
		if err != nil {
			return nil, err
		}
		b.from = got.from
		return got, nil
	})
	if err == nil {
		b.source, b.until, b.via = source, until, in
	}
	return err
}

// openDirect asks the store for the bytes up to the end of the block, once there is
// budget for them. What it says of a refusal of the tier is held against that.
func (b *body) openDirect(refusal *refused) error {
	until := b.direct
	if err := b.tier.budget.take(b.ctx, until-b.pos); err != nil {
		return err
	}
	source, err := b.Store.OpenRange(b.ctx, b.obj, b.pos, until-b.pos)
	if err != nil {
		return err
	}
	if refusal != nil {
		b.tier.failed(refusal.instance, refusal.asked, refusal.cause, refusal.failure)
	}
	b.source, b.until, b.via = source, until, nil
	return nil
}

// Read goes straight to the source.
func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil && b.final == nil && b.pos < b.end {
		b.final = err // of what has come already nothing is wanted any more
	}
	for b.final == nil && b.pos < b.end && len(p) > 0 {
		if b.source == nil {
			if b.final = b.open(); b.final != nil {
				break
			}
		}
		n, err := b.source.Read(p[:min(int64(len(p)), b.until-b.pos)])
		b.took(int64(n))
		switch {
		case b.pos == b.until:
			b.ended()
		case err != nil:
			err = b.broke(err)
		}
		if n > 0 {
			b.final = err // an error that came with bytes is met by the next Read
			return n, nil
		}
		b.final = err
	}
	if b.final != nil {
		return 0, b.final
	}
	if b.pos == b.end {
		return 0, io.EOF
	}
	return 0, nil
}

// took accounts for n bytes of source.
func (b *body) took(n int64) {
	b.pos += n
	if b.via != nil {
		b.tier.counts.bytes[b.from].Add(n)
	} else {
		b.tier.counts.direct.Add(n)
	}
}

// ended closes a source that brought all of its bytes.
func (b *body) ended() {
	b.source.Close()
	b.source = nil
	if b.via != nil {
		b.via.served()
	}
}

// broke replaces a source of the tier by the store, for the rest of the block. An
// error of the store is the reader's.
func (b *body) broke(err error) error {
	b.source.Close()
	b.source = nil
	if b.via == nil || b.ctx.Err() != nil {
		return err
	}
	cause := causeOf(err, true)
	b.tier.failed(b.via, b.asked, cause, err)
	b.tier.counts.fallbacks[cause].Add(1)
	retry.Report(b.ctx, err)
	b.direct = min(b.pos-b.pos%Block+Block, b.end)
	return nil
}

// Close implements [io.Closer].
func (b *body) Close() (err error) {
	if b.source != nil {
		err = b.source.Close()
		b.source = nil
	}
	if b.final == nil && b.pos < b.end {
		b.final = os.ErrClosed
	}
	return err
}
