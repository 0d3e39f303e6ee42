package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/cmd/mountd/monitor"
	weightfs "weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
)

// settings are the arguments and flags of mountd.
type settings struct {
	source     string
	mountpoint string
	parsed     remote.Source

	memoryLimit cli.Size // 0: by the machine
	concurrency concurrency
	partSize    partSize
	prefetch    mode
	share       share
	dmaUser     dmaUser
	metadataTTL ttl
	readTimeout time.Duration

	allowOther bool
	uid, gid   uint32
	fileMode   permissions
	dirMode    permissions

	s3         cli.S3Flags
	tier       cli.TierFlags
	http       monitor.HTTPConfig
	logLevel   cli.LogLevel
	daemon     bool
	foreground bool
	noKeeper   bool
	takeOver   bool
	envFile    string
	helper     helperFlags
	kernel     []string // mount options that are the kernel's
}

// newSettings returns the defaults.
func newSettings() *settings {
	return &settings{
		metadataTTL: ttl(names.DefaultTTL),
		readTimeout: prefetch.DefaultReadTimeout,
		uid:         uint32(os.Getuid()),
		gid:         uint32(os.Getgid()),
		fileMode:    weightfs.DefaultFileMode,
		dirMode:     weightfs.DefaultDirMode,
	}
}

func (s *settings) register(flags *pflag.FlagSet) {
	flags.Var(&s.memoryLimit, "memory-limit", "memory for what is fetched; 0 is the smaller of half of the memory and the cgroup's limit less 256MiB")
	flags.Var(&s.concurrency, "concurrency", "concurrent GETs, 1 to 256; auto grows while throughput grows")
	flags.Var(&s.partSize, "part-size", "most bytes of one GET; auto is 8MiB, and up to 32MiB where connections are fast")
	flags.Var(&s.prefetch, "prefetch", "what is fetched ahead: auto, sequential or off")
	flags.Var(&s.share, "share", "let processes of this host map what is fetched: auto, where huge pages can be had for it, or off")
	flags.Var(&s.dmaUser, "share-dma-uid", "`UID` of the user who may have that memory writable, which DMA to a GPU takes, beside mountd's own")
	flags.Var(&s.metadataTTL, "metadata-ttl", "how long names and attributes are remembered: a `duration`, indefinite or minimal")
	flags.DurationVar(&s.readTimeout, "read-timeout", s.readTimeout, "longest that one read or look-up waits before it fails")
	flags.BoolVar(&s.allowOther, "allow-other", false, "let other users in")
	flags.Uint32Var(&s.uid, "uid", s.uid, "owner of everything, by `id`")
	flags.Uint32Var(&s.gid, "gid", s.gid, "group of everything, by `id`")
	for _, own := range []string{"uid", "gid"} { // a text that does not depend on who reads it
		flags.Lookup(own).DefValue = "yours"
	}
	flags.Var(&s.fileMode, "file-mode", "permission bits of files, octal")
	flags.Var(&s.dirMode, "dir-mode", "permission bits of directories, octal")
	s.s3.Register(flags)
	s.tier.Register(flags)
	s.registerHTTP(flags)
	s.logLevel.Register(flags)
	flags.BoolVar(&s.daemon, "daemon", false, "return once the mount answers, and go on in the background")
	flags.BoolVar(&s.foreground, "foreground", false, "stay in the foreground, the default")
	flags.BoolVar(&s.noKeeper, "no-keeper", false, "serve by one process, whose death ends the mount: no other holds it and has the next one take over")
	flags.BoolVar(&s.takeOver, "take-over", false, "where another mountd serves SOURCE at MOUNTPOINT, serve on in its place; that one then waits for a signal to end. Not with --daemon or --no-keeper")
	flags.StringVar(&s.envFile, "env-file", "", "read variables from `FILE` as systemd's EnvironmentFile= does; they beat those of the environment")
	flags.VarP(&mountOptions{flags: flags, kernel: &s.kernel}, "options", "o", "flags as mount(8) passes them: allow_other,memory_limit=8Gi; also noexec, nosymfollow, and SELinux' context=")
	cli.Unbind(flags, "options", "daemon", "foreground", "env-file")
}

// registerHTTP adds what says where and how the mount is shown over HTTP.
func (s *settings) registerHTTP(flags *pflag.FlagSet) {
	flags.StringVar(&s.http.Address, "http", "", "serve Prometheus metrics at http://`ADDRESS`/metrics, /healthz and /readyz; off by default")
	flags.BoolVar(&s.http.Profiles, "pprof", false, "serve profiles of mountd at the address of --http too, under /debug/pprof/")
	flags.StringVar(&s.http.TokenFile, "http-token-file", "", "`FILE` with the token that --http takes for whatever names an object; without, that is shown on loopback alone")
	flags.StringVar(&s.http.CertFile, "http-cert", "", "PEM `FILE` with the certificate of --http and its chain: it speaks TLS")
	flags.StringVar(&s.http.KeyFile, "http-key", "", "PEM `FILE` with the key of --http-cert")
}

