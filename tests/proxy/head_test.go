package proxy

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

const getHead = "GET /b/k?x=1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nrange: bytes=0-9\r\nX-A: 1\r\nx-a: 2\r\n\r\n"

func mustHead(t *testing.T, text string) *Head {
	t.Helper()
	h, err := readHead(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeadIsForwardedByteForByte(t *testing.T) {
	if got := string(mustHead(t, getHead).appendTo(nil)); got != getHead {
		t.Errorf("got %q", got)
	}
}

func TestHeadEdits(t *testing.T) {
	h := mustHead(t, getHead)
	h.Set("Range", "bytes=1-2")
	h.Set("x-A", "")
	h.Set("New", "v")
	want := "GET /b/k?x=1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nrange: bytes=1-2\r\nNew: v\r\n\r\n"
	if got := string(h.appendTo(nil)); got != want {
		t.Errorf("got %q", got)
	}
	h.SetStatus(503, "Slow Down")
	if h.Status() != 503 || h.Get("range") != "bytes=1-2" || h.Get("none") != "" {
		t.Errorf("got %d, %q", h.Status(), h.Get("range"))
	}
}

func TestHeadLength(t *testing.T) {
	tests := []struct {
		fields  string
		n       int64
		chunked bool
		fails   bool
	}{
		{fields: "Content-Length: 12\r\n", n: 12},
		{fields: "transfer-encoding: Chunked\r\n", n: -1, chunked: true},
		{fields: "", n: -1},
		{fields: "Content-Length: -1\r\n", fails: true},
		{fields: "Content-Length: x\r\n", fails: true},
	}
	for _, tt := range tests {
		n, chunked, err := mustHead(t, "HTTP/1.1 200 OK\r\n"+tt.fields+"\r\n").length()
		if (err != nil) != tt.fails || n != tt.n || chunked != tt.chunked {
			t.Errorf("%q: %d, %v, %v", tt.fields, n, chunked, err)
		}
	}
}

func TestReadHeadRejects(t *testing.T) {
	for text, want := range map[string]error{
		"":                               io.EOF,
		"GET / HTTP/1.1\r\nHost":         errHead,
		"GET / HTTP/1.1\r\nno colon\r\n": errHead,
		"GET / HTTP/1.1\r\nA: " + strings.Repeat("x", maxHead) + "\r\n\r\n": errHead,
	} {
		if _, err := readHead(bufio.NewReader(strings.NewReader(text))); !errors.Is(err, want) {
			t.Errorf("%.30q: %v, want %v", text, err, want)
		}
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add(getHead)
	f.Add("HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := readHead(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		again, err := readHead(bufio.NewReader(strings.NewReader(string(h.appendTo(nil)))))
		if err != nil {
			t.Fatalf("our own head is malformed: %v", err)
		}
		if len(again.fields) != len(h.fields) {
			t.Fatalf("%d fields became %d", len(h.fields), len(again.fields))
		}
	})
}
