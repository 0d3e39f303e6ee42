package volume

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weightfs/cmd/cli"
)

// roleAttribute is the attribute that names the role which a service account's
// token is exchanged for.
const roleAttribute = "roleArn"

// audience is whom the token is for.
const audience = "sts.amazonaws.com"

// kind is where credentials come from.
type kind int

const (
	fromNode   kind = iota // whatever the driver itself has
	fromSecret             // keys in a Kubernetes secret
	fromToken              // a service account's token
)

// Credentials are where the keys of a mountd come from.
type Credentials struct {
	kind  kind
	keys  map[string]string // of a secret, by the name of the variable
	role  string
	owner string // namespace/name of the service account
	token string
}

// secretKeys are the keys that a secret may have, which are variables too.
func secretKeys() []string {
	return []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
}

func parseCredentials(attributes, secrets map[string]string) (Credentials, error) {
	keys := maps.Clone(secrets)
	delete(keys, serviceAccountJSON)
	role, hasRole := attributes[roleAttribute]
	switch {
	case hasRole && len(keys) > 0:
		return Credentials{}, fmt.Errorf("attribute %s and a secret exclude each other", roleAttribute)
	case hasRole:
		return parseToken(role, attributes, cmp.Or(secrets[serviceAccountJSON], attributes[serviceAccountJSON]))
	case len(keys) > 0:
		return parseSecret(keys)
	}
	return Credentials{kind: fromNode}, nil
}

func parseSecret(keys map[string]string) (Credentials, error) {
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(secretKeys(), name) {
			return Credentials{}, fmt.Errorf("unknown key %q in the secret: known are %s", name, strings.Join(secretKeys(), ", "))
		}
		if strings.ContainsRune(keys[name], 0) {
			return Credentials{}, fmt.Errorf("key %s of the secret has a zero byte", name)
		}
	}
	for _, name := range secretKeys()[:2] {
		if keys[name] == "" {
			return Credentials{}, fmt.Errorf("key %s is missing in the secret", name)
		}
	}
	return Credentials{kind: fromSecret, keys: keys}, nil
}

// parseToken takes the token for our audience out of what Kubernetes passes.
func parseToken(role string, attributes map[string]string, tokens string) (Credentials, error) {
	if role == "" || strings.ContainsRune(role, 0) {
		return Credentials{}, fmt.Errorf("attribute %s is not the ARN of a role", roleAttribute)
	}
	if tokens == "" {
		return Credentials{}, fmt.Errorf("attribute %s needs a token of the pod's service account: tokenRequests of the CSIDriver must name the audience %s", roleAttribute, audience)
	}
	var byAudience map[string]struct{ Token string }
	if err := json.Unmarshal([]byte(tokens), &byAudience); err != nil {
		return Credentials{}, errors.New("the service account's tokens are not JSON") // err would show a part
	}
	token := byAudience[audience].Token
	if token == "" {
		return Credentials{}, fmt.Errorf("no token of the pod's service account is for the audience %s", audience)
	}
	namespace, name := attributes[podNamespaceKey], attributes[serviceAccountKey]
	if namespace == "" || name == "" {
		return Credentials{}, fmt.Errorf("attribute %s needs the pod's service account: podInfoOnMount of the CSIDriver must be true", roleAttribute)
	}
	return Credentials{kind: fromToken, role: role, owner: namespace + "/" + name, token: token}, nil
}

// Own tells whether the volume brings credentials, beside the node's.
func (c Credentials) Own() bool { return c.kind != fromNode }

// Token is the web identity token, which changes while a pod runs, or "".
func (c Credentials) Token() string { return c.token }

// identity tells apart whose credentials they are.
func (c Credentials) identity() string {
	switch c.kind {
	case fromSecret:
		var all strings.Builder
		for _, name := range secretKeys() {
			fmt.Fprintf(&all, "%d:%s", len(c.keys[name]), c.keys[name])
		}
		return "secret:" + all.String()
	case fromToken:
		return "role:" + c.role + " of " + c.owner
	}
	return "node"
}

// Environment is that of the mountd: what it may have of the driver's own,
// base, and the credentials. tokenFile is where the token is.
func (c Credentials) Environment(base []string, tokenFile string) []string {
	env := slices.DeleteFunc(slices.Clone(base), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return !inherited(name) || c.Own() && isCredential(name)
	})
	for _, name := range secretKeys() {
		if value := c.keys[name]; value != "" {
			env = append(env, name+"="+value)
		}
	}
	if c.kind == fromToken {
		env = append(env, "AWS_ROLE_ARN="+c.role, "AWS_WEB_IDENTITY_TOKEN_FILE="+tokenFile, "AWS_ROLE_SESSION_NAME=weightfs")
	}
	return env
}

// inherited tells whether a variable of the driver is one for its mountds: all
// but those of flags that no attribute stands for, such as WEIGHTFS_HTTP. Those of
// a shared cache have no attribute and are inherited: it is sent URLs that open the
// objects, so that the author of a volume must not choose it.
func inherited(name string) bool {
	if strings.HasPrefix(name, "WEIGHTFS_") {
		flags := append(slices.Collect(maps.Values(flagNames())), "cache-url", "cache-header", "cache-direct-rate")
		return slices.ContainsFunc(flags, func(flag string) bool { return name == cli.Variable(flag) })
	}
	return name != "NOTIFY_SOCKET"
}

// isCredential tells whether a variable of the driver would lend its
// credentials to a volume that brings some.
func isCredential(name string) bool {
	switch name {
	case "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
		"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE":
		return true
	}
	return strings.HasPrefix(name, "AWS_CONTAINER_")
}
