package kubernetes

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// kubernetesVersions are those whose schemas the manifests are held to.
func kubernetesVersions() []string { return []string{"1.27", "1.30"} }

// deployFolder is where the manifests are.
func deployFolder(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	noError(t, err)
	return filepath.Join(root, "deploy", "kubernetes")
}

// manifests are the rendered overlays and the examples, by name.
func manifests(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	overlays, err := filepath.Glob(filepath.Join(deployFolder(t), "overlays", "*"))
	noError(t, err)
	for _, overlay := range overlays {
		texts[filepath.Base(overlay)] = rig.Succeed(t, nil, tool(t, "kustomize"), "build", overlay)
	}
	examples, err := filepath.Glob(filepath.Join(deployFolder(t), "examples", "*.yaml"))
	noError(t, err)
	for _, example := range examples {
		text, err := os.ReadFile(example)
		noError(t, err)
		texts[filepath.Base(example)] = string(text)
	}
	if len(overlays) != 3 || len(examples) != 3 {
		t.Fatalf("%d overlays and %d examples were found", len(overlays), len(examples))
	}
	return texts
}

// TestManifestsAreValid holds that what kustomize renders, and the examples, fit
// Kubernetes' own schemas.
func TestManifestsAreValid(t *testing.T) {
	dir := t.TempDir()
	for name, text := range manifests(t) {
		noError(t, os.WriteFile(filepath.Join(dir, strings.TrimSuffix(name, ".yaml")+".yaml"), []byte(text), 0o644))
	}
	for _, version := range kubernetesVersions() {
		rig.Succeed(t, nil, tool(t, "kubectl-validate"), "--version", version, dir)
	}
	// What it says of a wrong one, so that silence means something.
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	noError(t, os.WriteFile(wrong, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {container: []}\n"), 0o644))
	if result, err := rig.Run(t.Context(), nil, tool(t, "kubectl-validate"), "--version", kubernetesVersions()[0], wrong); err != nil || result.Code == 0 {
		t.Errorf("a wrong manifest passes: %+v, %v", result, err)
	}
}

// TestManifestsSayWhatTheyMust holds what no schema knows.
func TestManifestsSayWhatTheyMust(t *testing.T) {
	image := regexp.MustCompile(`(?m)^\s*(?:- )?image: *(\S+)$`)
	pinned := regexp.MustCompile(`^[^@:]+(/[^@:]+)*:v?\d+\.\d+\.\d+$`)
	found := 0
	for name, text := range manifests(t) {
		for _, match := range image.FindAllStringSubmatch(text, -1) {
			found++
			if !pinned.MatchString(match[1]) {
				t.Errorf("%s: image %s is not of one version", name, match[1])
			}
		}
		if strings.Contains(text, "kind: DaemonSet") && !strings.Contains(text, "hostPID: true") {
			t.Errorf("%s: the daemon would not see its readers", name)
		}
		if strings.Contains(text, "hostPort") || strings.Contains(text, "hostNetwork: true") {
			t.Errorf("%s: a port of the node is open", name)
		}
	}
	if found < 8 {
		t.Errorf("%d images were found", found)
	}
}

// TestManifestsSurge holds that both DaemonSets are updated by a pod beside the old one,
// which finds that one's mountds, and that each pod of the driver has its own socket,
// which its sidecars ask for and kubelet is told of.
func TestManifestsSurge(t *testing.T) {
	for _, name := range []string{"csi", "daemonset"} {
		text := manifests(t)[name]
		for _, want := range []string{"maxSurge: 1", "maxUnavailable: 0", "type: RollingUpdate", "- mountPath: /run/weightfs", "path: /run/weightfs", "readinessProbe:", "startupProbe:"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
	}
	text := manifests(t)["csi"]
	for want, n := range map[string]int{
		"--endpoint=unix:///csi/$(POD_UID).sock": 1, "--csi-address=/csi/$(POD_UID).sock": 2, "fieldPath: metadata.uid": 3,
		"--kubelet-registration-path=/var/lib/kubelet/plugins/weightfs.csi/$(POD_UID).sock": 1, "path: /var/lib/kubelet/plugins/weightfs.csi\n": 1,
	} {
		if got := strings.Count(text, want); got != n {
			t.Errorf("%q is there %d times, want %d", want, got, n)
		}
	}
}

// TestConsumerIsRestricted holds that the pod with an inline volume is one that the
// Pod Security level "restricted" admits.
func TestConsumerIsRestricted(t *testing.T) {
	text := manifests(t)["csi-inline.yaml"]
	for _, want := range []string{"runAsNonRoot: true", "allowPrivilegeEscalation: false", "capabilities: {drop: [ALL]}", "seccompProfile: {type: RuntimeDefault}"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	for _, forbidden := range []string{"hostPath", "privileged", "hostPID", "hostNetwork", "hostIPC", "add:"} {
		if strings.Contains(text, forbidden) {
			t.Errorf("it says %q", forbidden)
		}
	}
}

// TestDriverName holds that the CSIDriver object and the volumes name the driver
// as it calls itself.
func TestDriverName(t *testing.T) {
	d := startDriver(t)
	info, err := csi.NewIdentityClient(d.conn).GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	noError(t, err)
	for name, line := range map[string]string{
		"csi": "name: " + info.GetName(), "csi-inline.yaml": "driver: " + info.GetName(), "csi-persistentvolume.yaml": "driver: " + info.GetName(),
	} {
		if !regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(line) + `$`).MatchString(manifests(t)[name]) {
			t.Errorf("%s has no line %q", name, line)
		}
	}
}

// TestDriverArguments holds that the driver knows the arguments and variables that
// the manifest gives it: without a node's name it is that which it misses.
func TestDriverArguments(t *testing.T) {
	text := manifests(t)["csi"]
	args := regexp.MustCompile(`--endpoint=\S+`).FindString(text)
	limit := regexp.MustCompile(`name: WEIGHTFS_MEMORY_LIMIT\n\s+value: (\S+)`).FindStringSubmatch(text)
	if args == "" || limit == nil || !strings.Contains(text, "name: WEIGHTFS_NODE_ID") {
		t.Fatalf("the manifest has %q and %q", args, limit)
	}
	for want, given := range map[string][]string{
		"--node-id is missing":       {args},
		"is not absolute":            {args, "--node-id=n", "--state-dir=state"},
		"is not unix:///PATH":        {"--endpoint=tcp://127.0.0.1:1", "--node-id=n", "--state-dir", filepath.Join(t.TempDir(), "state")},
		"--memory-limit: must be":    {args, "--node-id=n", "--memory-limit=0"},
		"unknown flag: --privileged": {args, "--node-id=n", "--privileged"},
	} {
		result, err := rig.Run(t.Context(), []string{"WEIGHTFS_MEMORY_LIMIT=" + limit[1]}, theStage.csi, given...)
		if err != nil || result.Code != 2 || !strings.Contains(result.Stderr, want) {
			t.Errorf("%q: %+v, %v, want %q", given, result, err, want)
		}
	}
}

// TestConsumerWaits runs the example's init container as its pod would: it ends
// once the mount is there and answers, and not before.
func TestConsumerWaits(t *testing.T) {
	_, rest, _ := strings.Cut(manifests(t)["daemonset-consumer.yaml"], "- |\n")
	script, _, _ := strings.Cut(rest, "\n      resources:")
	if !strings.Contains(script, "fuse.weightfs") {
		t.Fatalf("no script was found: %q", script)
	}
	dir, err := os.MkdirTemp(theStage.base, "w")
	noError(t, err)
	noError(t, os.Chmod(dir, 0o755)) // for nobody
	mountpoint := filepath.Join(dir, "models")
	noError(t, os.Mkdir(mountpoint, 0o755))
	script = strings.ReplaceAll(script, "/weightfs/models", mountpoint)
	waiting, err := rig.StartProcess(exec.Command("unshare", "--mount", "--propagation", "slave", "--", "setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", script))
	noError(t, err)
	t.Cleanup(func() { noError(t, waiting.Kill()) })
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err = waiting.AwaitOutput(ctx, regexp.MustCompile(`(waiting for weightfs.*\n){2}`))
	noError(t, err)
	theStage.MountFor(t, rig.MountOptions{Source: "s3://" + bucket, Dir: mountpoint, Args: []string{"--allow-other", "--memory-limit=64Mi"}, Env: theStage.Server.Env()})
	select {
	case <-waiting.Done():
	case <-ctx.Done():
		t.Fatal("it still waits")
	}
	if code := waiting.Wait(); code != 0 {
		t.Errorf("it ended with %d: %s", code, waiting.Output())
	}
}

// TestMountpointMade runs the DaemonSet's init container: it makes the folder, and
// leaves a mount that is there alone, dead or alive.
func TestMountpointMade(t *testing.T) {
	match := regexp.MustCompile(`(?m)^\s+- (mkdir -p /weightfs/models .*\n?(?:\s+\S.*mountinfo)?)$`).FindStringSubmatch(manifests(t)["daemonset"])
	if match == nil {
		t.Fatal("no script was found")
	}
	dir, err := os.MkdirTemp(theStage.base, "m")
	noError(t, err)
	mountpoint := filepath.Join(dir, "models")
	script := strings.ReplaceAll(strings.Join(strings.Fields(match[1]), " "), "/weightfs/models", mountpoint)
	rig.Succeed(t, nil, "sh", "-c", script)
	m, err := theStage.Mount(t.Context(), rig.MountOptions{Source: "s3://" + bucket, Dir: mountpoint, Args: []string{"--memory-limit=64Mi"}, Env: theStage.Server.Env()})
	noError(t, err)
	rig.Succeed(t, nil, "sh", "-c", script)
	noError(t, m.Kill())
	rig.Succeed(t, nil, "sh", "-c", script)
	if mounted, err := rig.IsMounted(mountpoint); err != nil || !mounted {
		t.Errorf("the dead mount was taken away: %v", err)
	}
	noError(t, unix.Unmount(mountpoint, 0))
	noError(t, os.Remove(mountpoint))
	noError(t, os.WriteFile(mountpoint, nil, 0o600))
	if result, err := rig.Run(t.Context(), nil, "sh", "-c", script); err != nil || result.Code == 0 {
		t.Errorf("a file in its place: %+v, %v", result, err)
	}
}

// TestPolicy holds that the policy allows all that a read takes, and no more.
func TestPolicy(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deployFolder(t), "..", "aws", "read-only-policy.json"))
	noError(t, err)
	var policy struct {
		Statement []struct{ Effect, Action, Resource string }
	}
	noError(t, json.Unmarshal(text, &policy))
	allowed := map[string]string{}
	for _, s := range policy.Statement {
		if s.Effect == "Allow" {
			allowed[s.Action] = s.Resource
		}
	}
	if len(allowed) != 3 || allowed["s3:ListBucket"] == "" || allowed["s3:GetObject"] == "" || !strings.HasPrefix(allowed["kms:Decrypt"], "arn:aws:kms:") {
		t.Errorf("allowed is %v", allowed)
	}
}
