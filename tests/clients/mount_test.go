package clients

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// smallMemory is less than the tree: what one reader is given another's read
// has to make room for.
const smallMemory = "96Mi"

// mount mounts source for the length of the test.
func mount(t *testing.T, source string, args ...string) string {
	t.Helper()
	return theStage.MountFor(t, rig.MountOptions{
		Source: source, Env: theStage.Server.Env(), Args: append([]string{"--memory-limit", smallMemory}, args...),
	}).Dir
}

// sources are the two kinds of what can be mounted, with the same content.
func sources() map[string]string {
	return map[string]string{"s3": "s3://" + bucket, "folder": theStage.tree}
}

// run runs a bash script in the folder dir. For it, python is the interpreter,
// $1 the folder of the original files, $2 the file of their checksums, and $TMP
// an empty folder of its own.
func run(t *testing.T, dir, text string, env ...string) rig.Result {
	t.Helper()
	tmp, err := os.MkdirTemp(theStage.Scratch, "tmp-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := context.WithTimeout(t.Context(), childLimit)
	defer cancel()
	env = append([]string{
		"LC_ALL=C", "TMP=" + tmp,
		"PATH=" + filepath.Dir(theStage.Python) + ":" + os.Getenv("PATH"),
		"SCRIPTS=" + script(""), "NEXT=" + filepath.Join(theStage.Python, "..", "..", "next"),
		"RUNAI_STREAMER_LOG_LEVEL=ERROR",
		"PYTHONDONTWRITEBYTECODE=", "PYTHONPYCACHEPREFIX=", // it tries, as it does by default
	}, env...)
	result, err := rig.Run(ctx, env, "bash", "-euo", "pipefail", "-c", "cd \"$0\"\n"+text, dir, theStage.tree, theStage.sums)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// output runs a bash script that must succeed and returns what it printed.
func output(t *testing.T, dir, text string, env ...string) string {
	t.Helper()
	result := run(t, dir, text, env...)
	if result.Code != 0 {
		t.Fatalf("%s\nexit %d: %s", text, result.Code, tail(result.Stderr))
	}
	return result.Stdout
}

// refuse runs a bash script that must fail and say why; if not, passed is the
// failure of the test.
func refuse(t *testing.T, dir, text, why, passed string, env ...string) {
	t.Helper()
	if result := run(t, dir, text, env...); result.Code == 0 || !strings.Contains(result.Stderr, why) {
		t.Errorf("%s: exit %d: %s", passed, result.Code, tail(result.Stderr))
	}
}

// tail returns the end of a long text.
func tail(text string) string {
	const enough = 1000
	if len(text) > enough {
		text = "..." + text[len(text)-enough:]
	}
	return strings.TrimSpace(text)
}
