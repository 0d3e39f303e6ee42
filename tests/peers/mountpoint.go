package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// mountpointProgram is an example of Mountpoint's library on crates.io, which
	// does not have the command itself. It mounts the objects of a manifest.
	mountpointProgram = "mountpoint-s3/bin/mount_from_config"
	// mountpointFolder is where its manifest has them.
	mountpointFolder = "bucket"
)

func mountpointVersion(_ context.Context, l *lab) (string, error) {
	text, err := os.ReadFile(l.tool("mountpoint-s3/version"))
	if err != nil {
		return "", fmt.Errorf("it was not built: %w", err)
	}
	return lastLine(string(text)), nil
}

// mountpoint mounts from a manifest, written into its cache.
func mountpoint(l *lab, endpoint, dir, cache string) (*exec.Cmd, error) {
	manifest := filepath.Join(cache, "manifest.csv")
	sum, err := l.writeManifest(manifest)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"config_version": "0.0.1", "mountpoint": dir, "metadata_store_dir": cache, "event_log_dir": cache,
		"region": l.server.Region, "endpoint_url": endpoint, "loglevel": "warn",
		"throughput_config":  map[string]any{"type": "Explicit", "throughput": 10.0},
		"memory_limit_bytes": 1 << 30,
		"channels": []map[string]string{{
			"directory_name": mountpointFolder, "bucket_name": bucket,
			"manifest_path": manifest, "manifest_checksum": sum,
		}},
	})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cache, "config.json")
	if err := os.WriteFile(path, config, 0o644); err != nil {
		return nil, err
	}
	return exec.Command(l.tool(mountpointProgram), "--config", path), nil
}

// writeManifest writes the one line that describes the object, and returns its
// checksum, which with one line is that of the file.
func (l *lab) writeManifest(path string) (sum string, err error) {
	head, err := l.server.Client().HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &l.key})
	if err != nil {
		return "", err
	}
	etag := aws.ToString(head.ETag)
	sum = manifestSum(l.key, etag, l.size)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	if err := w.WriteAll([][]string{{l.key, etag, strconv.FormatInt(l.size, 10), sum}}); err != nil {
		return "", err
	}
	return sum, nil
}

// manifestSum is CRC32C of the fields, the size as eight bytes, big-endian.
func manifestSum(key, etag string, size int64) string {
	text := binary.BigEndian.AppendUint64([]byte(key+etag), uint64(size))
	sum := crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}
