package cli

import (
	"log/slog"

	"github.com/spf13/pflag"

	"weightfs/remote"
)

// S3Flags are the flags that say how to reach a bucket.
type S3Flags struct {
	endpointURL    string
	region         string
	profile        string
	caBundle       string
	forcePathStyle bool
	noSignRequest  bool
	requesterPays  bool
}

// Register adds the flags to flags.
func (s *S3Flags) Register(flags *pflag.FlagSet) {
	flags.StringVar(&s.endpointURL, "endpoint-url", "", "`URL` of the S3 service, in place of AWS_ENDPOINT_URL")
	flags.StringVar(&s.region, "region", "", "AWS region; found from the bucket where none is given")
	flags.StringVar(&s.profile, "profile", "", "profile of the shared AWS configuration")
	flags.StringVar(&s.caBundle, "ca-bundle", "", "PEM `file` of certificates to trust, in place of AWS_CA_BUNDLE")
	flags.BoolVar(&s.forcePathStyle, "force-path-style", false, "put the bucket in the path, not in the host name")
	flags.BoolVar(&s.noSignRequest, "no-sign-request", false, "send anonymous requests")
	flags.BoolVar(&s.requesterPays, "requester-pays", false, "accept the charges of a requester-pays bucket")
}

// Config is the configuration that the parsed flags ask for, in which the S3
// variables of the Run:ai streamer count too: path-style addressing with
// RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING=0 and anonymous requests with
// RUNAI_STREAMER_S3_UNSIGNED=1, unless the command line or the flag's own variable
// says otherwise. flags is the set they were registered in. The AWS variables are
// left to remote.
func (s *S3Flags) Config(flags *pflag.FlagSet, env Lookup, logger *slog.Logger) (remote.S3Config, error) {
	pathStyle, err := streamerSwitch(env, "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "0")
	if err != nil {
		return remote.S3Config{}, err
	}
	unsigned, err := streamerSwitch(env, "RUNAI_STREAMER_S3_UNSIGNED", "1")
	if err != nil {
		return remote.S3Config{}, err
	}
	cfg := remote.S3Config{
		EndpointURL:    s.endpointURL,
		Region:         s.region,
		Profile:        s.profile,
		CABundle:       s.caBundle,
		ForcePathStyle: s.forcePathStyle,
		NoSignRequest:  s.noSignRequest,
		RequesterPays:  s.requesterPays,
		Logger:         logger,
	}
	given := func(flag string) bool {
		value, _ := env(Variable(flag))
		return flags.Changed(flag) || value != ""
	}
	if !given("force-path-style") {
		cfg.ForcePathStyle = pathStyle
	}
	if !given("no-sign-request") {
		cfg.NoSignRequest = unsigned
	}
	return cfg, nil
}

// streamerSwitch tells whether the variable name, "0" or "1" where it is set,
// has the value on.
func streamerSwitch(env Lookup, name, on string) (bool, error) {
	value, ok := env(name)
	if !ok || value == "" {
		return false, nil
	}
	if value != "0" && value != "1" {
		return false, Usagef("variable %s is %q: write 0 or 1", name, value)
	}
	return value == on, nil
}
