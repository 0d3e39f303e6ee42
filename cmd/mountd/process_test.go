package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// mainVariable has the test binary be mountd.
const mainVariable = "WEIGHTFS_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainVariable)+os.Getenv(shareVariable) != "" {
		os.Exit(run())
	}
	goleak.VerifyTestMain(m)
}

// process is a running mountd.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *bufio.Scanner
	said []string
}

// start runs mountd; files are its descriptors from 3 on. A test that leaves it
// running leaves neither it nor a mount at the last of args.
func start(t *testing.T, files []*os.File, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	// A process under the race detector waits for a second at its end.
	cmd.Env = append(os.Environ(), mainVariable+"=1", "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	cmd.ExtraFiles = files
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
			exec.Command("umount", "--lazy", args[len(args)-1]).Run()
		}
	})
	return &process{t: t, cmd: cmd, log: bufio.NewScanner(stderr)}
}

// await reads the log up to a line with text and returns that.
func (p *process) await(text string) string {
	p.t.Helper()
	for p.log.Scan() {
		p.said = append(p.said, p.log.Text())
		if strings.Contains(p.log.Text(), text) {
			return p.log.Text()
		}
	}
	p.t.Fatalf("mountd ended without %q: %s", text, strings.Join(p.said, "\n"))
	return ""
}

// exit is the exit code, once mountd has ended.
func (p *process) exit() int {
	for p.log.Scan() {
		p.said = append(p.said, p.log.Text())
	}
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// source is a folder with a file f.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMetrics(t *testing.T) {
	mnt := t.TempDir()
	p := start(t, nil, "--http", "127.0.0.1:0", source(t), mnt)
	url := regexp.MustCompile(`http://\S+`).FindString(p.await("serving metrics"))
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"weightfs_inodes 1", "# TYPE weightfs_reads_total counter", "# HELP weightfs_concurrency ",
		`weightfs_read_size_bytes_bucket{le="1.048576e+06"} `, "# TYPE weightfs_read_size_bytes histogram"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if err := exec.Command("umount", mnt).Run(); err != nil {
		t.Error(err)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit %d: %s", code, p.said)
	}
}

// Profiles are served by a flag of their own, and a client that is given one
// slowly does not keep mountd from its end.
func TestProfiles(t *testing.T) {
	mnt := t.TempDir()
	p := start(t, nil, "--http", "127.0.0.1:0", "--pprof", source(t), mnt)
	base := strings.TrimSuffix(regexp.MustCompile(`http://\S+`).FindString(p.await("serving metrics")), "/metrics")
	p.await("msg=mounted")
	client := &http.Client{}
	defer client.CloseIdleConnections()
	status := func(path string) int { // 0: cut off
		answer, err := client.Get(base + path)
		if err != nil {
			return 0
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return 0
		}
		return answer.StatusCode
	}
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 404, "/debug/vars": 404} {
		if got := status(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	taken := make(chan int)
	go func() {
		got := http.StatusServiceUnavailable
		for got == http.StatusServiceUnavailable { // the loop below is being answered
			got = status("/debug/pprof/trace?seconds=100")
		}
		taken <- got
	}()
	for status("/debug/pprof/heap") != http.StatusServiceUnavailable { // the trace has begun
		select {
		case got := <-taken:
			t.Fatalf("the trace ended with %d", got)
		default:
		}
	}
	if err := exec.Command("umount", mnt).Run(); err != nil {
		t.Error(err)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit %d: %s", code, p.said)
	}
	if got := <-taken; got != 0 {
		t.Errorf("mountd waited for the end of the trace, %d", got)
	}
}

// Whoever finds the mount answering finds its status too.
func TestStatusFromTheFirstAnswer(t *testing.T) {
	for range 10 {
		mnt := t.TempDir()
		p := start(t, nil, source(t), mnt)
		for exec.Command("test", "-e", filepath.Join(mnt, "f")).Run() != nil {
			// not yet
		}
		if _, err := findReport(os.LookupEnv, mnt); err != nil {
			t.Error(err)
		}
		if err := exec.Command("umount", mnt).Run(); err != nil {
			t.Error(err)
		}
		if code := p.exit(); code != 0 {
			t.Errorf("exit %d: %s", code, p.said)
		}
	}
}

// The second signal does not wait for open files.
func TestSecondSignalCutsOff(t *testing.T) {
	mnt := t.TempDir()
	p := start(t, nil, source(t), mnt)
	p.await("msg=mounted")
	holder := exec.Command("sh", "-c", `exec 9<"$0"; echo open; read wait`, filepath.Join(mnt, "f"))
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer stdin.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	for _, awaited := range []string{"files are open", "open files were cut off"} {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		p.await(awaited)
	}
	if code := p.exit(); code != 1 {
		t.Errorf("exit %d: %s", code, p.said)
	}
}

// A mount that somebody with the right to mount has made is served through its
// descriptor, by a daemon too.
func TestDescriptorAsMountpoint(t *testing.T) {
	for _, args := range [][]string{{"--foreground"}, {"--daemon"}} {
		t.Run(args[0], func(t *testing.T) { testDescriptor(t, args) })
	}
}

func testDescriptor(t *testing.T, args []string) {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	mnt := t.TempDir()
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())
	if err := syscall.Mount("source", mnt, "fuse.weightfs", syscall.MS_RDONLY, data); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(mnt, syscall.MNT_DETACH)
	// As descriptor 4: a daemon has another use for 3.
	p := start(t, []*os.File{os.Stderr, device}, append(args, source(t), "/dev/fd/4")...)
	device.Close()
	if args[0] == "--daemon" {
		if code := p.exit(); code != 0 {
			t.Fatalf("exit %d: %s", code, p.said)
		}
	}
	var out bytes.Buffer
	cat := exec.Command("cat", filepath.Join(mnt, "f"))
	cat.Stdout = &out
	if err := cat.Run(); err != nil || out.String() != "content" {
		t.Errorf("cat: %q, %v", &out, err)
	}
	if err := exec.Command("umount", mnt).Run(); err != nil {
		t.Error(err)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit %d: %s", code, p.said)
	}
}

// A daemon goes on from wherever it was started.
func TestDaemonWithRelativeNames(t *testing.T) {
	dir := source(t)
	base := filepath.Dir(dir)
	mnt := t.TempDir()
	p := start(t, nil, "--daemon", dir, mnt)
	if code := p.exit(); code != 0 {
		t.Fatalf("exit %d: %s", code, p.said)
	}
	if err := exec.Command("umount", mnt).Run(); err != nil {
		t.Error(err)
	}
	t.Chdir(base)
	p = start(t, nil, "--daemon", filepath.Base(dir), mnt)
	if code := p.exit(); code != 0 {
		t.Fatalf("exit %d: %s", code, p.said)
	}
	if out, err := exec.Command("cat", filepath.Join(mnt, "f")).Output(); err != nil || string(out) != "content" {
		t.Errorf("cat: %q, %v", out, err)
	}
	if err := exec.Command("umount", mnt).Run(); err != nil {
		t.Error(err)
	}
}

func TestWrongUsageOfProcess(t *testing.T) {
	for _, args := range [][]string{
		{"--daemon", "--foreground", "a", "b"}, {"--read-timeout=0s", "a", "b"},
		{"--part-size=0", "a", "b"}, {"a"}, {},
	} {
		p := start(t, nil, args...)
		if code := p.exit(); code != 2 || len(p.said) != 2 {
			t.Errorf("%v: exit %d: %q", args, code, p.said)
		}
	}
}
