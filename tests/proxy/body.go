package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// The pieces in which a shaped body moves take about 6 ms: short enough for a
// reader not to notice, long enough that the wake-ups cost little. 256 KiB also
// stays well below a pipe of 1 MiB.
const (
	piecesPerSecond = 160
	maxPiece        = 256 << 10
)

// respond passes a response on, with the rule's edits.
func (x *exchange) respond(r *http.Response) error {
	n := r.ContentLength
	if x.rec.Op == "HEAD" {
		n = 0
	}
	if n < 0 {
		return errors.New("a response whose length is not known before its end")
	}
	if err := x.waitFirstByte(); err != nil {
		return err
	}
	if x.rule.End == Reset && x.rule.After == 0 {
		x.reset()
		return errors.New("reset before the head")
	}
	if x.rule.End == Shorten && n > x.rule.After {
		r.Header.Set("Content-Length", fmt.Sprint(x.rule.After))
	}
	edit(r.Header, x.rule.Response)
	if x.rule.Edit != nil {
		x.rule.Edit(r)
	}
	if err := x.writeHead(r.StatusCode, r.Header); err != nil {
		return err
	}
	if err := x.sendBody(n); err != nil {
		return err
	}
	if r.Close || x.request.Close {
		return errLast
	}
	return nil
}

// sendBody sends n bytes of body and ends them as the rule says.
func (x *exchange) sendBody(n int64) error {
	if x.rule.End == Whole || n <= x.rule.After {
		return x.copyBody(n)
	}
	if err := x.copyBody(x.rule.After); err != nil {
		return err
	}
	switch x.rule.End {
	case Reset:
		x.reset()
		return errors.New("reset")
	case Stall:
		return x.stall()
	default: // Truncate, Shorten: the rest of the server's body is not wanted
		return errLast
	}
}

// copyBody moves n bytes to the client at the shape's pace.
func (x *exchange) copyBody(n int64) error {
	bandwidth := cmp.Or(x.rule.Bandwidth, x.shape.PerConnection)
	pace, piece := newPace(bandwidth), pieceSize(bandwidth, x.shape.Total)
	for n > 0 {
		want := min(piece, n)
		if held := int64(x.serverR.Buffered()); held > 0 {
			want = min(want, held) // scheduled is only what moves at once
		}
		at := turn(pace, want)
		if total := x.proxy.turn(want); total.After(at) {
			at = total
		}
		if err := x.proxy.sleepUntil(at); err != nil {
			return err
		}
		moved, err := x.move(want)
		x.rec.Bytes += moved
		x.proxy.passed(x.rec.Op, moved)
		if err != nil {
			return fmt.Errorf("body: %w", err)
		}
		n -= moved
	}
	return nil
}

// pieceSize returns how much of a body to move at once: all where nothing
// limits it.
func pieceSize(rates ...int64) int64 {
	piece := int64(0)
	for _, rate := range rates {
		if rate > 0 && (piece == 0 || rate/piecesPerSecond < piece) {
			piece = max(1, rate/piecesPerSecond)
		}
	}
	if piece == 0 {
		return 1 << 40
	}
	return min(piece, maxPiece)
}

// catchUp is how far behind its rate a body may get and still make up for it: more
// than a timer is late on a busy machine, less than would show as a burst.
const catchUp = 10 * time.Millisecond

// setRate sets the bytes per second of l, 0 for no limit.
func setRate(l *rate.Limiter, bytesPerSecond int64) {
	if bytesPerSecond == 0 {
		l.SetLimit(rate.Inf)
		return
	}
	l.SetBurst(int(max(1, float64(bytesPerSecond)*catchUp.Seconds())))
	l.SetLimit(rate.Limit(bytesPerSecond))
}

// newPace returns a limiter of that rate, with nothing saved up.
func newPace(bytesPerSecond int64) *rate.Limiter {
	l := rate.NewLimiter(0, 0)
	setRate(l, bytesPerSecond)
	return l
}

// turn returns when the last of n more bytes may have passed. The limiter takes
// time that goes back for more of it: two calls at once are not for it.
func turn(l *rate.Limiter, n int64) time.Time {
	now := time.Now()
	if l.Limit() != rate.Inf {
		n = min(n, int64(l.Burst())) // where the rate fell since n was chosen
	}
	return now.Add(l.ReserveN(now, int(n)).DelayFrom(now))
}

// move sends n bytes, from the head's buffer where that holds some, and then
// they are all there, or else by splice.
func (x *exchange) move(n int64) (int64, error) {
	if x.serverR.Buffered() > 0 {
		return io.CopyN(x.client, x.serverR, n)
	}
	moved, err := x.client.ReadFrom(&io.LimitedReader{R: x.server, N: n})
	if err == nil && moved < n {
		err = io.ErrUnexpectedEOF
	}
	return moved, err
}
