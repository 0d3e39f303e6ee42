package fs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel is what was agreed with the kernel, and how it is set. What cannot be
// known is 0 or "".
type Kernel struct {
	Release             string // of the kernel, as uname says
	Protocol            string // of FUSE, that the kernel offers: "7.41"
	ReadAhead           int64  // bytes that the kernel reads ahead
	MaxRead             int64  // bytes of the largest READ
	MaxBackground       int64  // requests ahead of readers under way
	CongestionThreshold int64  // from which on readahead is skipped
	Passthrough         bool   // files of this host are read by the kernel itself
}

// Kernel tells how the kernel is set. The readahead is as of now, the rest as it was
// when the mount began.
func (s *Server) Kernel() Kernel {
	k := s.device.agreed
	if set := s.set.Load(); set != nil {
		k.MaxBackground, k.CongestionThreshold = set.maxBackground, set.congestionThreshold
	}
	if s.conn.known {
		k.ReadAhead = number(setting(s.conn.readAheadFile())) << 10
	}
	return k
}

// DeviceNumber is that of the mount, as stat of its files tells it; false where
// somebody else mounted it.
func (s *Server) DeviceNumber() (major, minor uint32, ok bool) {
	return s.conn.entry.major, s.conn.entry.minor, s.conn.known
}

// limits are settings of a connection.
type limits struct{ maxBackground, congestionThreshold int64 }

// number reads a setting; one that is unknown is 0.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// release is the kernel's.
func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// readAheadFile is where the mount's readahead is set.
func (c *connection) readAheadFile() string {
	return filepath.Join("/sys/class/bdi", c.entry.device(), "read_ahead_kb")
}

// tune sets how far the kernel reads ahead on the mount, which only root may
// do, and after mounting only: at 128 KiB, its own choice, a buffered reader
// gets a third of the speed. It logs the values in force, and what has begun.
func tune(c *connection, cfg Config, begun string) *limits {
	if !c.known {
		cfg.Logger.Info(begun + ", by somebody else: the kernel's readahead is left as it is")
		return nil
	}
	name := c.readAheadFile()
	if err := os.WriteFile(name, []byte(strconv.FormatInt(cfg.ReadAhead>>10, 10)), 0); err != nil {
		cfg.Logger.Warn("cannot set the kernel's readahead: buffered and mapped reads are slower", "err", err)
	}
	background, congestion := c.control("max_background"), c.control("congestion_threshold")
	cfg.Logger.Info(begun,
		slog.String("source", cfg.Source),
		slog.String("mountpoint", c.dir),
		slog.String("device", c.entry.device()),
		slog.String("read_ahead_kb", setting(name)),
		slog.String("max_background", background),
		slog.String("congestion_threshold", congestion),
		slog.Int("max_read", maxRead),
	)
	return &limits{number(background), number(congestion)}
}

// setting is the value in a file of sysfs, or "unknown".
func setting(name string) string {
	value, err := os.ReadFile(name)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(value))
}
