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
var unsupported = regexp.MustCompile(`(?i)(Snapshot|Clon|Expand\w*|ControllerPublishVolume|ControllerUnpublishVolume|ListVolumes|GetCapacity|GetVolume|ControllerGetVolume|ModifyVolume|ControllerModifyVolume|group\w*)\b.*not supported|not supported.*(snapshot|group)|testnodevolumeattachlimit not enabled`)

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
	d := startDriver(t, theStage.server.Env()...)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		noError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	results := filepath.Join(t.TempDir(), "report.json")
	sanity := tool(t, "csi-sanity")
	out := rig.Succeed(t, nil, sanity,
		"--csi.endpoint", d.endpoint(), "--csi.mountdir", filepath.Join(d.dir, "mount"), "--csi.stagingdir", filepath.Join(d.dir, "staging"),
		"--csi.testvolumeparameters", file("parameters", fmt.Sprintf("source: s3://%s/%s\nregion: %s\n", bucket, prefix, theStage.server.Region)),
		"--csi.secrets", file("secrets", fmt.Sprintf("NodeStageVolumeSecret:\n  AWS_ACCESS_KEY_ID: %s\n  AWS_SECRET_ACCESS_KEY: %s\n", theStage.server.AccessKey, theStage.server.SecretKey)),
		"--ginkgo.json-report", results)
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
	if passed < 30 {
		t.Errorf("only %d cases passed: %s", passed, out)
	}
}
