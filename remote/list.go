package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
)

// Pages yields the pages of the directory dir of store, from the one that token
// names on. The iteration ends after the last page or the first error.
func Pages(ctx context.Context, store Store, dir, token string) iter.Seq2[Page, error] {
	return pages(ctx, store, dir, token, 0)
}

// pages is Pages with at most limit keys on each.
func pages(ctx context.Context, store Store, dir, token string, limit int) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		seen := map[string]bool{}
		for {
			page, err := store.ListPage(ctx, dir, token, limit)
			if err == nil && seen[page.Next] {
				err = fmt.Errorf("list %q: the store repeats the continuation token %.40q", dir, page.Next)
			}
			if !yield(page, err) || err != nil || page.Next == "" {
				return
			}
			token = page.Next
			seen[token] = true
		}
	}
}

// List yields the direct children of the directory dir of store ("" is the
// source), each name once, sorted by name as bytes. The iteration ends after the
// first error. A directory that does not exist is fs.ErrNotExist.
func List(ctx context.Context, store Store, dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		// All is held before the first is yielded: S3 sorts "a-b" before "a/",
		// and the directory "a" comes first.
		var entries []Entry
		exists := dir == ""
		for page, err := range Pages(ctx, store, dir, "") {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			entries = append(entries, page.Entries...)
			exists = exists || page.Exists
		}
		if !exists {
			yield(Entry{}, notExist("list", dir))
			return
		}
		entries, _ = orderEntries(entries)
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Exists tells whether dir is a directory of store, by the first key in it.
func Exists(ctx context.Context, store Store, dir string) (bool, error) {
	found, err := hasKeys(ctx, store, dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return found, err
}

// hasKeys is Exists for which fs.ErrNotExist is an error.
func hasKeys(ctx context.Context, store Store, dir string) (bool, error) {
	for page, err := range pages(ctx, store, dir, "", 1) {
		if err != nil || page.Exists {
			return page.Exists, err
		}
	}
	return false, nil
}

// orderEntries sorts the entries of one directory by name as bytes. Where an
// object and a directory have the same name the directory stays; the keys of
// such objects are returned too.
func orderEntries(entries []Entry) (ordered []Entry, shadowed []string) {
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), -cmp.Compare(a.Kind, b.Kind))
	})
	ordered = entries[:0]
	for _, e := range entries {
		if n := len(ordered); n > 0 && ordered[n-1].Key == e.Key {
			shadowed = append(shadowed, e.Key)
			continue
		}
		ordered = append(ordered, e)
	}
	return ordered, shadowed
}
