package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// region is the only one that the server knows.
const region = "us-east-1"

// startLimit bounds the wait for the first answer: a start takes a tenth of a
// second, on a busy machine a few.
const startLimit = 30 * time.Second

// ServerOptions says how to run a server. The zero value is a plain HTTP server over
// a temporary folder.
type ServerOptions struct {
	// Dir is the folder over which the server runs: its folders are buckets. ""
	// is a temporary one, removed by Close. The file system must have extended
	// attributes.
	Dir string
	// TLS serves HTTPS with a certificate that nobody trusts, see
	// Server.CABundle.
	TLS bool
	// Accounts lets accounts beside the owner's come and go, see AddAccount.
	Accounts bool
	// Binary is the server's program; "" is the one that make builds.
	Binary string
}

// Server is a running S3 server. Close ends it.
type Server struct {
	// Endpoint is the URL, without a trailing slash; buckets are in the path.
	Endpoint string
	// AccessKey and SecretKey are the owner's credentials.
	AccessKey, SecretKey string
	// Region is the server's.
	Region string
	// CABundle is a PEM file of the certificate to trust, "" without TLS.
	CABundle string
	// Dir holds a folder for each bucket with a file for each object.
	Dir string

	client *s3.Client
	state  string // scratch folder, removed by Close
	binary string
	port   *os.File // holds the address
	proc   *Process
}

// NewServer starts a server and returns once it answers. ctx bounds the start alone.
func NewServer(ctx context.Context, opts ServerOptions) (*Server, error) {
	state, err := os.MkdirTemp("", "s3-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		AccessKey: rand.Text(),
		SecretKey: rand.Text(),
		Region:    region,
		Dir:       opts.Dir,
		state:     state,
		binary:    opts.Binary,
	}
	if err := s.start(ctx, opts); err != nil {
		return nil, fmt.Errorf("start S3 server: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// start makes what the server needs, and runs it on a port of its own.
func (s *Server) start(ctx context.Context, opts ServerOptions) (err error) {
	if s.binary == "" {
		if s.binary, err = serverBinary(ctx); err != nil {
			return err
		}
	}
	if s.Dir == "" {
		s.Dir = filepath.Join(s.state, "data")
		if err := os.Mkdir(s.Dir, 0o755); err != nil {
			return err
		}
	}
	var addr string
	if addr, s.port, err = TakePort(Loopback()); err != nil {
		return err
	}
	s.Endpoint = "http://" + addr
	args := []string{"--port", addr, "--keep-alive", "--quiet", "--region", s.Region}
	if opts.TLS {
		if err := writeCertificate(s.state); err != nil {
			return err
		}
		s.Endpoint, s.CABundle = "https://"+addr, filepath.Join(s.state, certFile)
		args = append(args, "--cert", s.CABundle, "--key", filepath.Join(s.state, keyFile))
	}
	if opts.Accounts {
		accounts := filepath.Join(s.state, "accounts")
		if err := os.Mkdir(accounts, 0o700); err != nil {
			return err
		}
		args = append(args, "--iam-dir", accounts, "--iam-cache-disable")
	}
	if s.client, err = s.newClient(); err != nil {
		return err
	}
	cmd := exec.Command(s.binary, append(args, "posix", s.Dir)...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.AccessKey, "ROOT_SECRET_ACCESS_KEY="+s.SecretKey)
	if s.proc, err = StartProcess(cmd); err != nil {
		return err
	}
	return s.waitReady(ctx)
}

// serverBinary returns the path of the server's program, which make builds where
// it is missing (a minute, once).
func serverBinary(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, ".tools", "versitygw")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if out, err := exec.CommandContext(ctx, "make", "-C", root, path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make %s: %w: %s", path, err, out)
	}
	return path, nil
}

// waitReady returns once our server answers to our credentials, which no other
// server on the same port would.
func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := s.client.ListBuckets(ctx, &s3.ListBucketsInput{})
		if err == nil {
			return nil
		}
		select {
		case <-s.proc.Done():
			return fmt.Errorf("server at %s ended: %s", s.Endpoint, s.proc.Output())
		case <-ctx.Done():
			return fmt.Errorf("server at %s does not answer: %w", s.Endpoint, err)
		case <-tick.C:
		}
	}
}

// Close ends the server and removes what NewServer made.
func (s *Server) Close() error {
	var errs []error
	if s.client != nil {
		s.client.Options().HTTPClient.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	}
	if s.proc != nil {
		errs = append(errs, s.proc.Kill())
	}
	if s.port != nil {
		errs = append(errs, s.port.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.state))...)
}

// Env returns what a client of this server needs in its environment, as
// "KEY=VALUE", with every other AWS source of configuration switched off.
func (s *Server) Env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + s.SecretKey,
		"AWS_SESSION_TOKEN=",
		"AWS_REGION=" + s.Region,
		"AWS_DEFAULT_REGION=" + s.Region,
		"AWS_ENDPOINT_URL=" + s.Endpoint,
		"AWS_CA_BUNDLE=" + s.CABundle,
		"AWS_PROFILE=",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}
