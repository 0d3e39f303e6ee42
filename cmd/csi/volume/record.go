package volume

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A driver that takes a mount over from another one has no request to read: it reads
// what that one wrote down of the spec, and the keys of a secret, which are in no
// file, in the environment of the mountd that has them.

// record is a spec without what is secret of it.
type record struct {
	Source string
	Flags  []string
	Kind   kind
	Role   string `json:",omitempty"`
	Owner  string `json:",omitempty"`
}

// Record is what Recall needs of the spec beside its secrets.
func (s Spec) Record() []byte {
	c := s.Credentials
	text, err := json.Marshal(record{s.Source, s.Flags, c.kind, c.role, c.owner})
	if err != nil {
		panic(err) // it has numbers and text
	}
	return text
}

// Recall is the spec of a record, with the keys of a secret from the environment of
// its mountd. It has no token: the file that mountd reads has. Whether record and
// environment belong together, and to what, is for the caller to see by the digest.
func Recall(text []byte, environment []string) (Spec, error) {
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return Spec{}, fmt.Errorf("what is recorded of a mount: %w", err)
	}
	s := Spec{Source: r.Source, Flags: r.Flags, Credentials: Credentials{kind: r.Kind, role: r.Role, owner: r.Owner}}
	if r.Kind == fromSecret {
		s.Credentials.keys = map[string]string{}
		for _, name := range secretKeys() {
			for _, variable := range environment {
				if value, ok := strings.CutPrefix(variable, name+"="); ok {
					s.Credentials.keys[name] = value
				}
			}
		}
	}
	return s, nil
}
