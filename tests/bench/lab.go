package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"weightfs/tests/checkpoint"
	"weightfs/tests/harness"
	"weightfs/tests/proxy"
	"weightfs/tests/s3test"
)

const bucket = "bench"

// lab is what the rows share.
type lab struct {
	programs *harness.Programs
	server   *s3test.Server
	proxy    *proxy.Proxy
	scratch  string
	key      string
	size     int64 // of the object
	mountd   []string
}

// newLab starts the server and puts the object into its bucket.
func newLab(ctx context.Context, o options) (_ *lab, err error) {
	l := &lab{mountd: o.mountd}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.scratch, err = os.MkdirTemp(o.scratch, "weightfs-bench-"); err != nil {
		return nil, err
	}
	if l.programs, err = harness.Build(ctx, l.scratch); err != nil {
		return nil, err
	}
	data := filepath.Join(l.scratch, "data")
	if err = os.Mkdir(data, 0o755); err != nil {
		return nil, err
	}
	if l.server, err = s3test.New(ctx, s3test.Options{Dir: data}); err != nil {
		return nil, err
	}
	if l.proxy, err = proxy.New(l.server.Endpoint, ""); err != nil {
		return nil, err
	}
	return l, l.upload(ctx, int64(o.size))
}

// upload makes the object and removes its original, which would take as much
// memory again.
func (l *lab) upload(ctx context.Context, size int64) error {
	names, err := checkpoint.Write(l.scratch, checkpoint.Spec{Size: size})
	if err != nil {
		return err
	}
	l.key = names[0]
	file := filepath.Join(l.scratch, l.key)
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	l.size = info.Size()
	if err := l.server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	return errors.Join(l.server.PutFile(ctx, bucket, l.key, file), os.Remove(file))
}

func (l *lab) close() error {
	var errs []error
	if l.proxy != nil {
		errs = append(errs, l.proxy.Close())
	}
	if l.server != nil {
		errs = append(errs, l.server.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(l.scratch))...)
}

// result is what a row came to: rates in bytes per second, one for each sample.
type result struct {
	Name   string    `json:"name"`
	Client []float64 `json:"client"`
	Mount  []float64 `json:"mount"`
}

func median(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// ratio is of the medians, mount to client.
func (r result) ratio() float64 { return median(r.Mount) / median(r.Client) }

func (r result) line() string {
	return fmt.Sprintf("client %5.2f GB/s  mount %5.2f GB/s  ratio %.2f", median(r.Client)/1e9, median(r.Mount)/1e9, r.ratio())
}

// measure takes the samples of one row, after a pair that is thrown away.
func (l *lab) measure(ctx context.Context, r row, runs int) (result, error) {
	res := result{Name: r.name}
	l.proxy.SetShape(r.shape)
	for i := range runs + 1 {
		client, err := l.sample(ctx, readSpec{Kind: "get", Threads: r.connections, Block: 8 * mib, Path: l.key}, l.env(r))
		if err != nil {
			return res, err
		}
		mount, err := l.sampleMount(ctx, r)
		if err != nil {
			return res, err
		}
		if i > 0 {
			res.Client, res.Mount = append(res.Client, client), append(res.Mount, mount)
		}
	}
	return res, nil
}

// env is what clients of the row's endpoint need.
func (l *lab) env(r row) []string {
	if r.shape == (proxy.Shape{}) {
		return l.server.Env()
	}
	return append(l.server.Env(), "AWS_ENDPOINT_URL="+l.proxy.Endpoint)
}

// sampleMount mounts anew and reads.
func (l *lab) sampleMount(ctx context.Context, r row) (rate float64, err error) {
	mount, err := l.programs.Mount(ctx, harness.MountOptions{
		Source: "s3://" + bucket, Args: append([]string{"--memory-limit", "1GiB"}, l.mountd...), Env: l.env(r),
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, mount.Close()) }()
	spec := r.reader
	spec.Path = filepath.Join(mount.Dir, l.key)
	return l.sample(ctx, spec, nil)
}

// sample drops the page cache, runs a reader in a child, and returns its rate.
func (l *lab) sample(ctx context.Context, spec readSpec, env []string) (float64, error) {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1\n"), 0); err != nil {
		return 0, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := harness.Output(ctx, env, self, "read", string(text))
	if err != nil {
		return 0, err
	}
	var report readReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return 0, fmt.Errorf("reader: %w", err)
	}
	if report.Bytes != l.size {
		return 0, fmt.Errorf("reader: %d bytes of an object of %d", report.Bytes, l.size)
	}
	return float64(report.Bytes) / report.Seconds, nil
}
