// Command s3proxy makes an S3 server on this machine look like one that is far
// away or broken: see package weightfs/tests/proxy.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"weightfs/tests/proxy"
)

const usage = `Usage: s3proxy [flags] UPSTREAM

Stands before the plain HTTP S3 server at UPSTREAM (http://HOST:PORT), shapes
its responses and injects faults. Clients address objects by path.

%s
Rules are a JSON array; the first one that applies to a request is taken:
  [{"op": "GET", "key": "shard-2", "skip": 3, "count": 1, "end": "reset", "after": 65536},
   {"probability": 0.05, "status": 503, "code": "SlowDown", "retry_after": "1"},
   {"one_in": 16, "bandwidth": 1000000}]
  conditions: op (GET, LIST, HEAD, ...), key (a part of it), skip, count,
              probability, one_in (of that many connections)
  faults:     latency, status with code and retry_after, request and response
              (header fields), bandwidth, end (reset, stall, truncate, shorten)
              after so many bytes

The admin address answers:
  GET  /stats   counters               POST /reset            start counting anew
  GET  /log     the last requests      POST /rules            replace the rules
  POST /refuse  refuse connections     POST /refuse?for=5s    for a time
  POST /accept  accept them again
`

type options struct {
	listen, admin, rules string
	seed                 uint64
	s3Like               bool
	shape                proxy.Shape
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "s3proxy:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	flags := pflag.NewFlagSet("s3proxy", pflag.ExitOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "address for clients")
	flags.StringVar(&o.admin, "admin", "", "address for the admin requests (off)")
	flags.StringVar(&o.rules, "rules", "", "file of rules")
	flags.Uint64Var(&o.seed, "seed", 1, "seed for rules with a probability")
	flags.BoolVar(&o.s3Like, "s3-like", false, "30ms, 40 MB/s a connection, 500 MB/s in all")
	flags.DurationVar(&o.shape.FirstByte, "first-byte", 0, "least time to the head of a response")
	flags.Int64Var(&o.shape.PerConnection, "per-connection", 0, "bytes per second of each connection (unlimited)")
	flags.Int64Var(&o.shape.Total, "total", 0, "bytes per second in all (unlimited)")
	flags.Usage = func() { fmt.Printf(usage, flags.FlagUsages()) }
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("one UPSTREAM is needed, see --help")
	}
	if o.s3Like {
		o.shape = proxy.S3Like()
	}
	return serve(flags.Arg(0), o)
}

// serve runs the proxy until a signal ends it.
func serve(upstream string, o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p, err := proxy.New(upstream, o.listen)
	if err != nil {
		return err
	}
	defer p.Close()
	p.SetShape(o.shape)
	if o.rules != "" {
		if err := loadRules(p, o); err != nil {
			return err
		}
	}
	fmt.Println(p.Endpoint)
	if o.admin == "" {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{Addr: o.admin, Handler: newAdmin(p, o.seed), ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

func loadRules(p *proxy.Proxy, o options) error {
	data, err := os.ReadFile(o.rules)
	if err != nil {
		return err
	}
	rules, err := proxy.ParseRules(data)
	if err != nil {
		return fmt.Errorf("%s: %w", o.rules, err)
	}
	p.SetRules(o.seed, rules...)
	return nil
}
