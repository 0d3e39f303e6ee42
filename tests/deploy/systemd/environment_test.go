package systemd

import (
	"strings"
	"testing"
)

// variables is a file of variables with all that its form has.
const variables = `# a comment
; another
TEST_AFTER_COMMENT=x
TEST_PLAIN=two words  	
  TEST_INDENTED = spaced
TEST_SINGLE='as $HOME \n it "stands" '
TEST_DOUBLE="a \"quote\", \\, \$ and \x"
TEST_LINES='first
second'
TEST_JOINED=one\
two \
 three
TEST_PARTS='a'"b"c 'd'
TEST_ESCAPED=\'a\ \b\\
TEST_INNER=it's #no comment
TEST_EMPTY=
TEST_TWICE=1
TEST_TWICE=2
AWS_CONFIG_FILE=/etc/weightfs/aws
AWS_REGION=us-east-1
AWS_EC2_METADATA_DISABLED=true`

// A file of --env-file says to mountd what it says to systemd, as the programs see
// that each of them runs.
func TestEnvFileAsSystemdReadsIt(t *testing.T) {
	m := boot(t, map[string]string{
		"etc/weightfs/env":                  variables,
		"etc/weightfs/aws":                  "[default]\ncredential_process = /etc/weightfs/keys\n",
		"etc/weightfs/keys":                 "#!/bin/sh\nenv -0 >/run/mountd.env\necho '{\"Version\": 1, \"AccessKeyId\": \"a\", \"SecretAccessKey\": \"b\"}'\n",
		"etc/systemd/system/reader.service": "[Service]\nType=oneshot\nEnvironmentFile=/etc/weightfs/env\nExecStart=/bin/sh -c 'env -0 >/run/systemd.env'\n",
	})
	m.Succeed(t, "chmod", "755", "/etc/weightfs/keys")
	m.Succeed(t, "systemctl", "start", "reader.service")
	refused := m.Run(t, "env", "-i", "/usr/local/bin/mountd", "--env-file", "/etc/weightfs/env", "--endpoint-url", "http://127.0.0.1:1", "s3://models", "/mnt")
	if refused.Code != 1 {
		t.Errorf("of a store that is not there: %+v", refused)
	}
	want, got := m.variables(t, "/run/systemd.env"), m.variables(t, "/run/mountd.env")
	if len(want) < 12 {
		t.Fatalf("systemd has %q", want)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, to systemd %q", name, got[name], value)
		}
	}
}

// variables are those of the test in a file of env -0.
func (m machine) variables(t *testing.T, file string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for variable := range strings.SplitSeq(m.Succeed(t, "cat", file), "\x00") {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "TEST_") {
			found[name] = value
		}
	}
	return found
}
