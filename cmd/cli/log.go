package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"
)

// LogLevel is the value of --log-level. It implements pflag.Value.
type LogLevel struct{ level slog.Level }

// Register adds --log-level to flags; the level held is the default.
func (l *LogLevel) Register(flags *pflag.FlagSet) {
	flags.Var(l, "log-level", "least `level` to log: debug, info, warn or error")
}

// Set implements pflag.Value.
func (l *LogLevel) Set(text string) error {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(text, level.String()) {
			l.level = level
			return nil
		}
	}
	return fmt.Errorf("%q is not a level: write debug, info, warn or error", text)
}

// String implements pflag.Value.
func (l *LogLevel) String() string { return strings.ToLower(l.level.String()) }

// Type implements pflag.Value.
func (l *LogLevel) Type() string { return "level" }

// Logger writes records of this level and above to w, one line of text each.
func (l *LogLevel) Logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l.level}))
}
