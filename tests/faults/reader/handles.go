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
	h, next := sha256.New(), turns()
	half := info.Size() / 2
	for part, size := range []int64{half, info.Size() - half} {
		if err := next(part); err != nil {
			return nil, failed(start, err)
		}
		if _, err := io.CopyN(h, struct{ io.Reader }{f}, size); err != nil {
			return nil, failed(start, err)
		}
	}
	return h.Sum(nil), nil
}

func heldMapped(path string) ([]byte, []failure) { return mappedParts(path, 2, turns()) }

// turns returns a function that says how far the reader is, and waits for a line
// on standard input.
func turns() func(part int) error {
	lines := bufio.NewReader(os.Stdin)
	return func(part int) error {
		fmt.Fprintln(os.Stderr, []string{"open", "read"}[part])
		if _, err := lines.ReadString('\n'); err != nil && err != io.EOF {
			return err
		}
		return nil
	}
}
