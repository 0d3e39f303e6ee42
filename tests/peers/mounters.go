package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"weightfs/cmd/cli"
	"weightfs/tests/rig"
)

// weightfs is the name of ours.
const weightfs = "weightfs"

// localFile is no mount but the most that any could come to. It lies on tmpfs:
// there readers by O_DIRECT too are answered from memory.
const localFile = "local file, on tmpfs"

// mounter is a peer that mounts.
type mounter struct {
	name string
	// version is what the table says of it.
	version func(context.Context, *comparison) (string, error)
	// flags are shown in the table; LIMIT and CACHE in them are what the mount may
	// keep of the object, and an empty folder for that.
	flags string
	// command mounts the bucket with flags and stays in the foreground. nil is a
	// local file in the place of a mount.
	command func(c *comparison, m *mount, flags []string) (*exec.Cmd, error)
	// folder of the mount is where the bucket's objects are; "" is the mount.
	folder string
	// over says that it is measured with objects larger than its limit.
	over bool
}

// mounters are the peers that mount, ours first.
func mounters() []mounter {
	const rcloneFlags = " --vfs-read-chunk-streams 16 --vfs-read-chunk-size 4Mi"
	return []mounter{
		{name: localFile},
		{
			name: weightfs, version: ourVersion, flags: "--memory-limit LIMIT", over: true,
			command: func(c *comparison, m *mount, flags []string) (*exec.Cmd, error) {
				return exec.Command(c.Mountd, append(flags, "s3://"+bucket, m.dir)...), nil
			},
		},
		{name: "rclone", version: rcloneVersion, flags: "--vfs-cache-mode off" + rcloneFlags, command: rclone},
		{
			name: "rclone, cached", version: rcloneVersion, command: rclone, over: true,
			flags: "--vfs-cache-mode full --vfs-cache-max-size LIMIT --vfs-cache-poll-interval 1s --cache-dir CACHE" + rcloneFlags,
		},
		{
			name: "s3fs", version: func(ctx context.Context, _ *comparison) (string, error) { return version(ctx, "s3fs", "--version") },
			flags: "-o ro,kernel_cache,parallel_count=16,tmpdir=CACHE", over: true,
			command: func(_ *comparison, m *mount, flags []string) (*exec.Cmd, error) {
				return exec.Command("s3fs", append(flags, bucket, m.dir, "-f", "-o", "use_path_request_style,url="+m.endpoint)...), nil
			},
		},
		{
			name: "mountpoint-s3", version: mountpointVersion, command: mountpoint(false), folder: mountpointFolder,
			flags: "memory limit LIMIT, at least 512MiB; target 10 Gbit/s",
		},
		{
			name: "mountpoint-s3, cached", version: mountpointVersion, command: mountpoint(true), folder: mountpointFolder, over: true,
			flags: "memory limit LIMIT, at least 512MiB; target 10 Gbit/s; disk cache of LIMIT in CACHE",
		},
	}
}

// filled is text with the placeholders of flags filled in.
func (m *mount) filled(flags string) string {
	return strings.NewReplacer("LIMIT", cli.FormatSize(m.limit), "CACHE", m.cache).Replace(flags)
}

func rclone(c *comparison, m *mount, flags []string) (*exec.Cmd, error) {
	remote := fmt.Sprintf(":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='%s':%s", m.endpoint, bucket)
	return exec.Command(c.tool("rclone"), append([]string{"mount", remote, m.dir, "--read-only", "--config", os.DevNull}, flags...)...), nil
}

func rcloneVersion(ctx context.Context, c *comparison) (string, error) {
	return version(ctx, c.tool("rclone"), "version")
}

// tool is a program that make has installed for us.
func (c *comparison) tool(name string) string { return filepath.Join(c.Root, ".tools", name) }

// version finds the version in what a program prints.
func version(ctx context.Context, program string, args ...string) (string, error) {
	out, err := rig.Output(ctx, nil, program, args...)
	if err != nil {
		return "", err
	}
	return regexp.MustCompile(`\d+\.\d[\d.]*`).FindString(out), nil
}

// ourVersion is the commit.
func ourVersion(ctx context.Context, c *comparison) (string, error) {
	out, err := rig.Output(ctx, nil, "git", "-C", c.Root, "rev-parse", "--short", "HEAD")
	return strings.TrimSpace(out), err
}
