package rig

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// insideTest has the test binary be the program that runs inside.
const insideTest = "_WEIGHTFS_TEST_INSIDE"

// A program in namespaces of its own takes along what it has started, even if the one
// outside is killed and what was started has left its session.
func TestRunInside(t *testing.T) {
	if os.Getenv(insideTest) != "" {
		beInside()
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRunInside$")
	cmd.Env = append(os.Environ(), insideTest+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	line, err := reader.ReadString('\n')
	for _, kind := range []string{"net", "pid", "mnt"} {
		if own, ownErr := os.Readlink("/proc/self/ns/" + kind); ownErr != nil || err != nil || strings.Contains(line, own) || !strings.Contains(line, kind+":[") {
			t.Errorf("inside it is %q, outside %s: %v, %v", line, own, err, ownErr)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, reader) // until nobody has the other end
		ended <- err
	}()
	Await(t, "what was started inside ends", func() bool { return len(ended) == 1 })
	if err := cmd.Wait(); err == nil {
		t.Error("it ended well")
	}
}

// beInside is the program: it starts another one, says where it is and hangs.
func beInside() {
	if code, again := RunInside("--net"); again {
		os.Exit(code)
	}
	child := exec.Command("setsid", "sleep", "infinity")
	child.Stdout = os.Stdout
	if err := child.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	net, _ := os.Readlink("/proc/self/ns/net") // an empty one is not what is expected
	pid, _ := os.Readlink("/proc/self/ns/pid")
	mnt, _ := os.Readlink("/proc/self/ns/mnt")
	fmt.Println(net, pid, mnt)
	select {}
}
