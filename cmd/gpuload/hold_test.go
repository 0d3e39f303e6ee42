package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"weightfs/cmd/cli"
)

// holding runs "gpuload load --hold --json" and returns once the report is there,
// which comes after the socket; stop ends it.
func holding(t *testing.T, socket, model string) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	report, stdout := io.Pipe()
	var stderr strings.Builder
	done := make(chan int, 1)
	go func() {
		a := newApp(nil, stdout, &stderr)
		args := []string{"load", "--device=cpu", "--json", "--hold", socket, model}
		code := cli.Execute(ctx, newRootCommand(a), args, a.env, &stderr)
		_ = stdout.Close() // never fails
		done <- code
	}()
	lines := bufio.NewReader(report)
	if _, err := lines.ReadString('\n'); err != nil {
		cancel()
		<-done
		t.Fatalf("the command ended: %v: %s", err, &stderr)
	}
	return func() int {
		cancel()
		_, _ = io.Copy(io.Discard, lines)
		return <-done
	}
}

// handles asks the holder.
func handles(t *testing.T, socket string) heldModel {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var held heldModel
	if err := json.NewDecoder(conn).Decode(&held); err != nil {
		t.Fatal(err)
	}
	return held
}

func TestHold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	stop := holding(t, socket, smallModel(t))
	held := handles(t, socket)
	again := handles(t, socket) // any number of clients
	if held.Device != "cpu" || held.PID != os.Getpid() || len(held.Tensors) != 3 || !reflect.DeepEqual(held, again) {
		t.Errorf("%+v", held)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	for _, tensor := range held.Tensors {
		if tensor.NBytes == 0 {
			if tensor.Allocation != -1 {
				t.Errorf("%+v: want no allocation", tensor)
			}
			continue
		}
		memory, err := os.ReadFile(string(held.Allocations[tensor.Allocation].Handle))
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range memory[tensor.Offset:][:tensor.NBytes] {
			if b != byte(i*7) {
				t.Fatalf("byte %d of %s is %d, want %d", i, tensor.Name, b, byte(i*7))
			}
		}
	}
	if code := stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket was left behind: %v", err)
	}
}

func TestHoldRefusesPlaces(t *testing.T) {
	dir := t.TempDir()
	file, used := filepath.Join(dir, "file"), filepath.Join(dir, "used")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", used)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "is no socket", used: "is in use", dir + "/none/s": "no such file"} {
		code, _, stderr := gpuloadCommand(t, "load", "--device=cpu", "--hold", path, smallModel(t))
		if code != 1 || !strings.Contains(stderr, want) || strings.Contains(stderr, "loading") {
			t.Errorf("%s: exit %d, %s; want %q", path, code, stderr, want)
		}
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
}

// A socket whose path is too long is refused before the model is loaded.
func TestHoldInADeepFolder(t *testing.T) {
	base := t.TempDir()
	folder := func(length int) string {
		dir := filepath.Join(base, strings.Repeat("x", length-len(base)-1))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	const longest = 85 // with "/.gpuload-4294967295/s" 107
	stop := holding(t, filepath.Join(folder(longest), "s"), smallModel(t))
	if code := stop(); code != 0 {
		t.Errorf("in the longest: exit %d", code)
	}
	code, _, stderr := gpuloadCommand(t, "load", "--device=cpu", "--hold", filepath.Join(folder(longest+1), "s"), smallModel(t))
	if code != 2 || !strings.Contains(stderr, "characters") || strings.Contains(stderr, "loading") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

func TestHoldReplacesAStaleSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	stop := holding(t, socket, smallModel(t))
	if held := handles(t, socket); len(held.Tensors) != 3 {
		t.Errorf("%+v", held)
	}
	if code := stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
}
