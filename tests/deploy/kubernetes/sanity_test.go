package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"weightfs/tests/rig"
)

// unsupported are the reasons why a case of the sanity suite may be left out: what
// a read-only volume has not.
var unsupported = regexp.MustCompile(`(?i)snapshot|cloning|modify ?volume|expand\w*volume|publish, unpublishvolume|controller(un)?publishvolume|` +
	`listvolumes|getcapacity|controller(get|list)volume|storagehealth|single node multi writer|groupcontroller|testnodevolumeattachlimit`)

// report is what the suite writes.
type report []struct {
	SpecReports []struct {
		ContainerHierarchyTexts []string
		LeafNodeText            string
		LeafNodeType            string
		State                   string
		Failure                 struct{ Message string }
	}
}

// TestSanity runs the conformance suite of the CSI authors against the driver and
// a real S3 server.
func TestSanity(t *testing.T) {
	d := startDriver(t, theStage.Server.Env()...)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		noError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	results := filepath.Join(t.TempDir(), "report.json")
	run, err := rig.Run(t.Context(), nil, tool(t, "csi-sanity"),
		"--csi.endpoint", d.endpoint(), "--csi.mountdir", filepath.Join(d.dir, "mount"), "--csi.stagingdir", filepath.Join(d.dir, "staging"),
		"--csi.testvolumeparameters", file("parameters", fmt.Sprintf("source: s3://%s/%s\nregion: %s\n", bucket, prefix, theStage.Server.Region)),
		"--csi.secrets", file("secrets", fmt.Sprintf("NodeStageVolumeSecret:\n  AWS_ACCESS_KEY_ID: %s\n  AWS_SECRET_ACCESS_KEY: %s\n", theStage.Server.AccessKey, theStage.Server.SecretKey)),
		"--ginkgo.json-report", results)
	noError(t, err)
	text, err := os.ReadFile(results)
	noError(t, err)
	var all report
	noError(t, json.Unmarshal(text, &all))
	passed, skipped := 0, 0
	for _, suite := range all {
		for _, spec := range suite.SpecReports {
			name := fmt.Sprint(spec.ContainerHierarchyTexts, " ", spec.LeafNodeText)
			switch {
			case spec.LeafNodeType != "It":
			case spec.State == "passed":
				passed++
			case spec.State == "pending": // switched off by its authors
			case spec.State == "skipped" && unsupported.MatchString(spec.Failure.Message):
				skipped++
			default:
				t.Errorf("%s: %s: %s", name, spec.State, spec.Failure.Message)
			}
		}
	}
	t.Logf("%d cases passed, %d are about what volumes have not", passed, skipped)
	if passed < 30 || run.Code != 0 {
		t.Errorf("exit %d, %d cases passed: %s%s", run.Code, passed, run.Stdout, run.Stderr)
	}
}
