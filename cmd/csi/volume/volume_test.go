package volume_test

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"weightfs/cmd/csi/volume"
)

// policy is one that lends nothing.
var policy = volume.Policy{MemoryLimit: 1 << 30}

// with is a volume's attributes, beside a source.
func with(more map[string]string) map[string]string {
	all := map[string]string{"source": "s3://b/p"}
	maps.Copy(all, more)
	return all
}

// secret is a whole one.
func secret(key string) map[string]string {
	return map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "s-" + key}
}

// account is what kubelet says of a pod that has a token.
func account(name, token string) map[string]string {
	return map[string]string{
		"roleArn":                                  "arn:role",
		"csi.storage.k8s.io/pod.namespace":         "default",
		"csi.storage.k8s.io/serviceAccount.name":   name,
		"csi.storage.k8s.io/serviceAccount.tokens": `{"sts.amazonaws.com":{"token":"` + token + `"},"other":{"token":"x"}}`,
	}
}

// parse parses what must be right.
func parse(t *testing.T, attributes, secrets map[string]string) volume.Spec {
	t.Helper()
	spec, err := volume.Parse(attributes, secrets, policy)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestFlags(t *testing.T) {
	spec := parse(t, with(map[string]string{
		"source": "s3://b/p/", "prefetch": "off", "memoryLimit": "2Gi", "seLinuxContext": "system_u:object_r:container_file_t:s0:c1,c2",
		"csi.storage.k8s.io/pod.name": "x", "storage.kubernetes.io/csiProvisionerIdentity": "y",
	}), nil)
	want := []string{"--allow-other", "--memory-limit=2Gi", `--options=context="system_u:object_r:container_file_t:s0:c1,c2"`, "--prefetch=off"}
	if spec.Source != "s3://b/p" || !slices.Equal(spec.Flags, want) {
		t.Errorf("source %s, flags %q, want %q", spec.Source, spec.Flags, want)
	}
	if got := parse(t, with(nil), nil).Flags; !slices.Equal(got, []string{"--allow-other", "--memory-limit=1GiB"}) {
		t.Errorf("by default: %q", got)
	}
}

func TestRefused(t *testing.T) {
	inline := map[string]string{"csi.storage.k8s.io/ephemeral": "true"}
	noAccount := account("a", "t")
	delete(noAccount, "csi.storage.k8s.io/serviceAccount.name")
	otherAudience := account("a", "t")
	otherAudience["csi.storage.k8s.io/serviceAccount.tokens"] = `{"other":{"token":"t"}}`
	for name, c := range map[string]struct {
		attributes, secrets map[string]string
		forbidden           bool
		part                string
	}{
		"no source":               {attributes: map[string]string{}, part: "source is missing"},
		"folder":                  {attributes: map[string]string{"source": "/etc"}, part: "/etc"},
		"other scheme":            {attributes: map[string]string{"source": "gs://b"}, part: "gs"},
		"unknown":                 {attributes: with(map[string]string{"allowOther": "true"}), part: `"allowOther"`},
		"size":                    {attributes: with(map[string]string{"memoryLimit": "much"}), part: "memoryLimit"},
		"context":                 {attributes: with(map[string]string{"seLinuxContext": `a:b:c",allow_root`}), part: "seLinuxContext"},
		"no memory":               {attributes: with(map[string]string{"memoryLimit": "0"}), part: "above 0"},
		"inline, node":            {attributes: with(inline), forbidden: true, part: "roleArn"},
		"inline, memory":          {attributes: with(map[string]string{"csi.storage.k8s.io/ephemeral": "true", "memoryLimit": "2Gi"}), secrets: secret("k"), forbidden: true, part: "1GiB"},
		"role and secret":         {attributes: with(account("a", "t")), secrets: secret("k"), part: "exclude"},
		"role, no token":          {attributes: with(map[string]string{"roleArn": "arn:role"}), part: "tokenRequests"},
		"role, no account":        {attributes: with(noAccount), part: "podInfoOnMount"},
		"role, other audience":    {attributes: with(otherAudience), part: "sts.amazonaws.com"},
		"secret with another key": {attributes: with(nil), secrets: map[string]string{"user": "u"}, part: `"user"`},
		"secret with half":        {attributes: with(nil), secrets: map[string]string{"AWS_ACCESS_KEY_ID": "k"}, part: "AWS_SECRET_ACCESS_KEY"},
		"secret with a zero":      {attributes: with(nil), secrets: secret("k\x00"), part: "zero byte"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := volume.Parse(c.attributes, c.secrets, policy)
			if err == nil || !strings.Contains(err.Error(), c.part) || errors.Is(err, fs.ErrPermission) != c.forbidden {
				t.Errorf("got %v, want one about %q, forbidden %t", err, c.part, c.forbidden)
			}
		})
	}
	lends := volume.Policy{MemoryLimit: 1 << 30, InlineNodeCredentials: true}
	if _, err := volume.Parse(with(inline), nil, lends); err != nil {
		t.Errorf("a node that lends: %v", err)
	}
}

