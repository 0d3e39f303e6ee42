// Command bareloop is what the loader is measured against: readers that take
// the next part, read it into page-locked memory and start its copy to the
// device, and nothing else. It knows no tensors, checks nothing, and prints one
// line of JSON.
//
//	bareloop [flags] FILE... | s3://BUCKET/KEY...
//
// Buckets are reached as the AWS variables say, by the plain client of the SDK.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/spf13/pflag"

	"weightfs/tests/bench/workload"
	"weightfs/tests/gpu/device"
	"weightfs/tests/lab"
)

func main() { lab.Main("bareloop", run) }

func run(ctx context.Context, args []string) (err error) {
	flags := pflag.NewFlagSet("bareloop", pflag.ExitOnError)
	name := flags.String("device", "cpu", "cpu or cuda:N")
	direct := flags.Bool("direct", false, "open files with O_DIRECT")
	readers := flags.Int("readers", 16, "how many read at a time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 || *readers < 1 {
		return errors.New("needed: files or objects, and at least one reader")
	}
	way := workload.Buffered
	if *direct {
		way = workload.Direct
	}
	start := time.Now()
	objects, err := openAll(ctx, flags.Args(), way)
	if err != nil {
		return err
	}
	dev, err := device.Open(*name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	opened := time.Since(start)
	result, err := load(ctx, dev, objects, *readers)
	result.Seconds, result.Phases.Context = time.Since(start).Seconds(), opened.Seconds()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
