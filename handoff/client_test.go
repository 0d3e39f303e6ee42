package handoff_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"weightfs/handoff/handofftest"
)

// clientVariable has the test binary be a client of the socket that it names.
const clientVariable = "HANDOFF_TEST_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(clientVariable); socket != "" {
		if err := handofftest.RunClient(socket, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// goClient is a process with the Go client.
func goClient(socket string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), clientVariable+"="+socket)
	return cmd
}

func TestGoClient(t *testing.T) { handofftest.Run(t, goClient) }
