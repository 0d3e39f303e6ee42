// Command gpuload loads safetensors onto a GPU, or into host memory.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weightfs/cmd/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	a := newApp(os.Environ(), os.Stdout, os.Stderr)
	if began, err := processStart(os.DirFS("/")); err == nil {
		a.began = began
	}
	os.Exit(cli.Execute(ctx, newRootCommand(a), os.Args[1:], a.env, os.Stderr))
}

// app is the process around the commands.
type app struct {
	began   time.Time // when the process was started
	environ map[string]string
	stdout  io.Writer
	stderr  io.Writer
}

func newApp(environ []string, stdout, stderr io.Writer) *app {
	a := &app{began: time.Now(), environ: make(map[string]string, len(environ)), stdout: stdout, stderr: stderr}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		a.environ[name] = value
	}
	return a
}

// env looks a variable up, as os.LookupEnv does.
func (a *app) env(name string) (string, bool) {
	value, ok := a.environ[name]
	return value, ok
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:     "gpuload",
		Short:   "Load safetensors onto a GPU from a mount, a local folder or S3",
		Version: cli.Version(),
	}
	root.SetOut(a.stdout)
	root.AddCommand(newLoadCommand(a), newInspectCommand(a), newBenchCommand(a))
	complete(root)
	return root
}