// checkHTTP says what does not fit of that.
func (s *settings) checkHTTP() error {
	switch h := s.http; {
	case (h.CertFile == "") != (h.KeyFile == ""):
		return cli.Usagef("--http-cert and --http-key go together: only one is given")
	case h.Address != "":
		return nil
	case h.Profiles:
		return cli.Usagef("--pprof needs --http, which says where")
	case h.TokenFile != "":
		return cli.Usagef("--http-token-file needs --http, which says where")
	case h.CertFile != "":
		return cli.Usagef("--http-cert needs --http, which says where")
	}
	return nil
}

// check completes the settings and says what does not fit.
func (s *settings) check() error {
	var err error
	if s.parsed, err = remote.ParseSource(s.source); err != nil {
		return cli.Usagef("%w", err)
	}
	switch {
	case s.daemon && s.foreground:
		return cli.Usagef("--daemon and --foreground exclude each other")
	case s.helper.namespace != "":
		return cli.Usagef("mount -N is not supported: run mount in that namespace, by nsenter")
	case s.readTimeout <= 0:
		return cli.Usagef("--read-timeout %v: must be above 0", s.readTimeout)
	}
	return s.checkHTTP()
}

// mountConfig is how the tree is mounted.
func (s *settings) mountConfig(logger *slog.Logger) weightfs.Config {
	return weightfs.Config{
		Source:     s.parsed.String(),
		AllowOther: s.allowOther,
		Options:    s.kernel,
		UID:        s.uid,
		GID:        s.gid,
		FileMode:   uint32(s.fileMode),
		DirMode:    uint32(s.dirMode),
		Logger:     logger,
	}
}

// partSize is the size of a GET, or 0 for auto. It implements pflag.Value.
type partSize cli.Size

func (p *partSize) Set(text string) error {
	if text == "auto" {
		*p = 0
		return nil
	}
	var size cli.Size
	if err := size.Set(text); err != nil {
		return fmt.Errorf("neither auto nor a size: %w", err)
	}
	if size == 0 {
		return errors.New("must be above 0, or auto")
	}
	*p = partSize(size)
	return nil
}

func (p *partSize) String() string {
	if *p == 0 {
		return "auto"
	}
	return (*cli.Size)(p).String()
}

func (*partSize) Type() string { return "size" }

// concurrency is a number of GETs, or 0 for auto. It implements pflag.Value.
type concurrency int

func (c *concurrency) Set(text string) error {
	if text == "auto" {
		*c = 0
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 256 {
		return fmt.Errorf("%q is neither auto nor a number from 1 to 256", text)
	}
	*c = concurrency(n)
	return nil
}

func (c *concurrency) String() string {
	if *c == 0 {
		return "auto"
	}
	return strconv.Itoa(int(*c))
}

func (c *concurrency) Type() string { return "number" }

// mode is a prefetch mode. It implements pflag.Value.
type mode prefetch.Mode

func (m *mode) Set(text string) error {
	parsed, err := prefetch.ParseMode(text)
	*m = mode(parsed)
	return err
}

func (m *mode) String() string { return prefetch.Mode(*m).String() }
func (m *mode) Type() string   { return "mode" }

// ttl is a duration, -1 for indefinite. It implements pflag.Value.
type ttl time.Duration

func (t *ttl) Set(text string) error {
	switch text {
	case "indefinite":
		*t = -1
		return nil
	case "minimal":
		*t = ttl(names.MinimalTTL)
		return nil
	}
	if seconds, err := strconv.Atoi(text); err == nil {
		text = strconv.Itoa(seconds) + "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not indefinite, minimal or a duration such as 60s", text)
	}
	*t = ttl(d)
	return nil
}

func (t *ttl) String() string {
	if *t < 0 {
		return "indefinite"
	}
	return time.Duration(*t).String()
}

func (t *ttl) Type() string { return "duration" }

// permissions are permission bits in octal. It implements pflag.Value.
type permissions uint32

func (p *permissions) Set(text string) error {
	bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || fs.FileMode(bits)&^fs.ModePerm != 0 {
		return fmt.Errorf("%q is not an octal number of permission bits, 0 to 777", text)
	}
	*p = permissions(bits)
	return nil
}

func (p *permissions) String() string { return fmt.Sprintf("%04o", uint32(*p)) }
func (p *permissions) Type() string   { return "octal" }
