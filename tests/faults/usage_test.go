package faults

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"testing"

	"weightfs/tests/rig"
)

// usage is what a process holds.
type usage struct {
	descriptors, goroutines, threads int
	resident                         int64
}

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d threads, %d MiB", u.descriptors, u.goroutines, u.threads, u.resident>>20)
}

// usageOf returns what a mountd holds now.
func usageOf(t *testing.T, m *rig.Mount) usage {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", m.PID())
	descriptors, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir(proc + "task")
	if err != nil {
		t.Fatal(err)
	}
	resident, err := rig.RSS(m.PID())
	if err != nil {
		t.Fatal(err)
	}
	return usage{len(descriptors), int(measures(t, m.Dir)["goroutines"]), len(threads), resident}
}

// pageDigest is the SHA-256 of a file's first page, in hex.
func pageDigest(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data[:4096])
	return hex.EncodeToString(sum[:]), nil
}
