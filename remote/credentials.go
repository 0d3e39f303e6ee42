package remote

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
)

// identity gives the credentials that requests are signed with, and errors
// that can be shown. It is safe for concurrent use.
type identity struct {
	cache *aws.CredentialsCache

	mu      sync.Mutex
	current signer // guarded by mu; of what the cache gave last; zero where that was refused
}

// signer tells credentials apart without being one. The zero value is unknown.
type signer [sha256.Size]byte

func newSigner(accessKey, token string) signer {
	return sha256.Sum256([]byte(accessKey + "\n" + token))
}

// signerOf is who signed a request.
func signerOf(r *http.Request) signer {
	if r == nil {
		return signer{}
	}
	_, scope, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if !ok {
		return signer{}
	}
	key, _, _ := strings.Cut(scope, "/")
	return newSigner(key, r.Header.Get("X-Amz-Security-Token"))
}

// Retrieve implements [aws.CredentialsProvider].
func (id *identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := id.cache.Retrieve(ctx)
	if err == nil {
		id.mu.Lock()
		id.current = newSigner(creds.AccessKeyID, creds.SessionToken)
		id.mu.Unlock()
	}
	err = showable(ctx, err)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", errNoCredentials, err)
	}
	return creds, err
}

// errNoCredentials says what a request waited for that has ended without being sent.
var errNoCredentials = errors.New("no credentials yet")

// renew makes the next request ask the credential chain anew, if refused are
// the credentials of now: hundreds of requests meet their end at once, and the
// last of them is answered when others have renewed them.
func (id *identity) renew(refused signer) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if refused != (signer{}) && refused != id.current {
		return
	}
	id.current = signer{}
	id.cache.Invalidate()
}

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

// sharedFile begins the source of keys that are written in a shared file.
const sharedFile = "SharedConfigCredentials"

// reloading reads the shared files each time that it is asked: the SDK reads
// such keys once, and who renews them rewrites the file.
func reloading(cfg S3Config) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		ac, err := loadAWS(ctx, cfg)
		if err != nil {
			return aws.Credentials{}, err
		}
		return ac.Credentials.Retrieve(ctx)
	})
}
