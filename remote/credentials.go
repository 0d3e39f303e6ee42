package remote

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
)

// identity gives the credentials that requests are signed with, and errors
// that can be shown. It is safe for concurrent use.
type identity struct {
	cache *aws.CredentialsCache
}

// Retrieve implements [aws.CredentialsProvider].
func (id *identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := id.cache.Retrieve(ctx)
	return creds, showable(ctx, err)
}

// renew makes the next request ask the credential chain anew.
func (id *identity) renew() { id.cache.Invalidate() }

// errProcess stands for whatever a credential_process did wrong: the SDK's
// error quotes its output, and that may hold the secret.
var errProcess = errors.New("the credential_process gave no usable credentials: run it by hand to see why")

// showable is err without the output of a credential_process.
func showable(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*processcreds.ProviderError](err); !ok {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errProcess, ctx.Err())
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w (%s)", errProcess, exit.ProcessState)
	}
	return errProcess
}
