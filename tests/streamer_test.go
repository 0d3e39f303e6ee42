package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStreamerDocument runs what vLLM's page on the Run:ai Model Streamer shows,
// as gpuload has it, and holds that each setting takes effect.
func TestStreamerDocument(t *testing.T) {
	m := theStage.model(t, "mixed")
	uri := "s3://" + bucket + "/" + m.name
	sharded, _ := writeRanks(t, 2)
	custom := renamed(t, sharded, "model-rank-", "custom-model-rank-")
	const pattern = "custom-model-rank-{rank}-part-{part}.safetensors"
	extra := func(json string) string { return "--model-loader-extra-config=" + json }
	for _, c := range []struct {
		name      string
		env, args []string
		want      map[string]any // of the report
	}{
		{"folder", nil, []string{m.dir}, map[string]any{"concurrency": 16.0, "part_bytes": 8388608.0}},
		{"bucket", nil, []string{uri}, map[string]any{"concurrency": 32.0, "part_bytes": 8388608.0}},
		{"S3-compatible store", []string{"RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING=0", "AWS_EC2_METADATA_DISABLED=true",
			"AWS_ENDPOINT_URL=" + theStage.server.Endpoint}, []string{uri}, map[string]any{"files": 3.0}},
		{"concurrency", nil, []string{extra(`{"concurrency":12}`), uri}, map[string]any{"concurrency": 12.0}},
		{"memory limit", nil, []string{extra(`{"memory_limit":5368709120}`), m.dir}, map[string]any{"concurrency": 16.0}},
		{"least memory", nil, []string{extra(`{"memory_limit":0,"concurrency":1}`), m.dir}, map[string]any{"staging_peak_bytes": 2097152.0}},
		{"sharded", nil, []string{"--rank=1", sharded}, map[string]any{"files": 3.0}},
		{"sharded, another pattern", nil, []string{"--rank=1", extra(`{"pattern":"` + pattern + `"}`), custom}, map[string]any{"files": 3.0}},
		{"sharded, tuned", nil, []string{"--rank=0", extra(`{"concurrency":3, "memory_limit":1048576}`), sharded},
			map[string]any{"concurrency": 3.0, "staging_peak_bytes": 1048576.0}},
		{"variables", []string{"RUNAI_STREAMER_CONCURRENCY=7", "RUNAI_STREAMER_CHUNK_BYTESIZE=4194304", "RUNAI_STREAMER_MEMORY_LIMIT=-1"},
			[]string{m.dir}, map[string]any{"concurrency": 7.0, "part_bytes": 4194304.0}},
		{"JSON before variables", []string{"RUNAI_STREAMER_CONCURRENCY=7"}, []string{extra(`{"concurrency":6}`), m.dir}, map[string]any{"concurrency": 6.0}},
		{"flags before JSON", nil, []string{extra(`{"concurrency":6}`), "--concurrency=5", m.dir}, map[string]any{"concurrency": 5.0}},
	} {
		t.Run(c.name, func(t *testing.T) { checkSettings(t, c.env, c.args, c.want) })
	}
}

// checkSettings loads with these variables and arguments, and compares fields of
// the report.
func checkSettings(t *testing.T, env, args []string, want map[string]any) {
	t.Helper()
	args = append([]string{"load", "--device=cpu", "--json"}, args...)
	r := runWith(t, append(theStage.server.Env(), env...), theStage.Gpuload, args...)
	var report map[string]any
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || r.Code != 0 || r.Stderr != "" {
		t.Fatalf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	for key, value := range want {
		if report[key] != value {
			t.Errorf("%s is %v, want %v", key, report[key], value)
		}
	}
}

// TestStreamerNotices holds that what has no effect here is said once, and what
// is unknown is refused with what is known, before anything happens.
func TestStreamerNotices(t *testing.T) {
	m := theStage.model(t, "mixed")
	r := runWith(t, []string{"RUNAI_STREAMER_DIST=1"}, theStage.Gpuload, "load", "--device=cpu", "--json",
		"--model-loader-extra-config", `{"distributed":true}`, m.dir)
	if r.Code != 0 || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, "distributed streaming has no effect") {
		t.Errorf("exit %d: %s", r.Code, r.Stderr)
	}
	for config, names := range map[string]string{
		`{"distribute":true}`:              `unknown key \"distribute\": known are concurrency, memory_limit, pattern, distributed`,
		`{"concurrency":16,"rank":0}`:      "rank",
		`{"pattern":"model-{part}"}`:       "{rank}",
		`{"pattern":"model-rank-{rank}-"}`: "{part}",
	} {
		names = strings.ReplaceAll(names, `\"`, `"`)
		failure{args: []string{"load", "--model-loader-extra-config", config, "/none"}, code: 2, names: names}.check(t, nil, theStage.Gpuload)
	}
}

// renamed links the files of dir into another folder, under names that begin
// otherwise, and returns that.
func renamed(t *testing.T, dir, from, to string) string {
	t.Helper()
	other := t.TempDir()
	files, err := filepath.Glob(filepath.Join(dir, from+"*"))
	if err != nil || len(files) == 0 {
		t.Fatal(fmt.Errorf("%d files in %s: %w", len(files), dir, err))
	}
	for _, file := range files {
		name := to + strings.TrimPrefix(filepath.Base(file), from)
		if err := os.Link(file, filepath.Join(other, name)); err != nil {
			t.Fatal(err)
		}
	}
	return other
}
