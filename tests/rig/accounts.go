package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// AddAccount makes an account which may read and write every bucket, of a server
// with ServerOptions.Accounts.
func (s *Server) AddAccount(ctx context.Context, accessKey, secretKey string) error {
	return s.administer(ctx, "create-user", "--access", accessKey, "--secret", secretKey, "--role", "admin")
}

// RemoveAccount takes an account away: from then on its keys are refused.
func (s *Server) RemoveAccount(ctx context.Context, accessKey string) error {
	return s.administer(ctx, "delete-user", "--access", accessKey)
}

func (s *Server) administer(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"admin", "--endpoint-url", s.Endpoint, "--region", s.Region}, args...)...)
	cmd.Env = append(os.Environ(), "ADMIN_ACCESS_KEY_ID="+s.AccessKey, "ADMIN_SECRET_ACCESS_KEY="+s.SecretKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("S3 server: %s: %w: %s", args[0], err, out)
	}
	return nil
}