// TestDigest holds what shares a mountd, and what does not.
func TestDigest(t *testing.T) {
	token := parse(t, with(account("a", "t1")), nil)
	same := [][2]volume.Spec{
		{parse(t, with(nil), nil), parse(t, with(map[string]string{"source": "s3://b/p/"}), nil)},
		{parse(t, with(nil), secret("k")), parse(t, with(nil), secret("k"))},
		{token, parse(t, with(account("a", "t2")), nil)},
	}
	for i, pair := range same {
		if pair[0].Digest() != pair[1].Digest() {
			t.Errorf("pair %d has two mountds", i)
		}
	}
	different := []volume.Spec{
		token, parse(t, with(account("b", "t1")), nil), parse(t, with(nil), nil), parse(t, with(nil), secret("k")), parse(t, with(nil), secret("l")),
		parse(t, with(map[string]string{"source": "s3://b/q"}), nil), parse(t, with(map[string]string{"prefetch": "off"}), nil),
	}
	seen := map[string]int{}
	for i, spec := range different {
		if other, taken := seen[spec.Digest()]; taken {
			t.Errorf("%d and %d share a mountd", other, i)
		}
		seen[spec.Digest()] = i
	}
}

// TestEnvironment holds that a volume with credentials of its own gets none of the
// node's, and that no flag comes by a variable that no attribute stands for.
func TestEnvironment(t *testing.T) {
	base := []string{"PATH=/bin", "AWS_ACCESS_KEY_ID=node", "AWS_CONTAINER_CREDENTIALS_FULL_URI=u", "AWS_PROFILE=p", "AWS_REGION=r",
		"WEIGHTFS_REGION=w", "WEIGHTFS_CACHE_URL=u", "WEIGHTFS_HTTP=:1", "WEIGHTFS_NODE_ID=n", "NOTIFY_SOCKET=s"}
	shared := []string{"PATH=/bin", "AWS_REGION=r", "WEIGHTFS_REGION=w", "WEIGHTFS_CACHE_URL=u"}
	for name, c := range map[string]struct {
		spec volume.Spec
		more []string
	}{
		"node":   {parse(t, with(nil), nil), []string{"AWS_ACCESS_KEY_ID=node", "AWS_CONTAINER_CREDENTIALS_FULL_URI=u", "AWS_PROFILE=p"}},
		"secret": {parse(t, with(nil), secret("k")), []string{"AWS_ACCESS_KEY_ID=k", "AWS_SECRET_ACCESS_KEY=s-k"}},
		"token":  {parse(t, with(account("a", "t")), nil), []string{"AWS_ROLE_ARN=arn:role", "AWS_ROLE_SESSION_NAME=weightfs", "AWS_WEB_IDENTITY_TOKEN_FILE=/f"}},
	} {
		got := c.spec.Credentials.Environment(base, "/f")
		want := slices.Concat(shared, c.more)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
