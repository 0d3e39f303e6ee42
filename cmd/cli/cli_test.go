package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
)

// environment makes a Lookup of a fixed set of variables.
func environment(vars map[string]string) cli.Lookup {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func TestParseSize(t *testing.T) {
	good := map[string]int64{
		"0": 0, "8388608": 8 << 20, "8MiB": 8 << 20, "8Mi": 8 << 20, "8 MiB": 8 << 20,
		"8MB": 8e6, "8M": 8e6, "1k": 1000, "1Ki": 1024, "1.5Gi": 3 << 29, "40G": 40e9,
		"9223372036854775807": 1<<63 - 1,
	}
	for text, want := range good {
		if got, err := cli.ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "Mi", "8m", "8 apples", "9223372036854775808", "16Ei", ".5Gi", "1e3"} {
		if got, err := cli.ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, seed := range []string{"8MiB", "1.5Gi", "12", "9e9", "1,000", "٣"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := cli.ParseSize(text)
		if err != nil {
			return
		}
		if again, err := cli.ParseSize(cli.FormatSize(n)); err != nil || again != n {
			t.Fatalf("%q is %d, written as %q and read back as %d, %v", text, n, cli.FormatSize(n), again, err)
		}
	})
}

// run executes a small command with args and variables, and returns the exit
// code, what went to stderr, and the limit that the command saw.
func run(args []string, vars map[string]string, result error) (code int, stderr string, limit cli.Size) {
	limit = 1 << 20
	root := &cobra.Command{
		Use:  "tool [flags] FILE",
		Args: cobra.ExactArgs(1),
		RunE: func(*cobra.Command, []string) error { return result },
	}
	root.Flags().Var(&limit, "memory-limit", "limit")
	root.Flags().Bool("json", false, "print JSON")
	cli.Unbind(root.Flags(), "json")
	var out bytes.Buffer
	root.SetOut(&bytes.Buffer{})
	code = cli.Execute(context.Background(), root, args, environment(vars), &out)
	return code, out.String(), limit
}

func TestExecuteExitCodes(t *testing.T) {
	cases := []struct {
		name   string
		args   []string
		vars   map[string]string
		result error
		code   int
		stderr string // a part of it
		limit  cli.Size
	}{
		{name: "success", args: []string{"f"}, limit: 1 << 20},
		{name: "flag after argument", args: []string{"f", "--memory-limit=2Mi"}, limit: 2 << 20},
		{name: "variable", args: []string{"f"}, vars: map[string]string{"WEIGHTFS_MEMORY_LIMIT": "3Mi"}, limit: 3 << 20},
		{name: "empty variable", args: []string{"f"}, vars: map[string]string{"WEIGHTFS_MEMORY_LIMIT": ""}, limit: 1 << 20},
		{name: "flag beats variable", args: []string{"--memory-limit", "2Mi", "f"},
			vars: map[string]string{"WEIGHTFS_MEMORY_LIMIT": "3Mi"}, limit: 2 << 20},
		{name: "unbound flag ignores its variable", args: []string{"f"}, vars: map[string]string{"WEIGHTFS_JSON": "x"}, limit: 1 << 20},
		{name: "failure", args: []string{"f"}, result: errors.Join(errors.New("a"), errors.New("b")),
			code: 1, stderr: "tool: a; b\n", limit: 1 << 20},
		{name: "wrong variable", args: []string{"f"}, vars: map[string]string{"WEIGHTFS_MEMORY_LIMIT": "much"},
			code: 2, stderr: "WEIGHTFS_MEMORY_LIMIT", limit: 1 << 20},
		{name: "wrong flag", args: []string{"--nope", "f"}, code: 2, stderr: "Try 'tool --help'", limit: 1 << 20},
		{name: "wrong size", args: []string{"--memory-limit=-1", "f"}, code: 2, stderr: "not a size", limit: 1 << 20},
		{name: "missing argument", code: 2, stderr: "tool: accepts 1 arg(s)", limit: 1 << 20},
		{name: "usage found later", args: []string{"f"}, result: fmt.Errorf("check: %w", cli.Usagef("no %s", "way")),
			code: 2, stderr: "tool: check: no way\nTry", limit: 1 << 20},
		{name: "help", args: []string{"--help"}, limit: 1 << 20},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, stderr, limit := run(c.args, c.vars, c.result)
			if code != c.code || limit != c.limit || !strings.Contains(stderr, c.stderr) {
				t.Errorf("exit %d, limit %d, stderr %q; want exit %d, limit %d, stderr with %q",
					code, limit, stderr, c.code, c.limit, c.stderr)
			}
			if c.code == 0 && stderr != "" {
				t.Errorf("stderr is %q, want nothing", stderr)
			}
		})
	}
}

