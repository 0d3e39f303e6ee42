package remote_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"weightfs/remote"
)

// Open a source, list it and read a range of the first object. With
// "s3://BUCKET/PREFIX" in place of the folder nothing else changes.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte("0123456789"), 0o644); err != nil {
		log.Fatal(err)
	}

	src, err := remote.ParseSource(dir)
	if err != nil {
		log.Fatal(err)
	}
	store, _, err := remote.Open(ctx, src, remote.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	for entry, err := range remote.List(ctx, store, "") {
		if err != nil {
			log.Fatal(err)
		}
		body, err := store.OpenRange(ctx, entry.Object, 2, 5)
		if err != nil {
			log.Fatal(err)
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %d bytes, of which %q\n", entry.Key, entry.Size, data)
	}
	// Output: model.safetensors: 10 bytes, of which "23456"
}

// The bucket of a source may be the ARN of an access point, slashes and all.
func ExampleParseSource() {
	for _, s := range []string{
		"s3://models/llama/8b/",
		"s3://arn:aws:s3:us-west-2:123456789012:accesspoint/team/llama",
		"/data/models",
	} {
		src, err := remote.ParseSource(s)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("bucket %q prefix %q path %q\n", src.Bucket, src.Prefix, src.Path)
	}
	// Output:
	// bucket "models" prefix "llama/8b" path ""
	// bucket "arn:aws:s3:us-west-2:123456789012:accesspoint/team" prefix "llama" path ""
	// bucket "" prefix "" path "/data/models"
}
