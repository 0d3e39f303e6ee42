package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
)

// manyTensors is how many tensors the file has that is inspected: about as many
// as the largest models of many experts.
const manyTensors = 100_000

// parseHeader is what a person would write in Python to see the same.
const parseHeader = `import json, sys
f = open(sys.argv[1], "rb")
print(len(json.loads(f.read(int.from_bytes(f.read(8), "little")))))`

// headerFile is a local file of many tensors without a byte, made the first
// time.
func (l *bench) headerFile() (path string, size int64, err error) {
	path = filepath.Join(l.Disk, "many.safetensors")
	if info, err := os.Stat(path); err == nil {
		return path, info.Size(), nil
	}
	var header bytes.Buffer
	for i := range manyTensors {
		fmt.Fprintf(&header, `,"model.layers.%d.weight":{"dtype":"BF16","shape":[0,4096],"data_offsets":[0,0]}`, i)
	}
	header.WriteByte('}')
	header.Bytes()[0] = '{'
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(header.Len())), header.Bytes()...)
	return path, int64(len(file)), os.WriteFile(path, file, 0o644)
}

// headerBy reads the header of many tensors by a program, which gets the path
// as its last argument. Its start is counted.
func headerBy(command func(l *bench) []string) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		path, size, err := l.headerFile()
		if err != nil {
			return outcome{}, err
		}
		if err := errors.Join(l.touchNow(ctx), lab.Heat(ctx, 1, path)); err != nil {
			return outcome{}, err
		}
		args := append(command(l), path)
		r, err := lab.Exec(exec.CommandContext(ctx, args[0], args[1:]...))
		took := time.Duration(r.Seconds * float64(time.Second))
		return outcome{report: workload.Report{End: took, Result: workload.Result{Bytes: size}}}, err
	}
}

func inspectJSON(l *bench) []string { return []string{l.Gpuload, "inspect", "--json"} }

func pythonJSON(l *bench) []string { return []string{l.Python, "-c", parseHeader} }
