package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
}

// within says whether the package at importPath is root or below it.
func within(importPath, root string) bool {
	return importPath == root || strings.HasPrefix(importPath, root+"/")
}

// TestImports holds which of our packages knows which dependency, who may stand on
// whom, that retries know no kind of store, that no product code stands on test helpers, and that every folder is
// named by what it is for.
func TestImports(t *testing.T) {
	t.Parallel()
	owners := map[string]string{ // dependency: our packages that may import it
		"github.com/hanwen/go-fuse":              "weightfs/fs",
		"github.com/aws":                         "weightfs/remote",
		"github.com/dgraph-io":                   "weightfs/prefetch",
		"golang.org/x/time":                      "weightfs/remote",
		"gorgonia.org/cu":                        "weightfs/gpuload/cuda",
		"C":                                      "weightfs/gpuload/cuda",
		"github.com/spf13":                       "weightfs/cmd",
		"github.com/prometheus":                  "weightfs/cmd",
		"github.com/coreos/go-systemd":           "weightfs/cmd",
		"github.com/cheggaaa/pb":                 "weightfs/cmd",
		"golang.org/x/term":                      "weightfs/cmd",
		"golang.org/x/net":                       "weightfs/cmd",
		"google.golang.org/grpc":                 "weightfs/cmd/csi",
		"github.com/container-storage-interface": "weightfs/cmd/csi",
	}
	layout := map[string][]string{ // our folder: what it may import of ours
		"weightfs/remote/retry":        nil,
		"weightfs/remote":              {"weightfs/remote/retry"},
		"weightfs/remote/tier":         {"weightfs/remote", "weightfs/remote/retry"},
		"weightfs/prefetch/stream":     {"weightfs/remote"},
		"weightfs/prefetch/arena":      nil,
		"weightfs/prefetch/latency":    nil,
		"weightfs/prefetch/names":      {"weightfs/remote"},
		"weightfs/prefetch":            {"weightfs/prefetch/arena", "weightfs/prefetch/latency", "weightfs/prefetch/stream", "weightfs/remote"},
		"weightfs/fs/state":            nil,
		"weightfs/fs":                  {"weightfs/fs/state", "weightfs/prefetch", "weightfs/prefetch/latency", "weightfs/prefetch/names", "weightfs/remote"},
		"weightfs/handoff":             {"weightfs/prefetch/arena"},
		"weightfs/gpuload/safetensors": nil,
		"weightfs/gpuload":             {"weightfs/gpuload/safetensors", "weightfs/handoff", "weightfs/remote"},
		"weightfs/gpuload/manifest":    {"weightfs/gpuload", "weightfs/gpuload/safetensors"},
		"weightfs/gpuload/cuda":        {"weightfs/gpuload"},
	}
	ignorant := map[string][]string{ // package: what would tell it of one kind of store
		"weightfs/remote/retry": {"github.com/aws", "net/http", "crypto/tls", "os"},
	}
	cmd := exec.Command("go", "list", "-tags", "cuda", "-json=ImportPath,Imports", "weightfs/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	imported, found := map[string]bool{}, 0
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(p.ImportPath, "/") {
			if slices.Contains([]string{"util", "utils", "common", "config", "internal", "helpers", "misc"}, part) {
				t.Errorf("%s: a folder named %s says nothing", p.ImportPath, part)
			}
		}
		if within(p.ImportPath, "weightfs/tests") {
			continue
		}
		allowed, inLayout := layout[p.ImportPath]
		if inLayout {
			found++
		}
		for _, i := range p.Imports {
			if inLayout && within(i, "weightfs") && !slices.Contains(allowed, i) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
			if helper := within(i, "weightfs/tests") || strings.HasSuffix(path.Base(i), "test") || i == "testing"; helper && !strings.HasSuffix(p.ImportPath, "test") {
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, i)
			}
			for _, dependency := range ignorant[p.ImportPath] {
				if within(i, dependency) {
					t.Errorf("%s imports %s", p.ImportPath, i)
				}
			}
			for dependency, owner := range owners {
				imported[dependency] = imported[dependency] || within(i, dependency)
				if within(i, dependency) && !within(p.ImportPath, owner) {
					t.Errorf("%s imports %s, which is for %s alone", p.ImportPath, i, owner)
				}
			}
		}
	}
	for dependency := range owners {
		if !imported[dependency] {
			t.Errorf("nobody imports %s", dependency)
		}
	}
	if found != len(layout) {
		t.Errorf("%d of the %d packages of the layout were found", found, len(layout))
	}
}
