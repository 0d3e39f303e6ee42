package remote

import (
	"errors"
	"net/http"
	"testing"
)

// TestAnswerWithoutETag reads from a gateway that drops ETag, and so may have
// dropped If-Match too.
func TestAnswerWithoutETag(t *testing.T) {
	requests := 0
	s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
		requests++
		return answer(r, 206, map[string]string{"Content-Range": "bytes 0-3/4"}, "data"), nil
	})
	_, err := WithRetry(s, RetryPolicy{}).OpenRange(t.Context(), Object{Key: "k", Size: 4, Version: "1"}, 0, 4)
	if !errors.Is(err, ErrChanged) || requests != 3 {
		t.Errorf("%v after %d requests", err, requests)
	}
}

// TestDatedVersions reads objects that were listed without an ETag, whose date and
// size stand in for it, from stores that know more and less of conditions.
func TestDatedVersions(t *testing.T) {
	const listed, later = "2024-05-01T12:00:00.250Z", "Wed, 01 May 2024 12:00:01 GMT"
	const same = "Wed, 01 May 2024 12:00:00 GMT"
	for name, c := range map[string]struct {
		status        int
		date, content string
		want          error
	}{
		"the same":          {206, same, "bytes 0-3/4", nil},
		"condition fails":   {412, "", "", ErrChanged},
		"condition ignored": {206, later, "bytes 0-3/4", ErrChanged},
		"other size":        {206, same, "bytes 0-3/9", ErrChanged},
		"size not told":     {206, same, "bytes 0-3/*", ErrChanged},
		"date not told":     {206, "", "bytes 0-3/4", ErrChanged},
	} {
		var condition string
		s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Has("list-type") {
				return answer(r, 200, nil, `<ListBucketResult><Contents><Key>k</Key><Size>4</Size><LastModified>`+
					listed+`</LastModified></Contents></ListBucketResult>`), nil
			}
			condition = r.Header.Get("If-Match") + r.Header.Get("If-Unmodified-Since")
			header := map[string]string{"Content-Range": c.content}
			if c.date != "" {
				header["Last-Modified"] = c.date
			}
			return answer(r, c.status, header, "data"), nil
		})
		page, err := s.ListPage(t.Context(), "", "", 0)
		if err != nil || len(page.Entries) != 1 {
			t.Fatalf("%s: listed %+v, %v", name, page, err)
		}
		body, err := s.OpenRange(t.Context(), page.Entries[0].Object, 0, 4)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if body != nil {
			body.Close()
		}
		if condition != later { // listed, rounded up
			t.Errorf("%s: condition %q", name, condition)
		}
	}
}
