package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
)

// streamerPrefix begins the variables of the Run:ai Model Streamer.
const streamerPrefix = "RUNAI_STREAMER_"

// streamerMinimum is what the streamer raises smaller chunks of files to.
const streamerMinimum = 2 << 20

// extraConfig is what --model-loader-extra-config may hold: the keys that
// vLLM's two streamer loaders know. nil is a key that is not there.
type extraConfig struct {
	Concurrency *int    `json:"concurrency"`
	MemoryLimit *int64  `json:"memory_limit"`
	Pattern     *string `json:"pattern"`
	Distributed *bool   `json:"distributed"`
}

// parseExtraConfig reads and checks the JSON; "" is none.
func parseExtraConfig(text string) (extraConfig, error) {
	var c extraConfig
	if text == "" {
		return c, nil
	}
	fail := func(err error) (extraConfig, error) {
		return extraConfig{}, cli.Usagef("model loader extra config: %w", err)
	}
	if err := knownKeys(text); err != nil {
		return fail(err)
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fail(err)
	}
	if c.Concurrency != nil && (*c.Concurrency < 1 || *c.Concurrency > gpuload.MaxConcurrency) {
		return fail(fmt.Errorf("concurrency is %d: must be from 1 to %d", *c.Concurrency, gpuload.MaxConcurrency))
	}
	if c.MemoryLimit != nil && *c.MemoryLimit < -1 {
		return fail(fmt.Errorf("memory_limit is %d: must be bytes, 0 for the minimum or -1 for no limit", *c.MemoryLimit))
	}
	if c.Pattern != nil {
		if _, err := safetensors.ParseRankPattern(*c.Pattern); err != nil {
			return fail(err)
		}
	}
	return c, nil
}

// knownKeys refuses other keys than extraConfig's, naming those.
func knownKeys(text string) error {
	known := []string{"concurrency", "memory_limit", "pattern", "distributed"}
	var keys map[string]json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := decoder.Decode(&keys); err != nil {
		return fmt.Errorf("not a JSON object: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON object: %s", text)
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(known, key) {
			return fmt.Errorf("unknown key %q: known are %s", key, strings.Join(known, ", "))
		}
	}
	return nil
}

// streamerVariables are the streamer's variables that hold for loading; 0 is
// one that is not set, and memorySet tells whether memoryLimit is.
type streamerVariables struct {
	concurrency int
	chunk       int64
	memoryLimit int64
	memorySet   bool
	// notices are lines for the user: about variables that change nothing here.
	notices []string
}

// parseStreamerVariables reads and checks the variables of the environment.
func parseStreamerVariables(environ map[string]string) (streamerVariables, error) {
	var v streamerVariables
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		value, suffix := environ[name], strings.TrimPrefix(name, streamerPrefix)
		if suffix == name || value == "" {
			continue
		}
		if err := v.set(suffix, value); err != nil {
			return streamerVariables{}, cli.Usagef("variable %s is %q: %w", name, value, err)
		}
	}
	return v, nil
}

func (v *streamerVariables) set(suffix, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	switch suffix {
	case "CONCURRENCY":
		if err != nil || n < 1 || n > gpuload.MaxConcurrency {
			return fmt.Errorf("must be a whole number from 1 to %d", gpuload.MaxConcurrency)
		}
		v.concurrency = int(n)
	case "MEMORY_LIMIT":
		if err != nil || n < -1 {
			return fmt.Errorf("must be bytes, 0 for the minimum or -1 for no limit")
		}
		v.memoryLimit, v.memorySet = n, true
	case "CHUNK_BYTESIZE":
		if err != nil || n < 1 {
			return fmt.Errorf("must be bytes, at least 1")
		}
		v.chunk = max(n, streamerMinimum)
	case "DIST":
		if value != "0" {
			v.notices = append(v.notices, distributedNotice)
		}
	case "S3_USE_VIRTUAL_ADDRESSING", "S3_UNSIGNED": // read with the S3 flags
	default:
		v.notices = append(v.notices, streamerPrefix+suffix+" has no effect")
	}
	return nil
}

const distributedNotice = "distributed streaming has no effect: ranks on a node share the mount's cache"
