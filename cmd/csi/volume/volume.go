// Package volume says what a volume asks for: the attributes and credentials of
// a CSI request as the arguments and the environment of a mountd. A new
// attribute, or a new source of credentials, belongs here. The package touches
// no file and no process.
//
// Two volumes with the same [Spec.Digest] are served by the same mountd: same
// source, same flags, same credentials. Nothing that changes while a pod runs,
// such as a token, is part of the digest.
package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"weightfs/cmd/cli"
	"weightfs/remote"
)

// SourceAttribute is the attribute that every volume has.
const SourceAttribute = "source"

// Keys that Kubernetes adds to a volume's attributes.
const (
	reservedPrefix     = "csi.storage.k8s.io/"
	provisionerPrefix  = "storage.kubernetes.io/"
	ephemeralKey       = reservedPrefix + "ephemeral"
	podNamespaceKey    = reservedPrefix + "pod.namespace"
	serviceAccountKey  = reservedPrefix + "serviceAccount.name"
	serviceAccountJSON = reservedPrefix + "serviceAccount.tokens"
)

// Policy is what the node's administrator says of volumes.
type Policy struct {
	// MemoryLimit is the limit of a mountd whose volume has none. An inline
	// volume may ask for less, not for more: its author is a user of the
	// cluster, and the memory is the node's.
	MemoryLimit cli.Size
	// InlineNodeCredentials lets inline volumes use the node's own credentials.
	// Otherwise every user who may create a pod could read what the node may.
	InlineNodeCredentials bool
}

// Spec is what one mountd is started for.
type Spec struct {
	// Source is the canonical s3://BUCKET[/PREFIX].
	Source string
	// Flags are those of mountd, sorted. There is no secret among them.
	Flags []string
	// Credentials are where the keys come from.
	Credentials Credentials
}

// Parse reads the attributes and secrets of a request.
//
// The error names the attribute or the key of the secret, and never a value of
// a secret. It wraps [fs.ErrPermission] where the policy forbids the volume.
func Parse(attributes, secrets map[string]string, policy Policy) (Spec, error) {
	source, err := parseSource(attributes[SourceAttribute])
	if err != nil {
		return Spec{}, err
	}
	flags, err := parseFlags(attributes, policy)
	if err != nil {
		return Spec{}, err
	}
	credentials, err := parseCredentials(attributes, secrets)
	if err != nil {
		return Spec{}, err
	}
	if credentials.kind == fromNode && isInline(attributes) && !policy.InlineNodeCredentials {
		return Spec{}, fmt.Errorf("an inline volume needs the attribute %s or a secret: this node lends its credentials to no pod: %w", roleAttribute, fs.ErrPermission)
	}
	return Spec{Source: source, Flags: flags, Credentials: credentials}, nil
}

// Check reads attributes that come without secrets, as those of a StorageClass.
func Check(attributes map[string]string) error {
	_, err := parseSource(attributes[SourceAttribute])
	if err == nil {
		_, err = parseFlags(attributes, Policy{})
	}
	return err
}

// isInline tells whether the volume stands in a pod's manifest.
func isInline(attributes map[string]string) bool {
	inline, err := strconv.ParseBool(attributes[ephemeralKey])
	return err == nil && inline
}

// parseSource takes buckets alone: a folder would be one of the node.
func parseSource(text string) (string, error) {
	if text == "" {
		return "", fmt.Errorf("attribute %s is missing: want s3://BUCKET[/PREFIX]", SourceAttribute)
	}
	source, err := remote.ParseSource(text)
	if err != nil {
		return "", fmt.Errorf("attribute %s: %w", SourceAttribute, err)
	}
	if source.Bucket == "" {
		return "", fmt.Errorf("attribute %s: %q is not s3://BUCKET[/PREFIX]", SourceAttribute, text)
	}
	return source.String(), nil
}

// flagNames maps each attribute that becomes a flag of mountd to the flag. What
// would open a port, or reach the node's files, is not among them.
func flagNames() map[string]string {
	return map[string]string{
		"memoryLimit":    "memory-limit",
		"concurrency":    "concurrency",
		"partSize":       "part-size",
		"prefetch":       "prefetch",
		"metadataTtl":    "metadata-ttl",
		"readTimeout":    "read-timeout",
		"uid":            "uid",
		"gid":            "gid",
		"fileMode":       "file-mode",
		"dirMode":        "dir-mode",
		"endpointUrl":    "endpoint-url",
		"region":         "region",
		"caBundle":       "ca-bundle",
		"forcePathStyle": "force-path-style",
		"noSignRequest":  "no-sign-request",
		"requesterPays":  "requester-pays",
	}
}

// Attributes are the names of all attributes, sorted.
func Attributes() []string {
	names := append(slices.Collect(maps.Keys(flagNames())), SourceAttribute, roleAttribute, contextAttribute)
	slices.Sort(names)
	return names
}

// contextAttribute is the attribute that labels all files for SELinux.
const contextAttribute = "seLinuxContext"

// contextPattern is USER:ROLE:TYPE[:LEVEL], and nothing that ends an option.
var contextPattern = regexp.MustCompile(`^[a-z0-9_]+:[a-z0-9_]+:[a-z0-9_]+(:[a-z0-9.,:-]+)?$`)

func parseFlags(attributes map[string]string, policy Policy) ([]string, error) {
	names := flagNames()
	flags := []string{"--allow-other"}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		switch flag, known := names[name]; {
		case name == SourceAttribute, name == roleAttribute, strings.HasPrefix(name, reservedPrefix), strings.HasPrefix(name, provisionerPrefix):
		case name == contextAttribute:
			if !contextPattern.MatchString(attributes[name]) {
				return nil, fmt.Errorf("attribute %s: %q is not USER:ROLE:TYPE:LEVEL", name, attributes[name])
			}
			flags = append(flags, `--options=context="`+attributes[name]+`"`)
		case !known:
			return nil, fmt.Errorf("unknown attribute %q: known are %s", name, strings.Join(Attributes(), ", "))
		default:
			flags = append(flags, "--"+flag+"="+attributes[name])
		}
	}
	limit, err := memoryLimit(attributes, policy)
	if err != nil {
		return nil, err
	}
	if limit != "" {
		flags = append(flags, limit)
	}
	slices.Sort(flags)
	return flags, nil
}

// memoryLimit checks the volume's memory limit, or is the flag of the policy's.
func memoryLimit(attributes map[string]string, policy Policy) (flag string, err error) {
	text, given := attributes["memoryLimit"]
	if !given {
		return "--memory-limit=" + policy.MemoryLimit.String(), nil
	}
	limit, err := cli.ParseSize(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("attribute memoryLimit: %w", err)
	case limit == 0:
		return "", errors.New("attribute memoryLimit: must be above 0")
	case isInline(attributes) && limit > int64(policy.MemoryLimit):
		return "", fmt.Errorf("attribute memoryLimit: an inline volume has %s at most: %w", &policy.MemoryLimit, fs.ErrPermission)
	}
	return "", nil
}

// Digest names what the mountd of the spec can be shared by, in 32 hex digits.
// It tells nothing of a secret.
func (s Spec) Digest() string {
	h := sha256.New()
	for _, part := range append([]string{s.Source, s.Credentials.identity()}, s.Flags...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
