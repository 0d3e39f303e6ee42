package faults

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

const (
	// podBucket holds the checkpoint that a pod loads.
	podBucket = "pod"
	// podProcesses is how many processes of it share the shards.
	podProcesses = 8
	// podLimit is how long its readers may take before they count as hung.
	podLimit = 10 * time.Minute
)

// podPeers are mounts with the settings that users of small pods have.
func podPeers() (all []peer) {
	if theStage.rclone != "" {
		all = append(all, rclone("rclone, cache full", "--vfs-cache-mode", "full"), rclone("rclone, cache off", "--vfs-cache-mode", "off"))
	}
	if theStage.s3fs != "" {
		all = append(all, s3fs())
	}
	return all
}

// TestSmallPod has eight processes map and copy 40 shards through a mount, all in
// one cgroup of 512 MiB with a memory limit of half of it, as a small pod has: the
// kernel kills nobody, no mapping fails, and the bytes are right. What other mounts
// do in such a pod is shown and not judged.
func TestSmallPod(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shards, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: 40, Size: 960 << 20, Seed: 2})
	noError(t, err)
	noError(t, theStage.Server.CreateBucket(t.Context(), podBucket))
	noError(t, theStage.Server.PutDir(t.Context(), podBucket, "", dir))
	digests := succeed(t, "sh", "-c", `cd "$0" && sha256sum *.safetensors`, dir)
	t.Run("weightfs", func(t *testing.T) {
		group := podGroup(t)
		m := mountFor(t, rig.MountOptions{
			Source: "s3://" + podBucket, Env: theStage.Server.Env(), Args: []string{"--memory-limit", "256Mi"}, Cgroup: group,
		})
		load := loadPod(t, group, m, m.Dir, shards, digests)
		t.Log(load)
		if load.right != len(shards) || load.wrong > 0 || len(load.failures) > 0 || load.kills > 0 {
			t.Errorf("the pod got: %v", load)
		}
	})
	for _, p := range podPeers() {
		t.Run(p.name, func(t *testing.T) {
			group := podGroup(t)
			at := t.TempDir()
			mount := mountPeer(t, p, theStage.Server.Endpoint, podBucket, shards[0], at, group)
			t.Log(loadPod(t, group, mount, at, shards, digests))
		})
	}
}

// podGroup makes the cgroup of a small pod until the test ends.
func podGroup(t *testing.T) *rig.Cgroup {
	t.Helper()
	group := rig.CgroupFor(t, "pod")
	noError(t, group.SetLimit(512<<20))
	return group
}

// podLoad is what became of a pod's readers.
type podLoad struct {
	right, wrong int            // shards that were read to their end
	failures     map[string]int // of readers, and how many met each
	kills        int64          // by the kernel, for want of memory
	seconds      float64
	daemon       string // what became of it
}

func (l podLoad) String() string {
	text := fmt.Sprintf("%d shards right, %d wrong, %d killed, %.1f s, daemon %s", l.right, l.wrong, l.kills, l.seconds, l.daemon)
	for failure, readers := range l.failures {
		text += fmt.Sprintf(", %s x%d", failure, readers)
	}
	return text
}

// daemon is a process that serves a mount.
type daemon interface {
	PID() int
	Kill() error
	Wait() int
	Output() string
}

// loadPod has processes in the group map and copy the shards in dir, each its own
// ones. digests has a line for each shard as sha256sum prints it.
func loadPod(t *testing.T, group *rig.Cgroup, mount daemon, dir string, shards []string, digests string) (l podLoad) {
	t.Helper()
	began := time.Now()
	l.failures = map[string]int{}
	var readers []*rig.Process
	for i := range podProcesses {
		args := []string{"-u", filepath.Join(theStage.Scripts, "mapped_digests.py")}
		for at := i; at < len(shards); at += podProcesses {
			args = append(args, filepath.Join(dir, shards[at]))
		}
		reader, err := rig.StartProcess(group.Command(theStage.Python, args...))
		noError(t, err)
		readers = append(readers, reader)
	}
	// One that hangs cannot be killed before its mount was.
	hung := time.AfterFunc(podLimit, func() {
		_ = mount.Kill()
		for _, reader := range readers {
			_ = reader.Kill()
		}
	})
	defer hung.Stop()
	for _, reader := range readers {
		code := reader.Wait()
		for line := range strings.Lines(reader.Output()) {
			switch {
			case strings.Contains(digests, line):
				l.right++
			case strings.HasSuffix(line, ".safetensors\n") && !strings.HasPrefix(line, " "):
				l.wrong++
			}
		}
		if code != 0 {
			l.failures[podFailure(code, reader.Output())]++
		}
	}
	l.seconds = time.Since(began).Seconds()
	var err error
	l.kills, err = group.Kills()
	noError(t, err)
	if peak, err := rig.PeakRSS(mount.PID()); err == nil {
		l.daemon = fmt.Sprintf("of at most %d MiB", peak>>20)
	} else {
		l.daemon = "ended by " + podFailure(mount.Wait(), mount.Output())
	}
	return l
}

// podFailure says how a program ended, by its exit code and what it wrote.
func podFailure(code int, output string) string {
	if code < 0 {
		return unix.SignalName(syscall.Signal(-code))
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return lines[len(lines)-1]
}
