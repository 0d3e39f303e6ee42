package main

import (
	"context"
	"strings"

	"weightfs/tests/bench/workload"
)

// object is a file or an object of a bucket.
type object struct {
	name string
	size int64
	// fill fills p, which is page-aligned, from off, a multiple of a page.
	fill func(ctx context.Context, p []byte, off int64) error
}

// openAll opens the sources. Files stay open to the end of the process.
func openAll(ctx context.Context, sources []string, way workload.Way) ([]object, error) {
	var objects []object
	for _, source := range sources {
		uri, ok := strings.CutPrefix(source, "s3://")
		if !ok {
			f, err := workload.Open(source, way)
			if err != nil {
				return nil, err
			}
			objects = append(objects, object{source, f.Size, func(_ context.Context, p []byte, off int64) error { return f.Fill(p, off) }})
			continue
		}
		client, err := workload.NewClient(ctx)
		if err != nil {
			return nil, err
		}
		bucket, key, _ := strings.Cut(uri, "/")
		o, err := workload.OpenObject(ctx, client, bucket, key)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object{source, o.Size, o.Fill})
	}
	return objects, nil
}
