package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/fs"
)

// roleVariable has the test binary be a worker: "canary" names its threads and waits,
// "fail" ends with 3 before it has said anything, "refused" asks for a mount. Those of
// upgrades are in upgrade_test.go.
const roleVariable = "WEIGHTFS_KEEPER_TEST"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	code, err := play(role)
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
	}
	os.Exit(code)
}

func play(role string) (code int, err error) {
	if role == "fail" {
		return 3, nil
	}
	link, err := InheritLink(3)
	if err != nil {
		return 1, err
	}
	if strings.HasPrefix(role, "{") {
		return serve(link, role)
	}
	if role == "refused" {
		err = link.Say(SourceIsOpen, "eu-west-1")
	} else {
		err = link.Say(MountAnswers, Canaries())
	}
	if err != nil {
		return 1, err
	}
	for {
		if _, _, _, err := link.Hear(); err != nil {
			return 4, nil
		}
	}
}

// command is a worker of that role.
func command(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestExiting(t *testing.T) {
	for stat, want := range map[string]bool{
		"12 (mountd) S 1 2 3 0 -1 4194304 1":     false,
		"12 (mountd) R 1 2 3 0 -1 4194308 1":     true, // PF_EXITING
		"12 (a) S 4 4 4) Z 1 2 3 0 -1 4194304 1": true,
		"12 (a) Z 4 4 4) S 1 2 3 0 -1 4194304 1": false,
		"12 (mountd) S 1 2":                      false,
		"12 (mountd) S 1 2 3 0 -1 no 1":          false,
		"":                                       false,
	} {
		if exiting([]byte(stat)) != want {
			t.Errorf("%q: %t", stat, !want)
		}
	}
	mine, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/stat", os.Getpid()))
	if err != nil || exiting(mine) {
		t.Errorf("this process is at its end: %v", err)
	}
	if all, known := allExiting(os.Getpid()); all || !known {
		t.Errorf("all threads are: %t, %t", all, known)
	}
}

// The death of a process is seen as soon as its threads are at their end, and not
// before.
func TestDyingIsSeen(t *testing.T) {
	link, theirs, err := NewLink()
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	cmd := command("canary")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	what, threads, _, err := link.Hear()
	if err != nil || what != MountAnswers || len(strings.Fields(threads)) != 2 {
		t.Fatalf("the worker says %q %q: %v", what, threads, err)
	}
	seen := make(chan bool, 1)
	go func() { seen <- awaitDying(cmd.Process.Pid, threads) }()
	select {
	case <-seen:
		t.Fatal("it is seen to die while it lives")
	case <-time.After(50 * time.Millisecond):
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !<-seen { // which takes Linux 6.9
		t.Error("its death was not seen")
	}
	if awaitDying(cmd.Process.Pid, "no number") {
		t.Error("dying by no thread's end")
	}
}

// Messages come in order, with an attachment between them as such.
func TestLink(t *testing.T) {
	ours, file, err := NewLink()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	inherited, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	theirs, err := InheritLink(inherited)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mount, err := fs.Attach(fmt.Sprint("/dev/fd/", device), fs.Config{})
	if err == nil {
		err = mount.Keep()
	}
	if err == nil {
		err = errors.Join(ours.Say(Terminate, ""), ours.Pass(mount), ours.Say(Understood, "text"), mount.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if what, text, got, err := theirs.Hear(); what != Terminate || text != "" || got != nil || err != nil {
		t.Errorf("first: %q %q %v %v", what, text, got, err)
	}
	what, _, got, err := theirs.Hear()
	if what != 0 || got == nil || err != nil {
		t.Fatalf("second: %q %v %v", what, got, err)
	}
	if err := got.Close(); err != nil {
		t.Error(err)
	}
	if what, text, _, err := theirs.Hear(); what != Understood || text != "text" || err != nil {
		t.Errorf("third: %q %q %v", what, text, err)
	}
	if err := ours.Close(); err != nil {
		t.Error(err)
	}
	if what, _, _, err := theirs.Hear(); err == nil {
		t.Errorf("after the end: %q", what)
	}
}

// A first worker that ends, or for which nothing can be mounted, is the keeper's end.
func TestFirstWorkerFails(t *testing.T) {
	refused := errors.New("refused")
	run := func(role string) (int, error) {
		return Run(Config{
			Worker:  func(Start) *exec.Cmd { return command(role) },
			Mount:   func() (*fs.Attachment, error) { return nil, refused },
			Answers: func() error { return nil },
			Logger:  slog.New(slog.DiscardHandler),
		})
	}
	if code, err := run("fail"); code != 3 || err != nil {
		t.Errorf("one that ended with 3: %d, %v", code, err)
	}
	if code, err := run("refused"); code != 4 || !errors.Is(err, refused) {
		t.Errorf("one without a mount: %d, %v", code, err)
	}
	if code, err := Run(Config{Worker: func(Start) *exec.Cmd { return exec.Command("/nowhere") }}); code != 1 || err == nil {
		t.Errorf("one that cannot be started: %d, %v", code, err)
	}
}
