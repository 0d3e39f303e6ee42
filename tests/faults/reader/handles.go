package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	openTimes   = 10_000
	openAtOnce  = 1_000
	handleBytes = 4096
)

// firstPage opens the file and reads its first page.
func firstPage(path string) (*os.File, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	page := make([]byte, handleBytes)
	if _, err := f.ReadAt(page, 0); err != nil {
		f.Close()
		return nil, nil, err
	}
	sum := sha256.Sum256(page)
	return f, sum[:], nil
}

func opens(path string) (sum []byte, failures []failure) {
	start := time.Now()
	for range openTimes {
		f, page, err := firstPage(path)
		if err != nil {
			return nil, failed(start, err)
		}
		if sum = page; f.Close() != nil {
			return nil, failed(start, err)
		}
	}
	return sum, nil
}

func handles(path string) (sum []byte, failures []failure) {
	start := time.Now()
	for range openAtOnce {
		f, page, err := firstPage(path)
		if err != nil {
			return nil, failed(start, err)
		}
		defer f.Close() // all at the end
		sum = page
	}
	return sum, nil
}

// held reads in two halves, each at a line on standard input.
func held(path string) ([]byte, []failure) {
	start := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return nil, failed(start, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, failed(start, err)
	}
	signals := bufio.NewReader(os.Stdin)
	h := sha256.New()
	half := info.Size() / 2
	for _, part := range []struct {
		said string
		size int64
	}{{"open", half}, {"read", info.Size() - half}} {
		fmt.Fprintln(os.Stderr, part.said)
		if _, err := signals.ReadString('\n'); err != nil && err != io.EOF {
			return nil, failed(start, err)
		}
		if _, err := io.CopyN(h, struct{ io.Reader }{f}, part.size); err != nil {
			return nil, failed(start, err)
		}
	}
	return h.Sum(nil), nil
}
