package names

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weightfs/remote"
)

// TestPackedEntriesAreTheOriginals packs entries of any kind and compares what comes
// out.
func TestPackedEntriesAreTheOriginals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := rapid.SampledFrom([]string{"", "d", "a/b"}).Draw(t, "directory")
		versions := rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9a-f]{32}(-[0-9]+)?`), rapid.StringMatching(`[0-9a-fA-F]{30,40}`))
		var entries []remote.Entry
		want := map[string]remote.Entry{}
		for _, name := range rapid.SliceOfDistinct(rapid.StringMatching(`[a-c\-./é]{1,60}`), rapid.ID[string]).Draw(t, "names") {
			e := remote.Entry{Kind: remote.Kind(rapid.IntRange(0, 2).Draw(t, "kind"))}
			e.Object = remote.Object{
				Key: joinKey(dir, name), Size: rapid.Int64().Draw(t, "size"), Version: versions.Draw(t, "version"),
				Archived: rapid.Bool().Draw(t, "archived"),
			}
			if rapid.Bool().Draw(t, "dated") {
				e.ModTime = time.Unix(0, rapid.Int64Range(-1<<60, 1<<60).Draw(t, "modified"))
			}
			if e.Kind == remote.KindLink {
				e.Target = rapid.String().Draw(t, "target")
			}
			entries = append(entries, e)
			want[name] = e
		}
		half := len(entries) / 2
		var d draft
		d.dir = dir
		for _, page := range [][]remote.Entry{entries[:half], entries[half:]} {
			text, records := pack(dir, page)
			d.add(text, records, remote.Page{})
		}
		l := newListing(d.table)
		for name, e := range want {
			for _, find := range []func(string) (remote.Entry, bool){d.find, l.Find} {
				if got, ok := find(name); !ok || got != e {
					t.Fatalf("%q: got %+v, want %+v", name, got, e)
				}
			}
		}
		for i := range l.Len() {
			if i > 0 && l.name(i-1) >= l.name(i) {
				t.Fatalf("%q before %q", l.name(i-1), l.name(i))
			}
		}
		if _, ok := l.Find("d"); ok || l.Len() != len(want) {
			t.Fatalf("%d entries of %d", l.Len(), len(want))
		}
	})
}

// BenchmarkListing measures what an entry of a listing takes, with a name of 20 and
// an MD5 as its ETag: 75 bytes. Listing it takes twice as much meanwhile.
func BenchmarkListing(b *testing.B) {
	const pages = 100
	b.ReportAllocs()
	var held *Listing
	var heap int64
	for b.Loop() {
		held = nil
		before := liveHeap()
		var d draft
		for page := range pages {
			entries := make([]remote.Entry, pageSize)
			for i := range entries {
				entries[i] = file(fmt.Sprintf("model-%06d-of-0100", page*pageSize+i))
				entries[i].Version = strings.Repeat("0123456789abcdef", 2)
			}
			text, records := pack("", entries)
			d.add(text, records, remote.Page{})
		}
		held = newListing(d.table)
		d = draft{}
		heap = liveHeap() - before
	}
	b.ReportMetric(float64(heap)/float64(held.Len()), "B/entry")
}
