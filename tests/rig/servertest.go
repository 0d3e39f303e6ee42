package rig

import (
	"bytes"
	"context"
	"testing"
)

// StartServer runs a server until tb ends.
func StartServer(tb testing.TB, opts ServerOptions) *Server {
	tb.Helper()
	s, err := NewServer(tb.Context(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// Fill makes the bucket where it is missing and stores an object for each
// entry of content, which maps keys to bytes.
func (s *Server) Fill(tb testing.TB, bucket string, content map[string][]byte) {
	tb.Helper()
	if err := s.CreateBucket(context.WithoutCancel(tb.Context()), bucket); err != nil {
		tb.Fatal(err)
	}
	for key, data := range content {
		s.MustPut(tb, bucket, key, data)
	}
}

// MustPut stores one object or ends the test.
func (s *Server) MustPut(tb testing.TB, bucket, key string, data []byte) {
	tb.Helper()
	if err := s.Put(context.WithoutCancel(tb.Context()), bucket, key, bytes.NewReader(data)); err != nil {
		tb.Fatal(err)
	}
}
