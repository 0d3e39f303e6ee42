package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
)

// TestHelpExplainsEveryFlag holds that each flag of each command has an
// explanation, a group and an example that the command takes.
func TestHelpExplainsEveryFlag(t *testing.T) {
	dir := smallModel(t)
	for _, command := range newRootCommand(newApp(nil, nil, nil)).Commands() {
		_, help, _ := helpOf(t, command.Name())
		command.Flags().VisitAll(func(f *pflag.Flag) {
			example, ok := flagExamples()[f.Name]
			if !ok && f.Name != "help" {
				t.Errorf("%s --%s has no example", command.Name(), f.Name)
				return
			}
			if !strings.Contains(help, "\n  --"+f.Name) && f.Name != "help" {
				t.Errorf("%s --%s is not in the help text", command.Name(), f.Name)
			}
			args := []string{dir}
			for word := range strings.FieldsSeq(example) {
				args = append(args, strings.Trim(word, "'"))
			}
			if err := command.ParseFlags(args); err != nil {
				t.Errorf("%s %s: %v", command.Name(), example, err)
			}
		})
		if _, rest, found := strings.Cut(help, "\nOther:\n"); !found || strings.Count(rest, "\n  -") != 0 || !strings.HasPrefix(rest, "  -h, --help") {
			t.Errorf("%s: flags without a group: %s", command.Name(), rest)
		}
	}
}

// helpOf runs a command with --help.
func helpOf(t *testing.T, command string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	a := newApp(nil, &out, &errs)
	root := newRootCommand(a)
	root.SetOut(&out)
	code = cli.Execute(t.Context(), root, []string{command, "--help"}, a.env, &errs)
	if code != 0 || errs.String() != "" {
		t.Fatalf("%s --help: exit %d: %s", command, code, &errs)
	}
	return code, out.String(), errs.String()
}

func TestHelpExplainsSettings(t *testing.T) {
	_, help, _ := helpOf(t, "load")
	for _, want := range []string{
		"\nUsage:\n  gpuload load [flags] SOURCE...\n",
		"\n  gpuload load s3://core-llm/Llama-3-8b --concurrency 32 --memory-limit 5Gi\n",
		"\n  --concurrency N\n      how many parts",
		"\n      Example: --concurrency 32\n      Variable: WEIGHTFS_CONCURRENCY\n",
		"RUNAI_STREAMER_CHUNK_BYTESIZE",
	} {
		if !strings.Contains(help, want) {
			t.Errorf("%q is not in\n%s", want, help)
		}
	}
	for line := range strings.Lines(help) {
		if len(line) > helpWidth+1 && !strings.Contains(line, "Example: ") {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}
