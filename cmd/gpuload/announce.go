package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
	"weightfs/gpuload/manifest"
)

// announce writes the line with which a load begins: onto which device, why
// that one, and with which settings.
func announce(w io.Writer, doing string, dev gpuload.Device, c choice, settings string) {
	fmt.Fprintf(w, "gpuload: %s onto %s (%s; %s): %s\n", doing, dev.Name(), dev.Describe(), c.reason, settings)
}

// warn says, where no line announces the device, that a GPU which is there cannot
// be used.
func (c choice) warn(logger *slog.Logger) {
	if c.unused {
		logger.Warn("the device is the CPU: " + c.reason)
	}
}

// settingsText is the effective settings of a load.
func settingsText(o gpuload.Options) string {
	return fmt.Sprintf("concurrency %d, %s", o.Concurrency, limitsText(o))
}

// limitsText is the settings beside the concurrency.
func limitsText(o gpuload.Options) string {
	limit := "memory limit " + sizeText(o.MemoryLimit)
	switch o.MemoryLimit {
	case gpuload.MemoryUnlimited:
		limit = "no memory limit"
	case gpuload.MemoryMinimum:
		limit = "the least memory"
	}
	return fmt.Sprintf("parts of %s, %s", sizeText(o.PartSize), limit)
}

// sizeText writes n bytes exactly where a unit allows it, rounded where not.
func sizeText(n int64) string {
	const few = len("1023KiB")
	if binary := cli.FormatSize(n); n%1024 == 0 && len(binary) <= few {
		return binary
	}
	return strings.ReplaceAll(humanize.Bytes(uint64(n)), " ", "")
}

// The places of files are checked before a load that would be in vain without
// them. Each path may be "", for none.

// placeForManifest makes sure that a manifest can be written to path.
func placeForManifest(path string) error {
	if path == "" {
		return nil
	}
	if err := manifest.CheckPath(path); err != nil {
		return err
	}
	return roomFor(path)
}

// placeForPlot makes sure that path can be written to, in place where it is
// there: it may be a device.
func placeForPlot(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return roomFor(path)
	}
	err = unix.Access(path, unix.W_OK)
	if info.IsDir() {
		err = unix.EISDIR
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// roomFor makes sure that a file can be made at path.
func roomFor(path string) error {
	dir := filepath.Dir(path)
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "make " + path + " in", Path: dir, Err: err}
	}
	return nil
}
