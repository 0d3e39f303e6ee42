package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// TestOthersAreKeptOut holds who may look into a mount: its owner alone, or with
// --allow-other whom modes and owner admit, as the kernel sees to.
func TestOthersAreKeptOut(t *testing.T) {
	for name, c := range map[string]struct {
		flags []string
		errno string // "" where nobody may read
	}{
		"by default":                  {nil, "EACCES"},
		"--allow-other":               {[]string{"--allow-other"}, ""},
		"--allow-other, private file": {[]string{"--allow-other", "--file-mode", "600"}, "EACCES"},
		"--allow-other, private dir":  {[]string{"--allow-other", "--dir-mode", "700"}, "EACCES"},
		"--allow-other, own file":     {[]string{"--allow-other", "--file-mode", "400", "--uid", "65534"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := mountUnder(t, nil, "s3://"+bucket, append(c.flags, "--memory-limit", "32Mi")...)
			o := readFile(t, "sequential", filepath.Join(m.Dir, object), asNobody()...)
			if c.errno == "" && !o.intact() || c.errno != "" && (len(o.Failures) != 1 || o.errno() != c.errno) {
				t.Errorf("nobody got: %v", o)
			}
		})
	}
}

// TestMountIsConfined holds that no device and no set-user-ID bit of a bucket
// counts, and that nothing can be written.
func TestMountIsConfined(t *testing.T) {
	m := mountBucket(t)
	options := strings.TrimSpace(succeed(t, "findmnt", "-n", "-o", "VFS-OPTIONS,FS-OPTIONS", m.Dir))
	for _, want := range []string{"ro", "nosuid", "nodev", "default_permissions"} {
		if !regexp.MustCompile(`\b` + want + `\b`).MatchString(options) {
			t.Errorf("%q lacks %s", options, want)
		}
	}
}

// TestCapabilities holds that a mountd of root's keeps few of root's rights, in
// each of its threads.
func TestCapabilities(t *testing.T) {
	const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_NET_BIND_SERVICE
	m := mountBucket(t)
	succeed(t, "cat", filepath.Join(m.Dir, object))
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", m.PID()))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	var all uint64
	for _, task := range tasks {
		status := readProc(t, m, "task/"+filepath.Base(task)+"/status")
		sets := regexp.MustCompile(`Cap(?:Inh|Prm|Eff):\s*([0-9a-f]+)`).FindAllStringSubmatch(status, -1)
		if len(sets) != 3 {
			t.Fatalf("%d sets of capabilities in %q", len(sets), status)
		}
		for _, set := range sets {
			bits, err := strconv.ParseUint(set[1], 16, 64)
			noError(t, err)
			all |= bits
		}
	}
	t.Logf("%x in %d threads", all, len(tasks))
	if all&^needed != 0 {
		t.Errorf("it has the capabilities %x, and needs no more than %x", all, needed)
	}
}

// place is a text that others may see, and a word of ours that is in it: so it was
// looked at, and not an empty one in its stead.
type place struct{ name, text, has string }

// checkSecrets looks for secrets in places.
func checkSecrets(t *testing.T, places []place, secrets ...string) {
	t.Helper()
	for _, p := range places {
		if !strings.Contains(p.text, p.has) {
			t.Errorf("%s does not have %q: %q", p.name, p.has, p.text)
		}
		for _, secret := range secrets {
			if strings.Contains(p.text, secret) {
				t.Errorf("%s has %q: %q", p.name, secret, p.text)
			}
		}
	}
}

// placesOf are those of a mountd that logs all and serves metrics and the page.
func placesOf(t *testing.T, m *rig.Mount) []place {
	t.Helper()
	_, metrics := ask(t, "GET", metricsAddress(t, m), "/metrics")
	_, report := ask(t, "GET", metricsAddress(t, m), "/api/report")
	return []place{
		{"the log", m.Output(), "s3://" + bucket},
		{"status", succeed(t, theStage.Mountd, "status", "--json", m.Dir), "s3://" + bucket},
		{"the metrics", metrics, "store_gets_total"},
		{"the report", report, "s3://" + bucket},
		{"the command line", readProc(t, m, "cmdline"), "s3://" + bucket},
		{"the mounts", readProc(t, m, "mountinfo"), "s3://" + bucket},
	}
}

// refusals are what both programs say where env does not let them in, which
// names why.
func refusals(t *testing.T, env []string, why string) []place {
	t.Helper()
	says := func(program string, args ...string) string {
		result := runChild(t, env, program, append(args, "--log-level", "debug")...)
		if result.Code != 1 {
			t.Errorf("%s ended with %d", program, result.Code)
		}
		return result.Stdout + result.Stderr
	}
	return []place{
		{"a refusal", says(theStage.Mountd, "s3://"+bucket, t.TempDir()), why},
		{"gpuload's refusal", says(theStage.Gpuload, "load", "--device", "cpu", "s3://"+bucket), why},
	}
}

// gpuloadLog is what it says where env lets it in.
func gpuloadLog(t *testing.T, env []string) place {
	t.Helper()
	result := runChild(t, env, theStage.Gpuload, "load", "--log-level", "debug", "--device", "cpu", "s3://"+bucket+"/"+object)
	return place{"gpuload's log", fmt.Sprint(result), object}
}

