package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

// tuningFlags are the flags that say how a load is done.
type tuningFlags struct {
	concurrency concurrency
	memoryLimit memoryLimit
	partSize    partSize
	extra       string
}

func (f *tuningFlags) register(flags *pflag.FlagSet) {
	flags.Var(&f.concurrency, "concurrency", "how many parts, of whatever files, `N` readers read at a time (default 16, from S3 32, on a mount two for each processor, 4 to 16)")
	flags.Var(&f.memoryLimit, "memory-limit", "most staging memory that a load may hold: a `size`, -1 for no limit, or 0 for the least "+
		"that keeps every reader busy. What is really taken follows from concurrency and part size, and is less. "+
		"A small limit makes the pieces smaller that are copied at a time. What is read back later, as for --verify, stays inside it too (default 40GB)")
	flags.Var(&f.partSize, "part-size", "`size` of what one reader asks for at a time: one GET of an object (default 8MiB, and up to sixteen of them by one GET where enough is left for the other readers)")
	flags.StringVar(&f.extra, "model-loader-extra-config", "",
		"settings as vLLM takes them: `JSON` with any of concurrency, memory_limit, pattern and distributed. "+
			"distributed has no effect here, and a notice says so")
}

// tuning is how a load is done: flags, JSON and variables taken together.
type tuning struct {
	options gpuload.Options
	pattern string // of the JSON
	notices []string
}

// resolve checks everything before it applies anything. What stands on the
// command line counts first, then the JSON, then WEIGHTFS_ variables, then the
// streamer's, then the default.
func (f *tuningFlags) resolve(a *app, flags *pflag.FlagSet) (tuning, error) {
	extra, err := parseExtraConfig(f.extra)
	if err != nil {
		return tuning{}, err
	}
	vars, err := parseStreamerVariables(a.environ)
	if err != nil {
		return tuning{}, err
	}
	t := f.merge(flags, extra, vars)
	if err := t.options.Check(); err != nil {
		return tuning{}, cli.Usagef("%w", err)
	}
	return t, nil
}

// fit has the default of the memory limit be one that the cgroup has room for, since
// a load fills it while a GPU's context is created. root is the file system at /.
func (t *tuning) fit(root fs.FS) {
	if t.options.MemoryLimit == 0 {
		t.options.MemoryLimit = stagingLimit(root)
	}
}

// merge applies the ranks of settings over each other, the lowest first.
func (f *tuningFlags) merge(flags *pflag.FlagSet, extra extraConfig, vars streamerVariables) tuning {
	t := tuning{notices: vars.notices}
	t.options.Concurrency = vars.concurrency
	t.options.PartSize = vars.chunk
	limit := memoryLimit{bytes: vars.memoryLimit, set: vars.memorySet}

	if f.concurrency != 0 {
		t.options.Concurrency = int(f.concurrency)
	}
	if f.memoryLimit.set {
		limit = f.memoryLimit
	}
	if f.partSize.Size != 0 {
		t.options.PartSize = int64(f.partSize.Size)
	}
	if extra.Concurrency != nil && !flags.Changed("concurrency") {
		t.options.Concurrency = *extra.Concurrency
	}
	if extra.MemoryLimit != nil && !flags.Changed("memory-limit") {
		limit = memoryLimit{bytes: *extra.MemoryLimit, set: true}
	}
	if extra.Pattern != nil {
		t.pattern = *extra.Pattern
	}
	if extra.Distributed != nil && *extra.Distributed && !slices.Contains(t.notices, distributedNotice) {
		t.notices = append(t.notices, distributedNotice)
	}
	t.options.MemoryLimit = limit.option()
	return t
}

// concurrency is the value of --concurrency; 0 is the default.
type concurrency int

// Set implements pflag.Value.
func (c *concurrency) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > gpuload.MaxConcurrency {
		return fmt.Errorf("%q is not a whole number from 1 to %d", text, gpuload.MaxConcurrency)
	}
	*c = concurrency(n)
	return nil
}

// String implements pflag.Value.
func (c *concurrency) String() string {
	if *c == 0 {
		return ""
	}
	return strconv.Itoa(int(*c))
}

// Type implements pflag.Value.
func (c *concurrency) Type() string { return "int" }

// partSize is the value of --part-size; 0 is the default.
type partSize struct{ cli.Size }

// Set implements pflag.Value.
func (p *partSize) Set(text string) error {
	if err := p.Size.Set(text); err != nil {
		return err
	}
	if p.Size == 0 {
		return errors.New("a part has at least 1 byte")
	}
	return nil
}

// memoryLimit is the value of --memory-limit: -1 is unlimited, 0 the minimum.
type memoryLimit struct {
	bytes int64
	set   bool
}

// Set implements pflag.Value.
func (m *memoryLimit) Set(text string) error {
	if text == "-1" {
		*m = memoryLimit{bytes: -1, set: true}
		return nil
	}
	n, err := cli.ParseSize(text)
	if err != nil {
		return err
	}
	*m = memoryLimit{bytes: n, set: true}
	return nil
}

// String implements pflag.Value.
func (m *memoryLimit) String() string {
	switch {
	case !m.set:
		return ""
	case m.bytes < 0:
		return "-1"
	}
	return cli.FormatSize(m.bytes)
}

// Type implements pflag.Value.
func (m *memoryLimit) Type() string { return "size" }

// option is the limit as the loader takes it.
func (m *memoryLimit) option() int64 {
	switch {
	case !m.set:
		return 0
	case m.bytes < 0:
		return gpuload.MemoryUnlimited
	case m.bytes == 0:
		return gpuload.MemoryMinimum
	}
	return m.bytes
}
