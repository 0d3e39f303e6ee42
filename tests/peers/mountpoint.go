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

	"weightfs/tests/lab"
)

const (
	// mountpointProgram is an example of Mountpoint's library on crates.io, which
	// does not have the command itself. It mounts the objects of a manifest.
	mountpointProgram = "mountpoint-s3/bin/mount_from_config"
	// mountpointFolder is where its manifest has them.
	mountpointFolder = "bucket"
	// mountpointLeast is the least memory limit that it takes.
	mountpointLeast = 512 << 20
)

func mountpointVersion(_ context.Context, c *comparison) (string, error) {
	text, err := os.ReadFile(c.tool("mountpoint-s3/version"))
	if err != nil {
		return "", fmt.Errorf("it was not built: %w", err)
	}
	return lab.LastLine(string(text)), nil
}

// mountpoint mounts from a manifest, written into its cache, with or without a
// cache of blocks beside it.
func mountpoint(cached bool) func(*comparison, *mount, []string) (*exec.Cmd, error) {
	return func(c *comparison, m *mount, _ []string) (*exec.Cmd, error) {
		manifest := filepath.Join(m.cache, "manifest.csv")
		sum, err := c.writeManifest(manifest)
		if err != nil {
			return nil, err
		}
		config := map[string]any{
			"config_version": "0.0.1", "mountpoint": m.dir, "metadata_store_dir": m.cache, "event_log_dir": m.cache,
			"region": c.Server.Region, "endpoint_url": m.endpoint, "loglevel": "warn",
			"throughput_config":  map[string]any{"type": "Explicit", "throughput": 10.0},
			"memory_limit_bytes": max(m.limit, mountpointLeast),
			"channels": []map[string]string{{
				"directory_name": mountpointFolder, "bucket_name": bucket,
				"manifest_path": manifest, "manifest_checksum": sum,
			}},
		}
		if cached {
			config["disk_cache"] = map[string]any{"path": m.cache, "limit_bytes": m.limit}
		}
		text, err := json.Marshal(config)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(m.cache, "config.json")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return nil, err
		}
		return exec.Command(c.tool(mountpointProgram), "--config", path), nil
	}
}

// writeManifest writes the one line that describes the object, and returns its
// checksum, which with one line is that of the file.
func (c *comparison) writeManifest(path string) (sum string, err error) {
	head, err := c.Server.Client().HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &c.key})
	if err != nil {
		return "", err
	}
	etag := aws.ToString(head.ETag)
	sum = manifestSum(c.key, etag, c.size)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	if err := w.WriteAll([][]string{{c.key, etag, strconv.FormatInt(c.size, 10), sum}}); err != nil {
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
