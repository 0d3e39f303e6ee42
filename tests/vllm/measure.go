package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
)

// place is where a model is loaded from.
type place string

const (
	onMount place = "mount"
	onDisk  place = "local files"
	inStore place = "s3://"
	// inMemory is no place to load from: tensors of the process itself, which it has
	// read before. Loading cannot cost less.
	inMemory place = "memory"
)

// plain is no load format: the same bytes are fetched from the store and dropped, by a
// plain client in the best of several settings. To fetch cannot cost less.
const plain = "plain client"

// row is a load format at a place.
type row struct {
	format
	place
}

func rows() (all []row) {
	for _, f := range formats() {
		all = append(all, row{f, onMount})
	}
	return append(all, row{format{name: "auto"}, onDisk}, row{format{name: "runai_streamer"}, onDisk}, row{format{name: "runai_streamer"}, inStore}, row{format{name: plain}, inStore}, row{format{name: "weightfs"}, inMemory})
}

func (r row) title() string { return string(r.place) + ": " + r.name }

// states a place can be in: what is read from the store has no warm one.
func (r row) states() []string {
	switch r.place {
	case inStore:
		return []string{"cold"}
	case inMemory:
		return []string{"warm"}
	}
	return []string{"cold", "warm"}
}

// sample is one load: how long it took, and the CPU seconds of vLLM and of the mount's
// daemon meanwhile.
type sample struct {
	Seconds float64 `json:"seconds"`
	Client  float64 `json:"client"`
	Daemon  float64 `json:"daemon"`
}

func (x sample) cpu() float64 { return x.Client + x.Daemon }

// samples are those of a row, by the state of its place.
type samples map[string][]sample

// measure takes samples of all rows in turns, and writes the table.
func (s *stage) measure(ctx context.Context) error {
	var sides []func(context.Context) (map[string]sample, error)
	var chosen []row
	for _, r := range rows() {
		if s.opts.Rows.MatchString(r.title()) {
			chosen = append(chosen, r)
			sides = append(sides, func(ctx context.Context) (map[string]sample, error) { return s.sample(ctx, r) })
		}
	}
	if len(chosen) == 0 {
		return errors.New("no row of that name")
	}
	if err := s.choosePlain(ctx); err != nil {
		return err
	}
	fmt.Println("all is ready: measuring")
	rounds, err := lab.InTurns(ctx, s.opts.Runs, sides...)
	if err != nil {
		return err
	}
	all := make([]samples, len(chosen))
	for i, r := range chosen {
		all[i] = samples{}
		for _, round := range rounds {
			for _, state := range r.states() {
				all[i][state] = append(all[i][state], round[i][state])
			}
		}
	}
	return s.write(chosen, all)
}

// memories is how often a load may take memory for all of the model: for parameters, what
// is read, and what keeps that. On a virtual machine the first touch of memory that the
// host has to find can take longer than all else, so as much is touched before.
const memories = 3

