package tests

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: the programs as their users call them, by
// the commands of package testscript and by ours. A script of settings runs once
// for each way to give them, see scriptWith.
func TestScripts(t *testing.T) {
	t.Parallel()
	ways := map[string][]string{}
	for _, file := range scriptFiles(t) {
		ways["flags"] = append(ways["flags"], file)
		if strings.HasPrefix(filepath.Base(file), "settings") {
			ways["variables"] = append(ways["variables"], file)
		}
		if strings.HasPrefix(filepath.Base(file), "settings-mountd") {
			ways["options"] = append(ways["options"], file)
		}
	}
	for way, files := range ways {
		t.Run(way, func(t *testing.T) {
			testscript.Run(t, testscript.Params{Files: files, RequireUniqueNames: true,
				Setup: func(env *testscript.Env) error { return setUpScript(env, way) },
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"await": scriptAwait, "get": scriptGet, "put": scriptPut,
					"record": scriptRecord, "refuses": scriptRefuses, "requests": scriptRequests, "with": scriptWith,
				}})
		})
	}
}

func scriptFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts: %v", len(files), err)
	}
	return files
}

// TestEverySettingIsScripted holds that a script uses each flag and each variable
// that the programs' help names: a word of "with" in the program's script of
// settings is used in every way.
func TestEverySettingIsScripted(t *testing.T) {
	t.Parallel()
	flags, variables := regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`), regexp.MustCompile(`\b(?:WEIGHTFS|RUNAI)_[A-Z0-9_]+`)
	scripts := output(t, "sh", "-c", "cat testdata/script/*.txtar")
	for program, commands := range map[string][]string{"mountd": {"", "clean", "status", "upgrade"}, "gpuload": {"", "load", "inspect", "bench"}} {
		settings := strings.Join(regexp.MustCompile(`(?m)^with .*`).FindAllString(output(t, "cat", "testdata/script/settings-"+program+".txtar"), -1), " ")
		help := ""
		for _, command := range commands {
			help += output(t, filepath.Join(filepath.Dir(theStage.Mountd), program), append(strings.Fields(command), "--help")...)
		}
		found := flags.FindAllStringSubmatch(help, -1)
		for _, flag := range found {
			name := strings.Replace(flag[1], "options", "o", 1) // which nobody writes in full
			line := regexp.MustCompile(`(?m)^.*\b` + program + ` .*-` + name + `\b`)
			if !strings.Contains(settings, " "+name+"=") && !line.MatchString(scripts) {
				t.Errorf("no script uses %s --%s", program, name)
			}
		}
		named := variables.FindAllString(help, -1)
		for _, variable := range named {
			name, ours := strings.CutPrefix(variable, "WEIGHTFS_")
			if setting := strings.ToLower(strings.ReplaceAll(name, "_", "-")); ours && !strings.Contains(settings, " "+setting+"=") {
				t.Errorf("no script sets %s of %s", variable, program)
			} else if !ours && !strings.Contains(scripts, variable+"=") {
				t.Errorf("no script sets %s", variable)
			}
		}
		if len(found) < 20 || len(named) < 20 {
			t.Errorf("the help of %s has %d flags and %d variables", program, len(found), len(named))
		}
	}
}

// setUpScript gives a script the programs, the server's variables, the folder of
// each model, an address for --http, and an empty folder mnt.
func setUpScript(env *testscript.Env, way string) error {
	free, err := net.Listen("tcp", "127.77.0.1:0") // where nobody else listens
	if err != nil {
		return err
	}
	env.Vars = append(env.Vars, theStage.Server.Env()...)
	env.Vars = append(env.Vars, "WAY="+way, "HTTP="+free.Addr().String(), "PYTHON="+theStage.Python, "BUCKET=s3://"+bucket,
		"PATH="+filepath.Dir(theStage.Mountd)+":"+os.Getenv("PATH"))
	for _, m := range theStage.models {
		env.Setenv(strings.ToUpper(m.name), m.dir)
	}
	env.Values[recorderKey{}] = &recorder{}
	return errors.Join(free.Close(), os.Mkdir(filepath.Join(env.WorkDir, "mnt"), 0o755))
}

// scriptWith is "with NAME=VALUE...": it makes the shell script with, which runs the
// command that follows it with these settings, by $WAY: as flags, as variables, or
// as options of -o. It is read by a shell: the kernel starts no program that a child
// which another test is about to start has open for writing.
func scriptWith(ts *testscript.TestScript, _ bool, args []string) {
	var before, after, options string
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		underscored := strings.ReplaceAll(name, "-", "_")
		before += fmt.Sprintf(" WEIGHTFS_%s='%s'", strings.ToUpper(underscored), value)
		after += " '--" + arg + "'"
		options += "," + underscored
		if value != "true" {
			options += "=" + value
		}
	}
	line := map[string]string{
		"flags": `exec "$@"` + after, "variables": "exec env" + before + ` "$@"`, "options": `exec "$@" -o '` + strings.TrimPrefix(options, ",") + "'",
	}[ts.Getenv("WAY")]
	ts.Check(os.WriteFile(ts.MkAbs("with"), []byte(line+"\n"), 0o644))
}

