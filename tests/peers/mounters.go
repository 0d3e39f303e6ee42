package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"weightfs/tests/rig"
)

// weightfs is the name of ours.
const weightfs = "weightfs"

// localFile is no mount but the most that any could come to. It lies on tmpfs:
// there the streamer too, which reads by O_DIRECT and so passes by the page cache
// of a disk's file, is answered from memory.
const localFile = "local file, on tmpfs"

// mounters are the peers that mount, ours first.
func mounters() []mounter {
	return []mounter{
		{name: localFile},
		{
			name: weightfs, flags: "--memory-limit 1GiB", version: ourVersion,
			command: func(l *lab, _, dir, _ string) (*exec.Cmd, error) {
				return exec.Command(l.programs.Mountd, "--memory-limit", "1GiB", "s3://"+bucket, dir), nil
			},
		},
		rclone("rclone", "--vfs-cache-mode", "off"),
		rclone("rclone, cached", "--vfs-cache-mode", "full"),
		{
			name: "s3fs", flags: "-o parallel_count=16", version: said("s3fs", "--version"),
			command: func(_ *lab, endpoint, dir, cache string) (*exec.Cmd, error) {
				return exec.Command("s3fs", bucket, dir, "-f", "-o",
					"ro,use_path_request_style,parallel_count=16,tmpdir="+cache+",url="+endpoint), nil
			},
		},
		{
			name: "mountpoint-s3", flags: "memory limit 1 GiB, target 10 Gbit/s", version: mountpointVersion,
			command: mountpoint, folder: mountpointFolder,
		},
	}
}

// rclone mounts with the streams that its documentation advises for such files.
func rclone(name string, mode ...string) mounter {
	flags := append(mode, "--vfs-read-chunk-streams", "16", "--vfs-read-chunk-size", "4Mi")
	return mounter{
		name: name, flags: fmt.Sprintf("%s %s --vfs-read-chunk-streams 16 --vfs-read-chunk-size 4Mi", mode[0], mode[1]),
		version: func(ctx context.Context, l *lab) (string, error) { return said(l.tool("rclone"), "version")(ctx, l) },
		command: func(l *lab, endpoint, dir, cache string) (*exec.Cmd, error) {
			remote := fmt.Sprintf(":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='%s':%s", endpoint, bucket)
			args := append([]string{"mount", remote, dir, "--read-only", "--config", os.DevNull, "--cache-dir", cache}, flags...)
			return exec.Command(l.tool("rclone"), args...), nil
		},
	}
}

// tool is a program that make has installed for us.
func (l *lab) tool(name string) string { return filepath.Join(l.root, ".tools", name) }

// said finds the version in what a program prints.
func said(program string, args ...string) func(context.Context, *lab) (string, error) {
	return func(ctx context.Context, _ *lab) (string, error) {
		out, err := rig.Output(ctx, nil, program, args...)
		if err != nil {
			return "", err
		}
		return regexp.MustCompile(`\d+\.\d[\d.]*`).FindString(out), nil
	}
}

// ourVersion is the commit.
func ourVersion(ctx context.Context, l *lab) (string, error) {
	out, err := rig.Output(ctx, nil, "git", "-C", l.root, "rev-parse", "--short", "HEAD")
	return lastLine(out), err
}