// sample loads by a row: cold, and then, where there is anything to keep it, warm.
func (s *stage) sample(ctx context.Context, r row) (got map[string]sample, err error) {
	if r.name == plain {
		x, err := s.fetch(ctx, s.request)
		return map[string]sample{"cold": x}, err
	}
	root, daemon, env := s.models(), 0, map[string]string(nil)
	switch r.place {
	case onMount:
		m, err := s.mount(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		root, daemon = m.Dir, m.PID()
	case inStore:
		root, env = "s3://"+bucket, variables(s.Server.Env())
	}
	path := modelPath(root, r.sharded, 1)
	files, err := filepath.Glob(filepath.Join(modelPath(s.models(), r.sharded, 1), "*.safetensors"))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(lab.Evict(files...), lab.DropCaches()); err != nil {
		return nil, err
	}
	got = map[string]sample{}
	for _, state := range r.states() {
		a, err := s.vllm.do(ctx, job{Do: "load", Format: r.name, Path: path, Env: env, Daemon: daemon, Memory: r.place == inMemory, Touch: memories * s.size})
		if err != nil {
			return nil, err
		}
		got[state] = a.sample
	}
	fmt.Printf("%s: %+v\n", r.title(), got)
	return got, nil
}

// choosePlain finds how a plain client is the fastest.
func (s *stage) choosePlain(ctx context.Context) error {
	var settings []lab.Request
	sweep := lab.Sweep{Name: "plain client, of each file", Unit: lab.Rate}
	for _, connections := range []int{1, 2, 4, 8} {
		for _, mib := range []int64{8, 32} {
			settings = append(settings, lab.Request{Connections: connections, Part: mib << 20})
			sweep.Settings = append(sweep.Settings, fmt.Sprintf("%d x %d MiB", connections, mib))
		}
	}
	err := sweep.Take(ctx, 3, func(ctx context.Context, i int) (float64, error) {
		x, err := s.fetch(ctx, settings[i])
		return float64(s.size) / x.Seconds, err
	})
	if err != nil {
		return err
	}
	fmt.Println(&sweep)
	best, _ := sweep.Best()
	s.request = settings[best]
	return nil
}

// fetch fetches the model by a plain client for each file, all at once.
func (s *stage) fetch(ctx context.Context, r lab.Request) (sample, error) {
	var clients []workload.Workload
	for _, name := range s.files {
		key, err := filepath.Rel(s.models(), name)
		if err != nil {
			return sample{}, err
		}
		clients = append(clients, &workload.Fetch{Bucket: bucket, Key: key, Connections: r.Connections, Part: r.Part})
	}
	reports, err := workload.Run(ctx, workload.Options{Env: s.Server.Env()}, clients...)
	if err != nil {
		return sample{}, fmt.Errorf("plain client: %w", err)
	}
	sum := workload.Sum(reports)
	return sample{Seconds: sum.Seconds(), Client: sum.CPU.Seconds()}, nil
}

// variables are those of an environment that are set, by name: boto3 takes an empty profile
// for one that is missing.
func variables(environment []string) map[string]string {
	all := map[string]string{}
	for _, variable := range environment {
		if name, value, _ := strings.Cut(variable, "="); value != "" {
			all[name] = value
		}
	}
	return all
}

// write puts the table and the samples into the folder for results, and the table into
// the document where its folder is named.
func (s *stage) write(chosen []row, all []samples) error {
	var cells [][]string
	for i, r := range chosen {
		line := []string{string(r.place), r.name}
		for _, state := range []string{"cold", "warm"} {
			line = append(line, s.cells(all[i][state])...)
		}
		cells = append(cells, line)
	}
	table := fmt.Sprintf("A random Llama of %.2f GB in 4 files, medians of %d loads and their spread. %s. %s, by `make vllm-test VLLMFLAGS=--measure`.\n\n",
		float64(s.size)/1e9, s.opts.Runs, s.version, lab.Machine(s.Began)) +
		lab.Table([]string{"from", "load format", "cold s:", "CPU s/GB:", "warm s:", "CPU s/GB:"}, cells)
	fmt.Print("\n", table)
	text, err := json.MarshalIndent(map[string]any{"rows": titles(chosen), "samples": all, "bytes": s.size}, "", "  ")
	if err != nil {
		return err
	}
	if err := lab.WriteAll(s.opts.Out, map[string]string{"table.md": table, "results.json": string(text)}); err != nil || s.opts.Docs == "" {
		return err
	}
	return lab.Publish(filepath.Join(s.opts.Docs, "vllm.md"), "formats", table, nil)
}

func titles(chosen []row) (titles []string) {
	for _, r := range chosen {
		titles = append(titles, r.title())
	}
	return titles
}

// cells are the seconds and the CPU seconds for a GB of samples.
func (s *stage) cells(taken []sample) []string {
	if len(taken) == 0 {
		return []string{"–", "–"}
	}
	spread := func(number func(sample) float64) string {
		numbers := make([]float64, len(taken))
		for i, x := range taken {
			numbers[i] = number(x)
		}
		return fmt.Sprintf("%.2f (%.2f to %.2f)", lab.Median(numbers), slices.Min(numbers), slices.Max(numbers))
	}
	gigabytes := float64(s.size) / 1e9
	return []string{
		spread(func(x sample) float64 { return x.Seconds }),
		spread(func(x sample) float64 { return x.cpu() / gigabytes }),
	}
}
