package prefetch

import (
	"context"
	"path"
	"strings"

	"weightfs/remote"
)

// Lookup is List for who looks name up in dir: [Listing.Find] then has it or
// not. Errors are those of List.
//
// A path is looked up one component after the other, and each would wait for a
// request of its own. So the first look-up in a directory has the next one listed
// ahead: what name is, or what it may be while dir itself is not listed yet.
func (l *Listings) Lookup(ctx context.Context, dir, name string) (*Listing, error) {
	held, ok := l.peek(dir)
	if ok && held.leadsTo(name) || !ok && !likelyFile(name) {
		l.listBelow(path.Join(dir, name))
	}
	listing, err := l.orAsk(ctx, dir, held)
	if err != nil {
		return nil, err
	}
	listing.entered.Store(true)
	return listing, nil
}

// leadsTo tells whether name is a directory and the first name that is looked up.
func (l *Listing) leadsTo(name string) bool {
	if l.entered.Load() {
		return false
	}
	entry, ok := l.Find(name)
	return ok && entry.Kind == remote.KindDir
}

// likelyFile tells by its name whether something of which nothing else is known
// will be a file: config.json, model.safetensors, but not Qwen2.5 or
// Llama-3.1-8B. Being wrong costs a request, or a round trip.
func likelyFile(name string) bool {
	suffix := strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))
	if suffix == "" || suffix[0] < 'a' || suffix[0] > 'z' {
		return false
	}
	return strings.Trim(suffix, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// listBelow starts the listing of dir where nothing is known of it.
func (l *Listings) listBelow(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ahead < maxAhead {
		l.startAhead(dir)
	}
}
