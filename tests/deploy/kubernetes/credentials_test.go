package kubernetes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// TestCredentialsApart holds that volumes with other keys are not served by the
// same mountd, and those with the same keys are.
func TestCredentialsApart(t *testing.T) {
	noError(t, theStage.Server.AddAccount(t.Context(), "second-account", "second-secret-of-it"))
	d := startDriver(t)
	reader := startPod(t)
	volume := attributes(theStage.Server.Endpoint, nil)
	second := map[string]string{"AWS_ACCESS_KEY_ID": "second-account", "AWS_SECRET_ACCESS_KEY": "second-secret-of-it"}
	reader.checkReads(t, d.publish(t, "1", "a", volume, keys()))
	reader.checkReads(t, d.publish(t, "2", "b", volume, second))
	d.awaitMountds(t, 2)
	reader.checkReads(t, d.publish(t, "3", "c", volume, second))
	d.awaitMountds(t, 2)
	for id, pod := range map[string]string{"1": "a", "2": "b", "3": "c"} {
		d.unpublish(t, id, pod)
	}
	d.awaitMountds(t, 0)
}

// TestNodeCredentials holds that a PersistentVolume without credentials is read
// with the driver's, and that a volume with its own never is.
func TestNodeCredentials(t *testing.T) {
	d := startDriver(t, theStage.Server.Env()...)
	reader := startPod(t)
	reader.checkReads(t, d.publish(t, "node", "a", attributes(theStage.Server.Endpoint, nil), nil))
	wrong := map[string]string{"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
	_, err := d.node.NodePublishVolume(t.Context(), d.request(t, "wrong", "b", attributes(theStage.Server.Endpoint, nil), wrong))
	checkRefused(t, err, codes.FailedPrecondition, "wrong", "s3://models/llama")
	d.unpublish(t, "node", "a")
}

// TestSecretsStayHidden holds that a secret is in no command line, log or file,
// and that others cannot look into the state directory.
func TestSecretsStayHidden(t *testing.T) {
	d := startDriver(t)
	d.publish(t, "volume", "a", attributes(theStage.Server.Endpoint, nil), keys())
	bad := keys()
	bad["AWS_SECRET_ACCESS_KEY"] = "wrong-" + theStage.Server.SecretKey
	_, err := d.node.NodePublishVolume(t.Context(), d.request(t, "bad", "b", attributes(theStage.Server.Endpoint, nil), bad))
	checkRefused(t, err, codes.FailedPrecondition, "bad")
	seen := err.Error()
	for _, pid := range append(d.mountds(t), fmt.Sprint(d.PID())) {
		command, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		noError(t, err)
		seen += string(command)
	}
	noError(t, filepath.WalkDir(d.state(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() && entry.Name() == "mnt" {
			return filepath.SkipDir
		}
		info, err := entry.Info()
		noError(t, err)
		if entry.Type()&os.ModeSocket == 0 && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		if entry.Type().IsRegular() {
			text, err := os.ReadFile(path)
			noError(t, err)
			seen += path + string(text)
		}
		return nil
	}))
	d.unpublish(t, "volume", "a")
	noError(t, d.Stop(limit))
	seen += d.Output()
	if strings.Contains(seen, theStage.Server.SecretKey) {
		t.Errorf("the secret is in: %s", strings.ReplaceAll(seen, theStage.Server.SecretKey, "SECRET"))
	}
	if !strings.Contains(seen, "msg=mounted") {
		t.Errorf("what was searched has no log: %s", seen)
	}
}

// tokenService exchanges tokens for the keys of the server's owner.
type tokenService struct {
	mu     sync.Mutex
	tokens []string // that came
}

func (s *tokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.tokens = append(s.tokens, r.FormValue("RoleArn")+" "+r.FormValue("WebIdentityToken"))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken>
<Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>`, theStage.Server.AccessKey, theStage.Server.SecretKey, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

// podContext is what kubelet adds to the attributes for a pod of an account.
func podContext(account, token string) map[string]string {
	tokens, _ := json.Marshal(map[string]any{"sts.amazonaws.com": map[string]string{"token": token, "expirationTimestamp": "2030-01-01T00:00:00Z"}})
	return map[string]string{
		"roleArn":                                  "arn:aws:iam::123456789012:role/reader",
		"csi.storage.k8s.io/ephemeral":             "true",
		"csi.storage.k8s.io/pod.name":              "inference",
		"csi.storage.k8s.io/pod.namespace":         "default",
		"csi.storage.k8s.io/pod.uid":               "1",
		"csi.storage.k8s.io/serviceAccount.name":   account,
		"csi.storage.k8s.io/serviceAccount.tokens": string(tokens),
	}
}

// TestServiceAccountToken holds that an inline volume is read with the role of
// the pod's service account, that pods of one account share a mountd and those of
// two do not, and that a new token replaces the old one.
func TestServiceAccountToken(t *testing.T) {
	service := &tokenService{}
	sts := httptest.NewServer(service)
	defer sts.Close()
	d := startDriver(t, "AWS_ENDPOINT_URL_STS="+sts.URL, "AWS_ACCESS_KEY_ID=of-the-node", "AWS_SECRET_ACCESS_KEY=of-the-node")
	reader := startPod(t)
	volume := func(account, token string) map[string]string {
		return attributes(theStage.Server.Endpoint, podContext(account, token))
	}
	reader.checkReads(t, d.publish(t, "1", "a", volume("one", "token-1"), nil))
	mountd := d.mountd(t)
	d.publish(t, "1", "a", volume("one", "token-2"), nil) // kubelet, again
	d.publish(t, "2", "b", volume("one", "token-3"), nil)
	if d.mountd(t) != mountd {
		t.Error("a new token has a new mountd")
	}
	if got := d.tokens(t); len(got) != 1 || got[0] != "token-3" {
		t.Errorf("the tokens in the files are %q", got)
	}
	d.publish(t, "1", "a", volume("one", "token-4"), nil)
	if got := d.tokens(t); len(got) != 1 || got[0] != "token-4" {
		t.Errorf("after another call the tokens are %q", got)
	}
	reader.checkReads(t, d.publish(t, "3", "c", volume("two", "token-5"), nil))
	d.awaitMountds(t, 2)
	service.mu.Lock()
	came := strings.Join(service.tokens, ", ")
	service.mu.Unlock()
	for _, want := range []string{"arn:aws:iam::123456789012:role/reader token-1", "role/reader token-5"} {
		if !strings.Contains(came, want) {
			t.Errorf("the token service got %q, not %q", came, want)
		}
	}
	for id, pod := range map[string]string{"1": "a", "2": "b", "3": "c"} {
		d.unpublish(t, id, pod)
	}
	d.awaitMountds(t, 0)
}

// tokens are the contents of the token files, which only root may read.
func (d *driver) tokens(t *testing.T) (tokens []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.state(), "*", "token"))
	noError(t, err)
	for _, file := range files {
		info, err := os.Stat(file)
		noError(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", file, info.Mode())
		}
		text, err := os.ReadFile(file)
		noError(t, err)
		tokens = append(tokens, string(text))
	}
	return tokens
}
