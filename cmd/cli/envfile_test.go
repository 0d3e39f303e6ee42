package cli

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseEnvironment(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"":                              {},
		"# A=1\n;B=2\n \t\n":            {},
		"A=1\n  B = two words  \nC=":    {"A": "1", "B": "two words", "C": ""},
		"A=b#c;d\nB=$A`x`":              {"A": "b#c;d", "B": "$A`x`"},
		"A='a b '\nB=\"c d \"  \n":      {"A": "a b ", "B": "c d "},
		"A='it''s'\nB=\"x\" 'y'z\n":     {"A": "its", "B": "xyz"},
		"A=it's\nB=5\"":                 {"A": "it's", "B": "5\""},
		"A=\"q\\\"\\\\\\`\\$\\n\\\nx\"": {"A": "q\"\\`$\\nx"},
		"A='l1\nl2\\'\nB=2":             {"A": "l1\nl2\\", "B": "2"},
		"A=a\\\nb\\ \\c \nB=\\'x'":      {"A": "ab c", "B": "'x'"},
		"A=1\r\nB=2\r\n":                {"A": "1", "B": "2"},
		"A=1\nA=2":                      {"A": "2"},
		"# all \\\nA=1":                 {"A": "1"},
		"_a1=ü":                         {"_a1": "ü"},
		"A=end\\":                       {"A": "end"},
	} {
		got, err := parseEnvironment(text)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"A=1\nexport B=2":   "line 2",
		"\n\nA":             "line 3",
		"=1":                "line 1",
		"1A=2":              "line 1",
		"A='x\ny\nB=secret": "line 1",
		"A=1\nB=\"x":        "line 2: the value of B",
		"A=\\\x00":          "zero byte",
	} {
		if got, err := parseEnvironment(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q, %v; want %s", text, got, err, want)
		}
	}
}

func FuzzParseEnvironment(f *testing.F) {
	f.Add("A='x'\nB=\"\\$\" y\\\n\n#c")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseEnvironment(text)
		if err != nil {
			return
		}
		for name, value := range got {
			if name == "" || strings.ContainsAny(name, "= \x00\n") || strings.Contains(value, "\x00") {
				t.Fatalf("%q: %q is %q", text, name, value)
			}
			// Between single quotes a value is read back as it is.
			quoted := name + "='" + strings.ReplaceAll(value, "'", `'"'"'`) + "'"
			if again, err := parseEnvironment(quoted); err != nil || again[name] != value {
				t.Fatalf("%q: %q, %v; want %q", quoted, again, err, value)
			}
		}
	})
}

// The file is root's or ours, others cannot write to it, nor read it if it holds a
// secret.
func TestEnvFileIsPrivate(t *testing.T) {
	const secret = "AWS_SECRET_ACCESS_KEY=s3cr3t\n"
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		uid  int
		want string
	}{
		"secret":            {secret, 0o600, -1, ""},
		"read by all":       {secret, 0o644, -1, "holds AWS_SECRET_ACCESS_KEY and can be read by others (mode 0644)"},
		"read by the group": {secret, 0o640, -1, "can be read by others"},
		"no secret":         {"AWS_REGION=x\nAWS_SECRET_ACCESS_KEY=\n", 0o644, -1, ""},
		"written by all":    {"AWS_REGION=x\n", 0o622, -1, "can be written to by others"},
		"of somebody":       {secret, 0o600, 4567, "belongs to user 4567"},
		"broken":            {secret + "x", 0o600, -1, "line 2"},
		"large":             {strings.Repeat("#", maxEnvFile+1), 0o600, -1, "more than"},
	} {
		path := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if c.uid >= 0 {
			if err := os.Chown(path, c.uid, -1); err != nil {
				t.Fatal(err) // which only root can
			}
		}
		got, err := ReadEnvFile(path)
		switch {
		case c.want == "" && (err != nil || len(got) == 0):
			t.Errorf("%s: %q, %v", name, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "s3cr3t"):
			t.Errorf("%s: the secret is in %v", name, err)
		}
	}
	for path, want := range map[string]string{t.TempDir(): "not a regular file", "/nowhere/env": "no such file"} {
		if _, err := ReadEnvFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}
