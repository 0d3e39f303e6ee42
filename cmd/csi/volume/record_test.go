package volume_test

import (
	"slices"
	"strings"
	"testing"

	"weightfs/cmd/csi/volume"
)

// TestRecall holds that a spec is recalled from its record and the environment of its
// mountd, such that it has the same mountd again, and that no secret is in the record.
func TestRecall(t *testing.T) {
	node := []string{"PATH=/bin", "AWS_ACCESS_KEY_ID=node", "AWS_SECRET_ACCESS_KEY=node"}
	session := secret("k")
	session["AWS_SESSION_TOKEN"] = "s-session"
	for name, spec := range map[string]volume.Spec{
		"node":    parse(t, with(map[string]string{"prefetch": "off"}), nil),
		"secret":  parse(t, with(nil), secret("k")),
		"session": parse(t, with(nil), session),
		"token":   parse(t, with(account("a", "s-token")), nil),
	} {
		environment := spec.Credentials.Environment(node, "/f")
		got, err := volume.Recall(spec.Record(), environment)
		if err != nil || got.Digest() != spec.Digest() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if again := got.Credentials.Environment(node, "/f"); !slices.Equal(again, environment) {
			t.Errorf("%s: the environment is %q, was %q", name, again, environment)
		}
		if text := string(spec.Record()); strings.Contains(text, "s-") {
			t.Errorf("%s: a secret is in %s", name, text)
		}
	}
	spec := parse(t, with(nil), secret("k"))
	if other, err := volume.Recall(spec.Record(), node); err != nil || other.Digest() == spec.Digest() {
		t.Errorf("with another's keys it is the same: %v", err)
	}
	if _, err := volume.Recall([]byte("{"), nil); err == nil {
		t.Error("half a record is one")
	}
}