// TestSecretsStaySecret looks for the credentials in whatever mountd and gpuload
// show of themselves while all goes well, and while all goes wrong.
func TestSecretsStaySecret(t *testing.T) {
	server := theStage.Server
	m := mountBucket(t, "--log-level", "debug", "--http", "127.0.0.1:0")
	succeed(t, "cat", filepath.Join(m.Dir, object))
	const session = "the-session-token"
	wrong := append(server.Env(), "AWS_SECRET_ACCESS_KEY="+server.SecretKey+"x", "AWS_SESSION_TOKEN="+session)
	places := append(placesOf(t, m), refusals(t, wrong, "InvalidToken")...)
	places = append(places, gpuloadLog(t, server.Env()))
	checkSecrets(t, places, server.SecretKey, session)
}

func readProc(t *testing.T, m *rig.Mount, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", m.PID(), name))
	noError(t, err)
	return string(text)
}

// metricsAddress finds it in the log.
func metricsAddress(t *testing.T, m *rig.Mount) string {
	t.Helper()
	match := awaitLogged(t, m.Process, `url=http://(\S+)/metrics`)
	if match == nil {
		t.FailNow()
	}
	return match[1]
}

// ask makes one request, of the path as it is.
func ask(t *testing.T, method, address, path string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address, nil)
	noError(t, err)
	r.URL.Opaque = path
	response, err := (&http.Client{Timeout: childLimit}).Do(r)
	noError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	noError(t, err)
	return response.StatusCode, string(text)
}

// TestCoreDump holds that a mountd that is shot leaves no core behind, which
// would hold the credentials, where another program does.
func TestCoreDump(t *testing.T) {
	other, err := rig.StartProcess(&exec.Cmd{Path: "/bin/sleep", Args: []string{"sleep", "infinity"}, Dir: t.TempDir()})
	noError(t, err)
	m := mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket, Args: []string{"--no-keeper"}, Env: append(theStage.Server.Env(), "GOTRACEBACK=crash"),
	}, -int(syscall.SIGABRT))
	dumps := func(p *rig.Process) bool {
		limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		noError(t, unix.Prlimit(p.PID(), unix.RLIMIT_CORE, &limit, nil))
		noError(t, p.Signal(syscall.SIGABRT))
		return p.CoreDumped()
	}
	others, ours := dumps(other), dumps(m.Process)
	if !others || ours {
		t.Errorf("a core was dumped of another program: %t, and of mountd: %t", others, ours)
	}
}

// TestControlSocket holds that it is for the owner alone.
func TestControlSocket(t *testing.T) {
	m := mountBucket(t)
	measures(t, m.Dir)
	modes := succeed(t, "sh", "-c", "stat -c %a /run/weightfs; stat -c %a /run/weightfs/*.sock | sort -u")
	other := runUnder(t, append(asNobody(), "env", "XDG_RUNTIME_DIR=/run"), theStage.Mountd, "status", m.Dir)
	if modes != "700\n600\n" || other.Code != 1 || !strings.Contains(other.Stderr, "permission denied") {
		t.Errorf("modes %q, another user's status: %+v", modes, other)
	}
}

// TestMetricsEndpoint holds that it is off by default, shows metrics, the
// answers to probes, the page and its report, and nothing else, and lets no client hang it.
func TestMetricsEndpoint(t *testing.T) {
	m := mountBucket(t, "--http", "127.0.0.1:0")
	address := metricsAddress(t, m)
	for range 200 { // clients that say nothing
		conn, err := net.Dial("tcp", address)
		noError(t, err)
		t.Cleanup(func() { conn.Close() })
	}
	for request, want := range map[string]int{
		"GET /metrics": 200, "HEAD /metrics": 200, "GET /healthz": 200, "GET /readyz": 200, "POST /readyz": 405, "POST /metrics": 405, "PUT /metrics": 405, "DELETE /metrics": 405,
		"GET /": 200, "POST /": 405, "GET /api/report": 200, "POST /api/report": 405,
		"GET /nothing": 404, "GET /index.html": 404, "GET /api/": 404, "GET /debug/pprof/": 404, "GET /etc/passwd": 404, "GET /../../etc/passwd": 404, "GET /metrics/..%2f..%2fetc/passwd": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got, _ := ask(t, method, address, path); got != want {
			t.Errorf("%s: %d, want %d", request, got, want)
		}
	}
}

// TestOffByDefault holds that a mountd listens nowhere on the network, unless it
// is told to.
func TestOffByDefault(t *testing.T) {
	for want, flags := range [][]string{nil, {"--http", "127.0.0.1:0"}} {
		t.Run(fmt.Sprint(flags), func(t *testing.T) {
			m := mountBucket(t, flags...)
			if listening := listeningPorts(t, m); listening != want {
				t.Errorf("%d ports are open, want %d", listening, want)
			}
		})
	}
}

// listeningPorts is how many a mountd has.
func listeningPorts(t *testing.T, m *rig.Mount) (n int) {
	t.Helper()
	sockets := succeed(t, "sh", "-c", fmt.Sprintf("ls -l /proc/%d/fd", m.PID()))
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		for line := range strings.Lines(readProc(t, m, table)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && fields[3] == "0A" && strings.Contains(sockets, "socket:["+fields[9]+"]") { // state LISTEN
				n++
			}
		}
	}
	return n
}
