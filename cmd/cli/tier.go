package cli

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"weightfs/remote"
	"weightfs/remote/tier"
)

// TierFlags are the flags that say where a shared cache of a bucket is.
type TierFlags struct {
	urls       words
	header     words
	directRate Size
}

// Register adds the flags to flags.
func (f *TierFlags) Register(flags *pflag.FlagSet) {
	f.urls.kind, f.header.kind, f.header.secret = "URL", "field", true
	f.directRate = tier.DefaultDirectRate
	flags.Var(&f.urls, "cache-url", "read a bucket through the shared cache at this `URL`, or these, separated by commas, the same for all nodes")
	flags.Var(&f.header, "cache-header", "header field that the shared cache is sent, as `NAME=VALUE`; may be given several times. Its variable keeps a secret out of the list of processes")
	flags.Var(&f.directRate, "cache-direct-rate", "most bytes per second that are read from the bucket itself while the shared cache fails; 0 is no limit")
}

// Open makes the tier that the parsed flags ask for, nil for none. A read waits for
// readTimeout at most; certificates are trusted as for the bucket. The caller closes
// it.
func (f *TierFlags) Open(s3 remote.S3Config, readTimeout time.Duration, env Lookup, logger *slog.Logger) (*tier.Tier, error) {
	if len(f.urls.list) == 0 {
		if len(f.header.list) > 0 {
			return nil, Usagef("--cache-header needs --cache-url, which says to whom it is sent")
		}
		return nil, nil
	}
	cfg := tier.Config{URLs: f.urls.list, Header: make(http.Header), CABundle: s3.CABundle,
		ReadTimeout: readTimeout, DirectRate: int64(f.directRate), Logger: logger}
	for _, field := range f.header.list {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return nil, Usagef("--cache-header: a field is not of the form NAME=VALUE") // it may be a secret
		}
		cfg.Header.Add(name, value)
	}
	if bundle, ok := env("AWS_CA_BUNDLE"); ok && cfg.CABundle == "" {
		cfg.CABundle = bundle
	}
	if cfg.DirectRate == 0 {
		cfg.DirectRate = -1
	}
	t, err := tier.New(cfg)
	if err != nil {
		return nil, Usagef("%w", err)
	}
	return t, nil
}

// words are the values of a flag that may be given several times. They are checked
// once all are known. It implements pflag.Value.
type words struct {
	list   []string
	kind   string
	secret bool // not shown, and not cut at commas
}

func (w *words) Set(text string) error {
	if w.secret {
		w.list = append(w.list, text)
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			w.list = append(w.list, word)
		}
	}
	return nil
}

func (w *words) String() string {
	if w.secret {
		return ""
	}
	return strings.Join(w.list, ",")
}

func (w *words) Type() string { return w.kind }