// scriptAwait is "await PROGRAM ARG...": again and again until it succeeds, unless
// what runs in the background ends.
func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(childLimit); ts.Exec(args[0], args[1:]...) != nil; time.Sleep(10 * time.Millisecond) {
		ended := func(c *exec.Cmd) bool { return c.Process.Signal(syscall.Signal(0)) != nil }
		if time.Now().After(end) || slices.ContainsFunc(ts.BackgroundCmds(), ended) {
			ts.Fatalf("it does not succeed")
		}
	}
}

// scriptGet is "[!] get URL".
func scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	answer, err := http.Get(args[0])
	ts.Check(err)
	defer answer.Body.Close()
	if (answer.StatusCode != http.StatusOK) != neg {
		ts.Fatalf("%s", answer.Status)
	}
	_, err = io.Copy(ts.Stdout(), answer.Body)
	ts.Check(err)
}

// scriptRefuses is "refuses CODE PROGRAM ARG...": it ends with this code, before it
// hangs, and one line of cause on standard error, and prints nothing.
func scriptRefuses(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](ts.Exec("timeout", append([]string{"120"}, args[1:]...)...)); ok {
		code = exit.ExitCode()
	}
	// No causes: gpuload's first line and its progress, the log, the hint at --help.
	other := regexp.MustCompile(`^(gpuload: loading |gpuload: +[0-9]+%|time=|Try ')`)
	causes := slices.DeleteFunc(slices.Collect(strings.Lines(ts.ReadFile("stderr"))), other.MatchString)
	if strconv.Itoa(code) != args[0] || len(causes) != 1 || ts.ReadFile("stdout") != "" {
		ts.Fatalf("exit %d, causes %q", code, causes)
	}
}

// scriptPut is "put KEY FILE", into the bucket of the models; of a folder, whose
// objects stay, "put KEY FOLDER".
func scriptPut(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	if info, err := os.Stat(ts.MkAbs(args[1])); err == nil && info.IsDir() {
		ts.Check(theStage.Server.PutDir(ctx, bucket, args[0]+"/", ts.MkAbs(args[1])))
		return
	}
	ts.Check(theStage.Server.Put(ctx, bucket, args[0], strings.NewReader(ts.ReadFile(args[1]))))
	ts.Defer(func() { ts.Check(theStage.Server.Delete(ctx, bucket, args[0])) })
}

// scriptRecord is "record [silent]": from here on a recorder stands before the
// server, and $RECORDER is its address. One that is silent does not answer GETs of
// a range. $TLS is the address of the same with a certificate, which is its own
// authority: it is in ca.pem, and its key in key.pem.
func scriptRecord(ts *testscript.TestScript, _ bool, args []string) {
	server, err := url.Parse(theStage.Server.Endpoint)
	ts.Check(err)
	r := ts.Value(recorderKey{}).(*recorder)
	r.silent = slices.Contains(args, "silent")
	r.forward = &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", server.Host }}
	plain, secure := httptest.NewServer(r), httptest.NewTLSServer(r)
	ts.Defer(plain.Close)
	ts.Defer(secure.Close)
	ts.Setenv("AWS_ENDPOINT_URL", plain.URL)
	ts.Setenv("RECORDER", plain.URL)
	ts.Setenv("TLS", secure.URL)
	key, err := x509.MarshalPKCS8PrivateKey(secure.TLS.Certificates[0].PrivateKey)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(block), 0o644))
	}
}

// scriptRequests is "requests": what the recorder was asked since the last time.
func scriptRequests(ts *testscript.TestScript, _ bool, _ []string) {
	r := ts.Value(recorderKey{}).(*recorder)
	r.mu.Lock()
	defer r.mu.Unlock()
	io.WriteString(ts.Stdout(), strings.ReplaceAll(r.heads.String(), "\r", ""))
	r.heads.Reset()
}

// recorderKey finds the recorder of a script.
type recorderKey struct{}

// recorder keeps the heads of the requests that it forwards.
type recorder struct {
	forward http.Handler
	silent  bool

	mu    sync.Mutex
	heads bytes.Buffer // guarded by mu
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	fmt.Fprintf(&r.heads, "%s %s %s\n", req.Method, req.Host, req.URL)
	var first, last int64
	if n, _ := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-%d", &first, &last); n == 2 {
		fmt.Fprintf(&r.heads, "Bytes: %d\n", last-first+1)
	}
	req.Header.Write(&r.heads)
	r.mu.Unlock()
	if r.silent && req.Header.Get("Range") != "" {
		<-req.Context().Done()
		return
	}
	r.forward.ServeHTTP(w, req)
}
