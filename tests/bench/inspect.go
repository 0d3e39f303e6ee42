package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"weightfs/tests/bench/workload"
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
	path = filepath.Join(l.disk, "many.safetensors")
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
		args := append(command(l), path)
		if err := l.touchNow(ctx); err != nil {
			return outcome{}, err
		}
		if err := heat(ctx, []string{path}, true); err != nil {
			return outcome{}, err
		}
		begin := time.Since(l.began)
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return outcome{}, fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
		return outcome{report: workload.Report{Begin: begin, End: time.Since(l.began), Result: workload.Result{Bytes: size}}}, nil
	}
}

func inspectJSON(l *bench) []string { return []string{l.programs.Gpuload, "inspect", "--json"} }

func pythonJSON(l *bench) []string { return []string{l.programs.Python, "-c", parseHeader} }
