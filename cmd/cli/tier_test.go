package cli

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"weightfs/remote"
)

// TestTierFlags holds what flags and variables make a tier of, and that a field of
// the header, which may be a secret, is in no message.
func TestTierFlags(t *testing.T) {
	const secret = "SECRETTOKEN"
	for name, c := range map[string]struct {
		args, environ []string
		want          string // the instances, or a part of the error
	}{
		"none":          {nil, nil, ""},
		"two":           {[]string{"--cache-url", "http://a:81,http://b:81"}, nil, "http://a:81 http://b:81"},
		"one by one":    {[]string{"--cache-url=http://a:81", "--cache-url=https://b"}, nil, "http://a:81 https://b"},
		"by variable":   {nil, []string{"WEIGHTFS_CACHE_URL=http://a:81, http://b:81", "WEIGHTFS_CACHE_HEADER=Authorization=Bearer " + secret}, "http://a:81 http://b:81"},
		"beats it":      {[]string{"--cache-url=http://a:81"}, []string{"WEIGHTFS_CACHE_URL=http://b:81"}, "http://a:81"},
		"no limit":      {[]string{"--cache-url=http://a", "--cache-direct-rate=0"}, nil, "http://a"},
		"not a URL":     {[]string{"--cache-url", "a:81"}, nil, "is not an http:// or https:// URL"},
		"only a header": {[]string{"--cache-header", "X-Token=" + secret}, nil, "needs --cache-url"},
		"no name":       {[]string{"--cache-url=http://a", "--cache-header", secret}, nil, "not of the form NAME=VALUE"},
		"a bad value":   {[]string{"--cache-url=http://a", "--cache-header", "X-Token=" + secret + "\n"}, nil, "the value of header X-Token"},
		"our own":       {[]string{"--cache-url=http://a", "--cache-header", "Range=bytes=0-1"}, nil, "header Range is the client's own"},
		"no such file":  {[]string{"--cache-url=http://a"}, []string{"AWS_CA_BUNDLE=/nowhere"}, "/nowhere"},
	} {
		var f TierFlags
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.Register(flags)
		env := func(name string) (string, bool) {
			for _, pair := range c.environ {
				if value, ok := strings.CutPrefix(pair, name+"="); ok {
					return value, true
				}
			}
			return "", false
		}
		if err := flags.Parse(c.args); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := BindEnvironment(flags, env); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		shared, err := f.Open(remote.S3Config{}, time.Minute, env, slog.New(slog.DiscardHandler))
		got := ""
		if err != nil {
			got = err.Error()
			if !IsUsage(err) {
				t.Errorf("%s: not wrong usage: %v", name, err)
			}
		} else if shared != nil {
			for _, in := range shared.Stats().Instances {
				got = strings.TrimSpace(got + " " + in.URL)
			}
			shared.Close()
		}
		if err == nil && got != c.want || err != nil && (c.want == "" || !strings.Contains(got, c.want)) || strings.Contains(got, secret) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if shown := flags.Lookup("cache-header").Value.String(); shown != "" {
			t.Errorf("%s: shows %q", name, shown)
		}
	}
}
