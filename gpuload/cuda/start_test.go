//go:build cuda

package cuda_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/gpuload/cuda"
)

// TestDriverThatDoesNotStart holds that such a driver is an error, of every call
// that needs it, and neither an exit nor a word.
func TestDriverThatDoesNotStart(t *testing.T) {
	simulated(t)
	t.Setenv("CUDADRIVER_DEVICES", "0")
	const want = "the NVIDIA driver does not start: no CUDA-capable device is detected (CUDA error 100)"
	if _, err := cuda.List(); err == nil || err.Error() != want {
		t.Errorf("List: %v; want %q", err, want)
	}
	if _, err := cuda.Open(1, cuda.Config{}); err == nil || err.Error() != "cuda:1: "+want {
		t.Errorf("Open: %v; want %q of cuda:1", err, want)
	}
}

// TestDriverStartsWhenItIsNeeded holds that gorgonia.org/cu, whose package is
// initialized in every program, does not start the driver.
func TestDriverStartsWhenItIsNeeded(t *testing.T) {
	if os.Getenv("CUDADRIVER_STARTS") != "" { // the child
		if text, err := os.ReadFile(os.Getenv("CUDADRIVER_STARTS")); err == nil {
			t.Errorf("the driver was started already: %s", text)
		}
		_, err := cuda.List()
		must(t, err)
		return
	}
	simulated(t)
	file := filepath.Join(t.TempDir(), "starts")
	child := exec.Command(os.Args[0], "-test.run=^TestDriverStartsWhenItIsNeeded$")
	child.Env = append(os.Environ(), "CUDADRIVER_STARTS="+file)
	if output, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%q, %v: want one start", text, err)
	}
}
