package fs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tune sets how far the kernel reads ahead on the mount, which only root may
// do, and after mounting only: at 128 KiB, its own choice, a buffered reader
// gets a third of the speed. It logs the values in force.
func tune(c *connection, cfg Config) {
	if !c.known {
		cfg.Logger.Info("mounted by somebody else: the kernel's readahead is left as it is")
		return
	}
	name := filepath.Join("/sys/class/bdi", c.entry.device(), "read_ahead_kb")
	if err := os.WriteFile(name, []byte(strconv.FormatInt(cfg.ReadAhead>>10, 10)), 0); err != nil {
		cfg.Logger.Warn("cannot set the kernel's readahead: buffered and mapped reads are slower", "err", err)
	}
	cfg.Logger.Info("mounted",
		slog.String("source", cfg.Source),
		slog.String("mountpoint", c.dir),
		slog.String("device", c.entry.device()),
		slog.String("read_ahead_kb", setting(name)),
		slog.String("max_background", c.control("max_background")),
		slog.String("congestion_threshold", c.control("congestion_threshold")),
		slog.Int("max_read", maxRead),
	)
}

// setting is the value in a file of sysfs, or "unknown".
func setting(name string) string {
	value, err := os.ReadFile(name)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(value))
}
