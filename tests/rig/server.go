package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
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

// portAttempts is how often another port is tried: one that was free a moment
// ago may have been taken since.
const portAttempts = 5

// ServerOptions says how to run a server. The zero value is a plain HTTP server over
// a temporary folder.
type ServerOptions struct {
	// Dir is the folder over which the server runs: its folders are buckets. ""
	// is a temporary one, removed by Close. The file system must have extended
	// attributes.
	Dir string
	// TLS serves HTTPS with a certificate of a private authority, see
	// Server.CABundle.
	TLS bool
	// Accounts lets accounts beside the owner's come and go, see AddAccount.
	Accounts bool
	// Binary is the server's program; "" is the pinned one, see ServerBinary.
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
	// CABundle is a PEM file of the authority to trust, "" without TLS.
	CABundle string
	// Dir holds a folder for each bucket with a file for each object.
	Dir string

	client *s3.Client
	state  string // scratch folder, removed by Close
	binary string
	// accounts is the folder of the accounts, "" where there is the owner alone.
	accounts string
	proc     *Process
}

// NewServer starts a server and returns once it answers. ctx bounds the start alone.
func NewServer(ctx context.Context, opts ServerOptions) (*Server, error) {
	binary := opts.Binary
	if binary == "" {
		var err error
		if binary, err = ServerBinary(ctx); err != nil {
			return nil, fmt.Errorf("S3 server: %w", err)
		}
	}
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
	}
	if err := s.prepare(opts); err != nil {
		return nil, errors.Join(err, os.RemoveAll(state))
	}
	s.binary = binary
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(state))
	}
	return s, nil
}

// prepare makes the data folder and, where asked for, the certificates.
func (s *Server) prepare(opts ServerOptions) error {
	if s.Dir == "" {
		s.Dir = filepath.Join(s.state, "data")
		if err := os.Mkdir(s.Dir, 0o755); err != nil {
			return err
		}
	}
	if opts.Accounts {
		s.accounts = filepath.Join(s.state, "accounts")
		if err := os.Mkdir(s.accounts, 0o700); err != nil {
			return err
		}
	}
	if !opts.TLS {
		return nil
	}
	s.CABundle = filepath.Join(s.state, "ca.pem")
	return writeCertificates(s.state)
}

// start tries ports until a server on one answers to our credentials.
func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var failures []error
	for range portAttempts {
		err := s.startOnce(ctx)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("start S3 server: %w", errors.Join(failures...))
}

func (s *Server) startOnce(ctx context.Context) error {
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	s.Endpoint = "http://" + addr
	args := []string{"--port", addr, "--keep-alive", "--quiet", "--region", s.Region}
	if s.CABundle != "" {
		s.Endpoint = "https://" + addr
		args = append(args, "--cert", filepath.Join(s.state, certFile), "--key", filepath.Join(s.state, keyFile))
	}
	if s.accounts != "" {
		args = append(args, "--iam-dir", s.accounts, "--iam-cache-disable")
	}
	cmd := exec.Command(s.binary, append(args, "posix", s.Dir)...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.AccessKey, "ROOT_SECRET_ACCESS_KEY="+s.SecretKey)
	if s.client, err = s.newClient(); err != nil {
		return err
	}
	if s.proc, err = StartProcess(cmd); err != nil {
		return err
	}
	if err := s.waitReady(ctx); err != nil {
		return errors.Join(err, s.proc.Kill())
	}
	return nil
}

// waitReady returns once our server answers to our credentials, which no other
// server on the same port would.
func (s *Server) waitReady(ctx context.Context) error {
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
	return errors.Join(s.proc.Kill(), os.RemoveAll(s.state))
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

// freeAddress returns a loopback address that nobody listens on right now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	return addr, l.Close()
}
