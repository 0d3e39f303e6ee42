package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

// resolve resolves the tuning of a command line in an environment.
func resolve(args []string, environ ...string) (tuning, error) {
	a := newApp(environ, io.Discard, io.Discard)
	var f tuningFlags
	flags := pflag.NewFlagSet("load", pflag.ContinueOnError)
	f.register(flags)
	if err := flags.Parse(args); err != nil {
		return tuning{}, err
	}
	if err := cli.BindEnvironment(flags, a.env); err != nil {
		return tuning{}, err
	}
	return f.resolve(a, flags)
}

func TestPrecedence(t *testing.T) {
	const runai, ours, extra = "RUNAI_STREAMER_CONCURRENCY=2", "WEIGHTFS_CONCURRENCY=3", `--model-loader-extra-config={"concurrency":4}`
	for _, c := range []struct {
		args, environ []string
		want          int
	}{
		{nil, nil, 0},
		{nil, []string{runai}, 2},
		{nil, []string{runai, ours}, 3},
		{[]string{extra}, []string{runai, ours}, 4},
		{[]string{extra, "--concurrency=5"}, []string{runai, ours}, 5},
		{[]string{"--concurrency=5"}, []string{`WEIGHTFS_MODEL_LOADER_EXTRA_CONFIG={"concurrency":4}`}, 5},
	} {
		got, err := resolve(c.args, c.environ...)
		if err != nil || got.options.Concurrency != c.want {
			t.Errorf("%v %v: concurrency %d, %v; want %d", c.args, c.environ, got.options.Concurrency, err, c.want)
		}
	}
}

func TestMemoryLimitValues(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		want          int64
	}{
		{nil, nil, 0},
		{[]string{"--memory-limit=-1"}, nil, gpuload.MemoryUnlimited},
		{[]string{"--memory-limit=0"}, nil, gpuload.MemoryMinimum},
		{[]string{"--memory-limit=5Gi"}, nil, 5 << 30},
		{[]string{`--model-loader-extra-config={"memory_limit":5368709120}`}, nil, 5 << 30},
		{[]string{`--model-loader-extra-config={"memory_limit":0}`}, []string{"WEIGHTFS_MEMORY_LIMIT=1Gi"}, gpuload.MemoryMinimum},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT=-1"}, gpuload.MemoryUnlimited},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT=0"}, gpuload.MemoryMinimum},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT=0", "WEIGHTFS_MEMORY_LIMIT=1G"}, 1e9},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT="}, 0},
	} {
		got, err := resolve(c.args, c.environ...)
		if err != nil || got.options.MemoryLimit != c.want {
			t.Errorf("%v %v: memory limit %d, %v; want %d", c.args, c.environ, got.options.MemoryLimit, err, c.want)
		}
	}
}

func TestPartSize(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		want          int64
	}{
		{nil, nil, 0},
		{nil, []string{"RUNAI_STREAMER_CHUNK_BYTESIZE=4194304"}, 4 << 20},
		{nil, []string{"RUNAI_STREAMER_CHUNK_BYTESIZE=1"}, 2 << 20}, // raised, as the streamer does
		{[]string{"--part-size=1Mi"}, []string{"RUNAI_STREAMER_CHUNK_BYTESIZE=4194304"}, 1 << 20},
	} {
		got, err := resolve(c.args, c.environ...)
		if err != nil || got.options.PartSize != c.want {
			t.Errorf("%v %v: part size %d, %v; want %d", c.args, c.environ, got.options.PartSize, err, c.want)
		}
	}
}

func TestRefusedSettings(t *testing.T) {
	extra := func(json string) []string { return []string{"--model-loader-extra-config=" + json} }
	for _, c := range []struct {
		args, environ []string
		want          string
	}{
		{[]string{"--concurrency=0"}, nil, "from 1 to"},
		{[]string{"--concurrency=many"}, nil, "many"},
		{[]string{"--memory-limit=-2"}, nil, "-2"},
		{[]string{"--part-size=0"}, nil, "at least 1 byte"},
		{nil, []string{"WEIGHTFS_PART_SIZE=0"}, "at least 1 byte"},
		{nil, []string{"WEIGHTFS_CONCURRENCY=x"}, "WEIGHTFS_CONCURRENCY"},
		{nil, []string{"RUNAI_STREAMER_CONCURRENCY=0"}, "RUNAI_STREAMER_CONCURRENCY"},
		{nil, []string{"RUNAI_STREAMER_CONCURRENCY=four"}, "RUNAI_STREAMER_CONCURRENCY"},
		{nil, []string{"RUNAI_STREAMER_CHUNK_BYTESIZE=0"}, "at least 1"},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT=-2"}, "RUNAI_STREAMER_MEMORY_LIMIT"},
		{extra(`{"concurrency":0}`), nil, "concurrency is 0"},
		{extra(`{"concurrency":"4"}`), nil, "concurrency"},
		{extra(`{"memory_limit":-2}`), nil, "memory_limit is -2"},
		{extra(`{"pattern":"x"}`), nil, "{rank}"},
		{extra(`{"concurency":4}`), nil, `unknown key "concurency": known are concurrency, memory_limit, pattern, distributed`},
		{extra(`{"Concurrency":4}`), nil, `unknown key "Concurrency"`},
		{extra(`[4]`), nil, "not a JSON object"},
		{extra(`{} {}`), nil, "more than one"},
		{extra(`{`), nil, "not a JSON object"},
	} {
		if _, err := resolve(c.args, c.environ...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v: %v, want %q", c.args, c.environ, err, c.want)
		}
	}
}

func TestNotices(t *testing.T) {
	got, err := resolve([]string{`--model-loader-extra-config={"distributed":true}`},
		"RUNAI_STREAMER_S3_UNSIGNED=1", "RUNAI_STREAMER_LOG_LEVEL=debug", "RUNAI_STREAMER_CONCURRENCY=4")
	want := []string{"RUNAI_STREAMER_LOG_LEVEL has no effect", distributedNotice}
	if err != nil || strings.Join(got.notices, "\n") != strings.Join(want, "\n") {
		t.Errorf("notices %q, %v; want %q", got.notices, err, want)
	}
}
