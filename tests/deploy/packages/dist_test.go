package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDist makes a release twice: here, and of a copy in another place that has no
// repository. Both are to have the same bytes.
func TestDist(t *testing.T) {
	t.Parallel()
	root, elsewhere := sourceRoot(t), filepath.Join(t.TempDir(), "a copy's place")
	output(t, "bash", "-c", `cd "$1" && git ls-files -co --exclude-standard | rsync -a --ignore-missing-args --files-from=- . "$2"`, "bash", root, elsewhere)
	const version, commit, date = "1.2.3", "0123456789abcdef0123456789abcdef01234567", "2026-01-31T12:00:00Z"
	var dists []string
	for _, dir := range []string{root, elsewhere} {
		dist := t.TempDir()
		makeIn(t, dir, "dist", "DIST="+dist, "TOOLS="+filepath.Join(root, ".tools"), "VERSION="+version, "COMMIT="+commit, "DATE="+date)
		dists = append(dists, dist)
	}
	files := filesBelow(t, dists[0])
	if len(files) != 7 { // a tarball and two SBOMs for each architecture, and the sums
		t.Errorf("a release is %v", files)
	}
	for name := range files {
		if readFile(t, dists[0]+name) != readFile(t, dists[1]+name) {
			t.Errorf("%s is not the same the second time", name)
		}
	}
	sums := output(t, "bash", "-c", `cd "$1" && sha256sum --check --strict SHA256SUMS`, "bash", dists[0])
	if strings.Count(sums, ": OK\n") != 6 {
		t.Errorf("sums: %s", sums)
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		name := "weightfs-" + version + "-linux-" + arch
		checkTarball(t, filepath.Join(dists[0], name+".tar.gz"), name, machine)
		for _, program := range []string{"mountd", "gpuload"} {
			checkSBOM(t, filepath.Join(dists[0], name+"."+program+".cdx.json"), version)
		}
	}
}

// checkTarball checks what is in a tarball, and that its programs are static, and
// of that machine.
func checkTarball(t *testing.T, path, top string, machine elf.Machine) {
	t.Helper()
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]os.FileMode{}
	for files := tar.NewReader(unpacked); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(header.Name, top)
		found[name] = header.FileInfo().Mode()
		if header.Uid != 0 || header.Gid != 0 || name == header.Name {
			t.Errorf("%s: %s of %d:%d", path, header.Name, header.Uid, header.Gid)
		}
		if strings.HasPrefix(name, "/bin/") && header.Typeflag == tar.TypeReg {
			program, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			checkStatic(t, top+name, program, machine)
		}
	}
	for name, mode := range installed {
		if found[name] != mode {
			t.Errorf("%s: %s has mode %v, want %v", path, name, found[name], mode)
		}
	}
}

func checkStatic(t *testing.T, name string, program []byte, machine elf.Machine) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if file.Machine != machine {
		t.Errorf("%s is for %v", name, file.Machine)
	}
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is not static: it has %v", name, part.Type)
		}
	}
}

// checkSBOM checks that a bill of materials names what every program is made of.
func checkSBOM(t *testing.T, path, version string) {
	t.Helper()
	var bom struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal([]byte(readFile(t, path)), &bom); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Name != "weightfs" || bom.Metadata.Component.Version != version {
		t.Errorf("%s is of %+v", path, bom.Metadata.Component)
	}
	named := map[string]bool{}
	for _, component := range bom.Components {
		named[component.Name] = component.Version != "" && component.PURL != ""
	}
	for _, module := range []string{"github.com/spf13/cobra", "github.com/aws/aws-sdk-go-v2/service/s3", "golang.org/x/sys"} {
		if !named[module] {
			t.Errorf("%s does not name %s", path, module)
		}
	}
	if _, ok := named["github.com/cpuguy83/go-md2man/v2"]; ok {
		t.Errorf("%s: what makes man pages is in the program", path)
	}
}
