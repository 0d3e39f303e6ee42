package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// format is one of vLLM's load formats.
type format struct {
	name    string
	sharded bool // it loads what each rank has of a model
	ours    bool // it leases
}

func formats() []format {
	return []format{
		{name: "auto"}, {name: "runai_streamer"}, {name: "weightfs", ours: true},
		{name: "runai_streamer_sharded", sharded: true}, {name: "weightfs_sharded", sharded: true, ours: true},
	}
}

// check compares what each format loads from a mount with what vLLM itself loads from
// the local files.
func (s *stage) check(ctx context.Context) (err error) {
	m, err := s.mount(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	fmt.Println(s.version)
	var local result
	for _, n := range s.ranks() {
		want, err := s.generate(ctx, "auto", modelPath(s.models(), false, n), n)
		if err != nil {
			return err
		}
		if n == 1 {
			local = want
		}
		for _, f := range formats() {
			if !s.opts.Rows.MatchString(f.name) {
				continue
			}
			if err := s.checkFormat(ctx, m, f, n, want); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(s.checkTied(ctx, m), s.checkParallel(ctx, m)); err != nil {
		return err
	}
	if err := s.checkElsewhere(ctx, local); err != nil {
		return err
	}
	return s.checkServe(ctx, modelPath(m.Dir, false, 1), local)
}

func (s *stage) generate(ctx context.Context, format, path string, ranks int) (result, error) {
	a, err := s.vllm.do(ctx, job{Do: "generate", Format: format, Path: path, Ranks: ranks})
	if err == nil && (len(a.Tokens) == 0 || len(a.Weights) != ranks) {
		err = fmt.Errorf("%s: no answer: %+v", format, a.result)
	}
	return a.result, err
}

// checkFormat has one format load from the mount, and sees that ours leased all of it.
func (s *stage) checkFormat(ctx context.Context, m *rig.Mount, f format, ranks int, want result) error {
	before, err := s.leased(ctx, m)
	if err != nil {
		return err
	}
	got, err := s.generate(ctx, f.name, modelPath(m.Dir, f.sharded, ranks), ranks)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s, ranks: %d", f.name, ranks)
	if !got.equal(want) {
		return fmt.Errorf("%s: it differs from local files: %+v, want %+v", what, got, want)
	}
	after, err := s.leased(ctx, m)
	if err != nil {
		return err
	}
	if leased := after - before; f.ours != (leased >= s.size/10*9) || !f.ours && leased != 0 {
		return fmt.Errorf("%s: %d bytes were leased, of %d", what, leased, s.size)
	}
	fmt.Printf("same tokens and weights: %s\n", what)
	return nil
}

// leased is how many bytes the mount has leased so far.
func (s *stage) leased(ctx context.Context, m *rig.Mount) (int64, error) {
	var status struct{ Handoff struct{ Bytes int64 } }
	text, err := rig.Output(ctx, nil, s.Mountd, "status", "--json", m.Dir)
	if err == nil {
		err = json.Unmarshal([]byte(text), &status)
	}
	return status.Handoff.Bytes, err
}

// checkTied has ours load the one tensor that a sharded state has of two tied ones.
func (s *stage) checkTied(ctx context.Context, m *rig.Mount) error {
	want, err := s.generate(ctx, "auto", filepath.Join(s.models(), tied), 1)
	if err != nil {
		return err
	}
	got, err := s.generate(ctx, "weightfs_sharded", filepath.Join(m.Dir, tiedSharded), 1)
	if err != nil {
		return err
	}
	if !got.equal(want) {
		return fmt.Errorf("weightfs_sharded of a tied model: %+v, want %+v", got, want)
	}
	fmt.Println("same tokens and weights: weightfs_sharded, tied embeddings")
	return nil
}

// checkParallel has ranks load that do not have all layers, or not all experts.
func (s *stage) checkParallel(ctx context.Context, m *rig.Mount) error {
	for _, settings := range []map[string]any{
		{"pipeline_parallel_size": 2},
		{"tensor_parallel_size": 2, "enable_expert_parallel": true, "enable_ep_weight_filter": true},
	} {
		var loaded [2]answer
		for i, j := range []job{{Format: "auto", Path: s.models()}, {Format: "weightfs", Path: m.Dir}} {
			j.Do, j.Path, j.Ranks, j.Settings = "weights", filepath.Join(j.Path, experts), 2, settings
			var err error
			if loaded[i], err = s.vllm.do(ctx, j); err != nil {
				return err
			}
		}
		if got, want := loaded[1].result, loaded[0].result; !got.equal(want) || len(want.Weights) != 2 || want.Weights[0] == want.Weights[1] {
			return fmt.Errorf("weightfs with %v: %+v, want %+v", settings, got, want)
		}
		fmt.Printf("same weights: weightfs, %v\n", settings)
	}
	return nil
}

// checkElsewhere has ours load local files, of which one line tells.
func (s *stage) checkElsewhere(ctx context.Context, want result) error {
	const line = "is read by vLLM's default loader: it lies on no mount of weightfs"
	before := strings.Count(s.vllm.said(), line)
	got, err := s.generate(ctx, "weightfs", modelPath(s.models(), false, 1), 1)
	if err != nil {
		return err
	}
	if n := strings.Count(s.vllm.said(), line) - before; n != 1 || !got.equal(want) {
		return fmt.Errorf("weightfs of local files: %d lines say so, and it loaded %+v, want %+v:\n%s", n, got, want, tail(s.vllm.said()))
	}
	fmt.Println("same tokens and weights: weightfs, of local files")
	return nil
}

const serveLimit = 10 * time.Minute

// checkServe has vllm serve answer a completion.
func (s *stage) checkServe(ctx context.Context, path string, want result) (err error) {
	address, port, err := rig.TakePort(rig.Loopback())
	if err != nil {
		return err
	}
	defer port.Close()
	host, number, _ := strings.Cut(address, ":")
	cmd := s.command("vllm", "serve", path, "--load-format", "weightfs", "--model-loader-extra-config", `{"concurrency": 2, "memory_limit": 268435456}`,
		"--host", host, "--port", number, "--dtype", "float16", "--enforce-eager", "--max-model-len", "256", "--max-num-seqs", "4")
	server, err := rig.StartProcess(cmd)
	if err != nil {
		return err
	}
	defer func() {
		_ = syscall.Kill(-server.PID(), syscall.SIGKILL) // its engine is a process of its own
		_ = server.Kill()
	}()
	err = lab.Poll(ctx, serveLimit, "vllm serve does not answer", func(ctx context.Context) (bool, error) {
		select {
		case <-server.Done():
			return false, errors.New("vllm serve ended")
		default:
		}
		return fetch(ctx, http.MethodGet, "http://"+address+"/health", nil, nil) == nil, nil
	})
	var answer struct {
		Choices []struct {
			Tokens []int `json:"token_ids"`
		}
	}
	if err == nil {
		err = fetch(ctx, http.MethodPost, "http://"+address+"/v1/completions", map[string]any{
			"model": path, "prompt": "the quick brown", "max_tokens": len(want.Tokens), "temperature": 0, "return_token_ids": true,
		}, &answer)
	}
	if err == nil && (len(answer.Choices) != 1 || !(result{Tokens: answer.Choices[0].Tokens}).equal(result{Tokens: want.Tokens})) {
		err = fmt.Errorf("vllm serve: %+v, want %v", answer, want.Tokens)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(server.Output()))
	}
	fmt.Println("same tokens: vllm serve, weightfs")
	return nil
}

// fetch sends a request, and reads the answer into a value.
func fetch(ctx context.Context, method, url string, body, to any) error {
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, url, response.Status)
	}
	if to == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(to)
}
