package main

import (
	"testing"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

// FuzzParseExtraConfig holds that whatever is passed for the JSON is either a
// usage error or within the bounds of the flags that it stands for.
func FuzzParseExtraConfig(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"concurrency":16,"memory_limit":5368709120}`, `{"concurrency":0}`, `{"concurrency":1e9}`,
		`{"memory_limit":-2}`, `{"memory_limit":9223372036854775808}`, `{"pattern":"model-rank-{rank}-part-{part}.safetensors"}`,
		`{"pattern":"../{rank}"}`, `{"distributed":true}`, `{"concurrency":1}{"concurrency":2}`, `{"concurency":1}`, `{"concurrency":null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseExtraConfig(text)
		if err != nil {
			if !cli.IsUsage(err) {
				t.Errorf("%q: %v is no usage error", text, err)
			}
			return
		}
		if c.Concurrency != nil && (*c.Concurrency < 1 || *c.Concurrency > gpuload.MaxConcurrency) || c.MemoryLimit != nil && *c.MemoryLimit < -1 {
			t.Errorf("%q passed", text)
		}
	})
}
