package names

import (
	"cmp"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weightfs/remote"
)

// tagLen is the length of an MD5 in hex, which most ETags begin with.
const tagLen = 2 * 16

// record is one entry. Its name, version and target stand one after the other in the
// text of its page. It has no pointers, so the garbage collector does not look at it.
type record struct {
	size     int64
	modified int64 // in ns since 1970; noTime: unknown
	page, at uint32
	version  uint32 // length
	target   uint16 // length
	name     uint8  // length: at most 255, as everywhere
	kind     recordKind
}

const noTime = math.MinInt64

// recordKind is the kind of an entry, and flags.
type recordKind uint8

const (
	kindMask recordKind = 3
	archived recordKind = 4 // reading it fails
	packed   recordKind = 8 // the first tagLen characters of the version are stored as bytes
)

// table has entries of one directory.
type table struct {
	dir     string
	texts   []string // of the pages
	records []record // sorted by name within each page, or all of them
}

// Len is the number of entries.
func (t *table) Len() int { return len(t.records) }

// name is the name of the entry number i.
func (t *table) name(i int) string { return t.records[i].nameIn(t.texts) }

func (r record) nameIn(texts []string) string { return texts[r.page][r.at:][:r.name] }

// isDir tells whether the entry number i is a directory.
func (t *table) isDir(i int) bool { return t.records[i].kind&kindMask == recordKind(remote.KindDir) }

// Entry is the entry number i.
func (t *table) Entry(i int) remote.Entry {
	r := t.records[i]
	rest := t.texts[r.page][r.at:]
	name, rest := rest[:r.name], rest[r.name:]
	version, rest := rest[:r.version], rest[r.version:]
	if r.kind&packed != 0 {
		version = hex.EncodeToString([]byte(version[:tagLen/2])) + version[tagLen/2:]
	}
	e := remote.Entry{Kind: remote.Kind(r.kind & kindMask), Target: rest[:r.target]}
	e.Object = remote.Object{Key: joinKey(t.dir, name), Size: r.size, Version: version, Archived: r.kind&archived != 0}
	if r.modified != noTime {
		e.ModTime = time.Unix(0, r.modified)
	}
	return e
}

// index is where name is among the entries from lo on to hi, which are sorted.
func (t *table) index(lo, hi int, name string) (int, bool) {
	i, ok := slices.BinarySearchFunc(t.records[lo:hi], name, func(r record, name string) int {
		return strings.Compare(r.nameIn(t.texts), name)
	})
	return lo + i, ok
}

// pack makes the text and the records of a page of the directory dir, sorted.
func pack(dir string, entries []remote.Entry) (text string, records []record) {
	prefix := len(joinKey(dir, ""))
	var b strings.Builder
	records = make([]record, 0, len(entries))
	for _, e := range entries {
		r := record{size: e.Size, modified: noTime, at: uint32(b.Len()), kind: recordKind(e.Kind)}
		r.name, r.target = uint8(len(e.Key)-prefix), uint16(len(e.Target))
		if !e.ModTime.IsZero() {
			r.modified = e.ModTime.UnixNano()
		}
		if e.Archived {
			r.kind |= archived
		}
		version := e.Version
		if hash, ok := hashOf(version); ok {
			r.kind |= packed
			version = hash + version[tagLen:]
		}
		r.version = uint32(len(version))
		for _, part := range []string{e.Key[prefix:], version, e.Target} {
			b.WriteString(part)
		}
		records = append(records, r)
	}
	text = strings.Clone(b.String()) // of its very length
	sortRecords(records, []string{text})
	return text, records
}

// hashOf returns the bytes of the hash that version begins with.
func hashOf(version string) (hash string, ok bool) {
	if len(version) < tagLen || strings.ContainsAny(version[:tagLen], "ABCDEF") {
		return "", false
	}
	raw, err := hex.DecodeString(version[:tagLen])
	return string(raw), err == nil
}

// sortRecords sorts by name, of equal ones directories first.
func sortRecords(records []record, texts []string) {
	slices.SortFunc(records, func(a, b record) int {
		return cmp.Or(strings.Compare(a.nameIn(texts), b.nameIn(texts)), -cmp.Compare(a.kind&kindMask, b.kind&kindMask))
	})
}

// draft is a listing of which pages are still to come.
type draft struct {
	table
	starts  []int     // the first record of each page
	exists  bool      // the directory does
	next    string    // token of the next page; "" before the first
	through string    // see remote.Page
	expires time.Time // of the first page
	flight  *flight   // that brings the next page; nil: the draft rests
	rested  time.Time // since when
	idle    time.Duration
}

// add adds a page.
func (d *draft) add(text string, records []record, page remote.Page) {
	for i := range records {
		records[i].page = uint32(len(d.texts))
	}
	d.starts = append(d.starts, len(d.records))
	d.texts = append(d.texts, text)
	d.records = append(d.records, records...)
	d.exists = d.exists || page.Exists
	d.next, d.through = page.Next, page.Through
}

// find returns the entry called name that is on one of the pages.
func (d *draft) find(name string) (remote.Entry, bool) {
	for n, lo := range d.starts {
		hi := len(d.records)
		if n+1 < len(d.starts) {
			hi = d.starts[n+1]
		}
		if i, ok := d.index(lo, hi, name); ok {
			return d.Entry(i), true
		}
	}
	return remote.Entry{}, false
}

// answer returns what the pages so far say of name. They cannot say that it is
// missing: S3 sorts "a-b" before "a/", and other stores behind it. A directory hides an
// object of the same name, so an object counts only once the directory would have come.
func (d *draft) answer(name string) (Answer, bool) {
	entry, ok := d.find(name)
	ok = ok && (entry.Kind == remote.KindDir || name+"/" <= d.through)
	return Answer{Entry: entry, Found: true, expires: d.expires}, ok
}

// Listing is one whole directory as it was at one time, sorted by name as bytes.
type Listing struct {
	table
	expires   time.Time   // zero: never
	outdated  atomic.Bool // it was invalidated
	refreshed bool        // guarded by Cache.mu; a refresh was begun
}

// newListing makes the listing of all pages in t, which it does not change.
func newListing(t table) *Listing {
	l := &Listing{table: table{dir: t.dir, texts: slices.Clone(t.texts), records: slices.Clone(t.records)}}
	sortRecords(l.records, l.texts)
	l.records = slices.CompactFunc(l.records, func(a, b record) bool { return a.nameIn(l.texts) == b.nameIn(l.texts) })
	return l
}

// Find returns the entry called name.
func (l *Listing) Find(name string) (remote.Entry, bool) {
	i, ok := l.index(0, l.Len(), name)
	if !ok {
		return remote.Entry{}, false
	}
	return l.Entry(i), true
}

// answer returns what the listing says of name.
func (l *Listing) answer(name string) Answer {
	entry, ok := l.Find(name)
	return Answer{Entry: entry, Found: ok, expires: l.expiry()}
}

// Remaining is how long from now on the listing may be used, at least 0; false says
// for ever.
func (l *Listing) Remaining(now time.Time) (time.Duration, bool) {
	return Answer{expires: l.expiry()}.Remaining(now)
}

// expiry is when it is out of date.
func (l *Listing) expiry() time.Time {
	if l.outdated.Load() {
		return time.Unix(0, 0)
	}
	return l.expires
}

// fresh tells whether the listing, which may be nil, may answer at the time now.
func (l *Listing) fresh(now time.Time) bool { return l != nil && fresh(l.expiry(), now) }