func TestHelpNamesTheVariables(t *testing.T) {
	root := &cobra.Command{Use: "tool", RunE: func(*cobra.Command, []string) error { return nil }}
	var s3 cli.S3Flags
	s3.Register(root.Flags())
	var out bytes.Buffer
	root.SetOut(&out)
	cli.Execute(context.Background(), root, []string{"--help"}, environment(nil), &out)
	if want := "[$WEIGHTFS_ENDPOINT_URL]"; !strings.Contains(out.String(), want) {
		t.Errorf("help does not contain %s:\n%s", want, &out)
	}
}

func TestS3Config(t *testing.T) {
	const virtual, unsigned = "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "RUNAI_STREAMER_S3_UNSIGNED"
	cases := []struct {
		name              string
		args              []string
		vars              map[string]string
		pathStyle, noSign bool
		fails             bool
	}{
		{name: "defaults"},
		{name: "flags", args: []string{"--force-path-style", "--no-sign-request"}, pathStyle: true, noSign: true},
		{name: "streamer variables", vars: map[string]string{virtual: "0", unsigned: "1"}, pathStyle: true, noSign: true},
		{name: "streamer defaults", vars: map[string]string{virtual: "1", unsigned: "0"}},
		{name: "command line wins", args: []string{"--force-path-style=false", "--no-sign-request=false"},
			vars: map[string]string{virtual: "0", unsigned: "1"}},
		{name: "variables of the flags win", vars: map[string]string{virtual: "0", unsigned: "1",
			"WEIGHTFS_FORCE_PATH_STYLE": "false", "WEIGHTFS_NO_SIGN_REQUEST": "false"}},
		{name: "variables of the flags", vars: map[string]string{"WEIGHTFS_FORCE_PATH_STYLE": "true", "WEIGHTFS_NO_SIGN_REQUEST": "true"},
			pathStyle: true, noSign: true},
		{name: "wrong value", vars: map[string]string{virtual: "yes"}, fails: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			flags := pflag.NewFlagSet("tool", pflag.ContinueOnError)
			var s3 cli.S3Flags
			s3.Register(flags)
			if err := errors.Join(flags.Parse(c.args), cli.BindEnvironment(flags, environment(c.vars))); err != nil {
				t.Fatal(err)
			}
			cfg, err := s3.Config(flags, environment(c.vars), nil)
			if (err != nil) != c.fails || cfg.ForcePathStyle != c.pathStyle || cfg.NoSignRequest != c.noSign {
				t.Errorf("got %+v, %v", cfg, err)
			}
			if c.fails && !cli.IsUsage(err) {
				t.Errorf("%v is not a usage error", err)
			}
		})
	}
}

func TestLogLevel(t *testing.T) {
	var level cli.LogLevel
	if err := level.Set("loud"); err == nil {
		t.Error("level loud was accepted")
	}
	if err := level.Set("WARN"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	logger := level.Logger(&out)
	logger.Info("quiet")
	logger.Warn("heard")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "heard") {
		t.Errorf("at level %s the log is %q", &level, got)
	}
}
