package tests

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// listPackages returns our packages as they are with the given build tags.
func listPackages(t *testing.T, tags string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", tags, "-json=ImportPath,Imports,TestImports,XTestImports", "weightfs/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// within says whether the package at importPath is root or below it.
func within(importPath, root string) bool {
	return importPath == root || strings.HasPrefix(importPath, root+"/")
}

// TestForeignImports holds which of our packages knows which dependency.
func TestForeignImports(t *testing.T) {
	owners := map[string][]string{ // dependency: our packages that may import it
		"github.com/hanwen/go-fuse":    {"weightfs/fs"},
		"github.com/aws":               {"weightfs/remote"},
		"github.com/dgraph-io":         {"weightfs/prefetch"},
		"gorgonia.org/cu":              {"weightfs/gpuload/cuda"},
		"C":                            {"weightfs/gpuload/cuda"},
		"github.com/spf13":             {"weightfs/cmd"},
		"github.com/prometheus":        {"weightfs/cmd"},
		"github.com/coreos/go-systemd": {"weightfs/cmd"},
		"github.com/cheggaaa/pb":       {"weightfs/cmd"},
		"golang.org/x/term":            {"weightfs/cmd"},
	}
	for _, p := range listPackages(t, "cuda") {
		if within(p.ImportPath, "weightfs/tests") {
			continue
		}
		for _, imported := range p.Imports {
			for dependency, allowed := range owners {
				owned := slices.ContainsFunc(allowed, func(owner string) bool { return within(p.ImportPath, owner) })
				if within(imported, dependency) && !owned {
					t.Errorf("%s imports %s, which is for %v alone", p.ImportPath, imported, allowed)
				}
			}
		}
	}
}

// TestOwnImports holds the table of the layout: who may stand on whom.
func TestOwnImports(t *testing.T) {
	table := map[string][]string{ // our folder: what it may import of ours
		"weightfs/remote":              nil,
		"weightfs/prefetch/stream":     {"weightfs/remote"},
		"weightfs/prefetch/arena":      nil,
		"weightfs/prefetch":            {"weightfs/prefetch/arena", "weightfs/prefetch/stream", "weightfs/remote"},
		"weightfs/fs":                  {"weightfs/prefetch", "weightfs/remote"},
		"weightfs/gpuload/safetensors": nil,
		"weightfs/gpuload":             {"weightfs/gpuload/safetensors", "weightfs/remote"},
		"weightfs/gpuload/manifest":    {"weightfs/gpuload", "weightfs/gpuload/safetensors"},
		"weightfs/gpuload/cuda":        {"weightfs/gpuload"},
	}
	seen := 0
	for _, p := range listPackages(t, "cuda") {
		allowed, ok := table[p.ImportPath]
		if !ok {
			continue
		}
		seen++
		for _, imported := range p.Imports {
			if within(imported, "weightfs") && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
	if seen != len(table) {
		t.Errorf("%d of the %d packages were found", seen, len(table))
	}
}

// TestTestsAreNotImported holds that no product code stands on test helpers.
func TestTestsAreNotImported(t *testing.T) {
	for _, p := range listPackages(t, "") {
		for _, imported := range p.Imports {
			helper := within(imported, "weightfs/tests") || imported == "testing" || strings.HasSuffix(imported, "test")
			product := !within(p.ImportPath, "weightfs/tests") && !strings.HasSuffix(p.ImportPath, "test")
			if product && helper {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// TestFolderNames holds that every folder is named by what it is for.
func TestFolderNames(t *testing.T) {
	for _, p := range listPackages(t, "") {
		for _, part := range strings.Split(p.ImportPath, "/") {
			if slices.Contains([]string{"util", "utils", "common", "config", "internal", "helpers", "misc"}, part) {
				t.Errorf("%s: a folder named %s says nothing", p.ImportPath, path.Base(part))
			}
		}
	}
}
