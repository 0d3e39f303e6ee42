package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
)

func TestDefaultMemoryLimit(t *testing.T) {
	const meminfo = "MemTotal:       67108864 kB\nMemFree: 1 kB\n" // 64 GiB
	cases := []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no /proc", nil, prefetch.DefaultMemoryLimit},
		{"no cgroup", map[string]string{"proc/meminfo": meminfo}, 32 << 30},
		{"version 2", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "8589934592\n",
		}, 8<<30 - 256<<20},
		{"version 2, the path of the host", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/kubepods/pod1/c\n", "sys/fs/cgroup/memory.max": "4294967296\n",
		}, 4<<30 - 256<<20},
		{"version 1", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "9:cpu,cpuacct:/x\n4:memory:/docker/c\n",
			"sys/fs/cgroup/memory/docker/c/memory.limit_in_bytes": "2147483648\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          "9223372036854771712\n",
		}, 2<<30 - 256<<20},
		{"tiny cgroup", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1048576\n",
		}, prefetch.MinMemoryLimit},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range c.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := defaultMemoryLimit(root); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// parse reads a command line of mountd.
func parse(args ...string) (*settings, error) {
	s := newSettings()
	flags := pflag.NewFlagSet("mountd", pflag.ContinueOnError)
	s.register(flags)
	return s, flags.Parse(args)
}

func TestMountOptions(t *testing.T) {
	s, err := parse("-o", "rw,nodiratime,nosymfollow,allow_other,memory_limit=1Gi,_netdev,x-systemd.automount,X-mount.mkdir=755,nofail",
		"--options=metadata_ttl=minimal,file_mode=440,,part-size=16M,env-file=/e",
		`--options=context="system_u:object_r:t:s0:c1,c2",env_file=/f,noexec`)
	if err != nil {
		t.Fatal(err)
	}
	if !s.allowOther || s.memoryLimit != 1<<30 || time.Duration(s.metadataTTL) != names.MinimalTTL ||
		s.fileMode != 0o440 || s.partSize != 16e6 || s.envFile != "/f" ||
		!slices.Equal(s.kernel, []string{"nosymfollow", `context="system_u:object_r:t:s0:c1,c2"`, "noexec"}) {
		t.Errorf("got %+v", s)
	}
	for text, want := range map[string]string{
		"allow_others":    `"allow_others"`,
		"memory_limit":    "needs a value",
		"memory_limit=x":  "memory_limit",
		"options=ro":      `"options"`,
		"rw,remount":      "a mount cannot be changed: unmount it",
		"rw,uid=minusone": "uid",
	} {
		if _, err := parse("-o", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("-o %s: %v, want %s", text, err, want)
		}
	}
}

func FuzzMountOptions(f *testing.F) {
	f.Add("rw,allow_other,memory_limit=1Gi")
	f.Add("=,,==")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse("-o", text)
		if err == nil && s.memoryLimit < 0 {
			t.Fatalf("-o %q: memory limit %d", text, s.memoryLimit)
		}
	})
}

// The folder of the control sockets is ours alone, whatever was there before.
func TestControlFolderIsPrivate(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"missing":       func(string) error { return nil },
		"open to all":   func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
		"somebody's":    func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534)) },
		"symbolic link": func(dir string) error { return os.Symlink(".", dir) },
	} {
		dir := filepath.Join(t.TempDir(), "weightfs")
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		err := makePrivate(dir)
		info, statErr := os.Lstat(dir)
		if statErr != nil {
			t.Fatal(statErr)
		}
		refused := name == "somebody's" || name == "symbolic link"
		if (err != nil) != refused || !refused && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestFlagValues(t *testing.T) {
	good := map[string]func(*settings) bool{
		"--concurrency=auto":         func(s *settings) bool { return s.concurrency == 0 },
		"--concurrency=32":           func(s *settings) bool { return s.concurrency == 32 },
		"--metadata-ttl=indefinite":  func(s *settings) bool { return s.metadataTTL == -1 },
		"--metadata-ttl=90":          func(s *settings) bool { return time.Duration(s.metadataTTL) == 90*time.Second },
		"--metadata-ttl=1h":          func(s *settings) bool { return time.Duration(s.metadataTTL) == time.Hour },
		"--prefetch=off":             func(s *settings) bool { return prefetch.Mode(s.prefetch) == prefetch.Off },
		"--dir-mode=0700":            func(s *settings) bool { return s.dirMode == 0o700 },
		"--file-mode=0":              func(s *settings) bool { return s.fileMode == 0 },
		"--memory-limit=0":           func(s *settings) bool { return s.memoryLimit == 0 },
		"--read-timeout=30s":         func(s *settings) bool { return s.readTimeout == 30*time.Second },
		"--part-size=auto":           func(s *settings) bool { return s.partSize == 0 },
		"--part-size=8388608":        func(s *settings) bool { return s.partSize == 8<<20 },
		"--endpoint-url=http://host": func(*settings) bool { return true },
	}
	for arg, holds := range good {
		if s, err := parse(arg); err != nil || !holds(s) {
			t.Errorf("%s: %+v, %v", arg, s, err)
		}
	}
	for _, arg := range []string{
		"--concurrency=0", "--concurrency=-4", "--concurrency=257", "--metadata-ttl=0", "--metadata-ttl=-1s",
		"--metadata-ttl=soon", "--prefetch=clever", "--dir-mode=1777", "--file-mode=8", "--uid=-1", "--log-level=loud",
	} {
		if s, err := parse(arg); err == nil {
			t.Errorf("%s was accepted: %+v", arg, s)
		}
	}
}

// Each value is written in a form that is read back as the same.
func TestFlagDefaultsAreReadBack(t *testing.T) {
	s := newSettings()
	flags := pflag.NewFlagSet("mountd", pflag.ContinueOnError)
	s.register(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "options" {
			return
		}
		before := f.Value.String()
		if err := f.Value.Set(before); err != nil || f.Value.String() != before {
			t.Errorf("--%s=%s: %v, then %s", f.Name, before, err, f.Value)
		}
	})
}

func TestCheckNesting(t *testing.T) {
	source := t.TempDir()
	inside := filepath.Join(source, "mnt")
	outside := source + "-beside"
	link := filepath.Join(t.TempDir(), "link")
	for _, dir := range []string{inside, outside} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Remove(outside)
	if err := os.Symlink(inside, link); err != nil {
		t.Fatal(err)
	}
	for mountpoint, want := range map[string]string{
		source: "lies in source", inside: "lies in source", link: "lies in source",
		outside: "", filepath.Join(source, "missing"): "",
	} {
		err := checkNesting(source, mountpoint)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s in %s: %v, want %q", mountpoint, source, err, want)
		}
	}
	if err := checkNesting(source+"-none", outside); err == nil {
		t.Error("a missing source was accepted")
	}
	if err := checkNesting("", inside); err != nil {
		t.Errorf("a bucket: %v", err)
	}
}

func TestStatusOfNothing(t *testing.T) {
	env := func(string) (string, bool) { return t.TempDir(), true }
	if _, err := findReport(cli.Lookup(env), t.TempDir()); err == nil || !strings.Contains(err.Error(), "no mountd of yours") {
		t.Errorf("got %v", err)
	}
}
