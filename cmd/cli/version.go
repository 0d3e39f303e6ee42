package cli

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// stamp is the version, the commit and the commit's date, parted by spaces. make
// has the linker set it (-X weightfs/cmd/cli.stamp=...), the only way to tell a
// program its version where no .git is at hand. Nothing writes it at run time.
var stamp string

// Build says which build of weightfs a program is.
type Build struct {
	Version string
	Commit  string // "" where it is not known
	Date    string // of the commit, RFC 3339; "" where it is not known
}

// ThisBuild is the build of the running program: what make stamped it with, or
// else what the go command recorded of the module and the repository.
func ThisBuild() Build {
	info, _ := debug.ReadBuildInfo()
	return buildOf(stamp, info)
}

// buildOf reads a stamp, and where that is empty info, which may be nil.
func buildOf(stamp string, info *debug.BuildInfo) Build {
	if fields := strings.Fields(stamp); len(fields) == 3 {
		return Build{Version: fields[0], Commit: fields[1], Date: fields[2]}
	}
	if info == nil {
		return Build{Version: "unknown"}
	}
	b := Build{Version: info.Main.Version}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.time":
			b.Date = setting.Value
		}
	}
	return b
}

// String is one line: "1.2.0 (commit 0123abc, 2026-01-31T12:00:00Z)".
func (b Build) String() string {
	if b.Commit == "" {
		return b.Version
	}
	return fmt.Sprintf("%s (commit %s, %s)", b.Version, b.Commit, b.Date)
}

// Version is what --version prints behind the name of the command.
func Version() string { return ThisBuild().String() }
