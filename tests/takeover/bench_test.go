package takeover

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// limit is the memory limit of the benchmark's mount, which is full when it dies.
var limit = flag.Int64("limit", 1<<30, "memory limit of BenchmarkDeathToAnswer, in bytes")

// BenchmarkDeathToAnswer is how long nobody answers after the death of a process
// whose memory is full, where others can map that memory and where they cannot.
func BenchmarkDeathToAnswer(b *testing.B) {
	path := filepath.Join(theStage.Server.Dir, bucket, "filler")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.Remove(path) })
	if err := errors.Join(os.Truncate(path, *limit), unix.Setxattr(path, "user.etag", []byte("0123456789abcdef"), 0)); err != nil {
		b.Fatal(err)
	}
	for _, share := range []string{"auto", "off"} {
		b.Run("share="+share, func(b *testing.B) {
			m := theStage.MountFor(b, rig.MountOptions{
				Source: "s3://" + bucket, Env: theStage.Server.Env(),
				Args: []string{"--share", share, "--memory-limit", strconv.FormatInt(*limit, 10)},
			})
			var took []time.Duration
			resident := int64(0)
			for b.Loop() {
				rig.Succeed(b, nil, "dd", "if="+filepath.Join(m.Dir, "filler"), "of=/dev/null", "bs=4M", "iflag=direct", "status=none")
				full, err := rig.RSS(m.PID())
				if err != nil {
					b.Fatal(err)
				}
				resident = max(resident, full)
				died := time.Now()
				serving, err := m.KillServing()
				if err == nil {
					err = unix.Statfs(m.Dir, &unix.Statfs_t{})
				}
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(died))
				awaitServing(b, m, serving)
				time.Sleep(1100 * time.Millisecond) // or it would be given up
			}
			slices.Sort(took)
			b.ReportMetric(took[0].Seconds()*1e3, "least-ms")
			b.ReportMetric(took[len(took)/2].Seconds()*1e3, "median-ms")
			b.ReportMetric(took[len(took)-1].Seconds()*1e3, "max-ms")
			b.ReportMetric(float64(resident>>20), "MiB-resident")
		})
	}
}
