package monitor

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"time"

	"weightfs/fs"
	"weightfs/prefetch"
)

// maxNamed bounds how many files and objects a report names.
const maxNamed = 256

// Files are the open files.
type Files struct {
	Open   int64  `json:"open"`
	Listed []File `json:"listed"` // those that are read most first
	More   int64  `json:"more"`   // open and not listed
}

// File is an open handle of a file.
type File struct {
	Object        string  `json:"object"`
	Size          int64   `json:"size"`
	Furthest      int64   `json:"furthest"` // end of the furthest read
	Read          int64   `json:"read"`     // bytes, each as often as it was read
	BytesPerSec   float64 `json:"bytes_per_second"`
	OpenSeconds   float64 `json:"open_seconds"`
	PID           uint32  `json:"pid"`     // who opened it; 0: of another PID namespace
	Command       string  `json:"command"` // "": it has ended, or cannot be seen
	ReadsByKernel bool    `json:"read_by_kernel"`
}

func filesOf(files []fs.OpenFile, open int64) Files {
	all := Files{Open: open, Listed: make([]File, 0, len(files)), More: max(open-int64(len(files)), 0)}
	for _, f := range files {
		all.Listed = append(all.Listed, File{
			Object: f.Key, Size: f.Size, Furthest: f.Furthest, Read: f.Read, BytesPerSec: f.Rate,
			OpenSeconds: time.Since(f.Opened).Seconds(), PID: f.PID, Command: f.Command, ReadsByKernel: f.Kernel,
		})
	}
	return all
}

// byKernel is how many of the listed files the kernel reads by itself.
func (f Files) byKernel() (n int64) {
	for _, file := range f.Listed {
		if file.ReadsByKernel {
			n++
		}
	}
	return n
}

// Fetches are the GETs under way.
type Fetches struct {
	UnderWay      int64     `json:"under_way"`
	Limit         int64     `json:"limit"`
	Queued        int64     `json:"queued"` // that readers wait for and the limit keeps
	OldestSeconds float64   `json:"oldest_seconds"`
	Objects       []Fetched `json:"objects"` // the one with the oldest GET first
}

// Fetched is an object with GETs under way.
type Fetched struct {
	Object        string  `json:"object"`
	Gets          int64   `json:"gets"`
	Unanswered    int64   `json:"unanswered"` // without a first byte
	Awaited       int64   `json:"awaited"`    // that a reader waits for
	Bytes         int64   `json:"bytes"`      // that they are to bring
	Landed        int64   `json:"landed"`     // of these
	OldestSeconds float64 `json:"oldest_seconds"`
	Trouble       string  `json:"trouble,omitempty"` // why an attempt failed that is being repeated
}

// fetchesOf sums the GETs of each object up.
func fetchesOf(a prefetch.Activity, limit int64, now time.Time) Fetches {
	all := Fetches{UnderWay: int64(len(a.Fetches)), Limit: limit, Queued: a.Queued, Objects: []Fetched{}}
	for _, f := range a.Fetches {
		i := slices.IndexFunc(all.Objects, func(o Fetched) bool { return o.Object == f.Key })
		if i < 0 {
			i = len(all.Objects)
			all.Objects = append(all.Objects, Fetched{Object: f.Key, OldestSeconds: max(now.Sub(f.Began).Seconds(), 0)})
			all.OldestSeconds = max(all.OldestSeconds, all.Objects[i].OldestSeconds)
		}
		o := &all.Objects[i]
		o.Gets++
		o.Bytes += f.Length
		o.Landed += f.Landed
		if !f.Answered {
			o.Unanswered++
		}
		if f.Awaited {
			o.Awaited++
		}
		if f.Trouble != "" {
			o.Trouble = f.Trouble
		}
	}
	return all
}

// residentMemory is that of this process, in bytes; 0 where it cannot be read.
func residentMemory() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
