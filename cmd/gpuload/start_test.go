package main

import (
	"os"
	"testing"
	"testing/fstest"
	"time"
)

func TestProcessStart(t *testing.T) {
	got, err := processStart(os.DirFS("/"))
	info, err2 := os.Stat("/proc/self/stat")
	if err != nil || err2 != nil || got.After(time.Now()) || got.Before(info.ModTime().Add(-time.Hour)) {
		t.Errorf("%v, %v, %v", got, err, err2)
	}
	const zeroes = " R 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 "
	early, err := processStart(fstest.MapFS{"proc/self/stat": {Data: []byte("7 (a) b 1)" + zeroes + "0 1")}})
	late, err2 := processStart(fstest.MapFS{"proc/self/stat": {Data: []byte("7 (x)" + zeroes + "100 1")}})
	if err != nil || err2 != nil || late.Sub(early).Round(100*time.Millisecond) != time.Second {
		t.Errorf("%v, %v; %v, %v", early, err, late, err2)
	}
	for _, text := range []string{"", "7 (x) R 1", "7 (x)" + zeroes + "- 1"} {
		if at, err := processStart(fstest.MapFS{"proc/self/stat": {Data: []byte(text)}}); err == nil {
			t.Errorf("%q: %v", text, at)
		}
	}
}
