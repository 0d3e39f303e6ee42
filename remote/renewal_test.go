package remote

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// TestOneRenewalForManyRefusals has many requests that were signed with the old
// credentials be refused one after the other, while others have renewed them.
func TestOneRenewalForManyRefusals(t *testing.T) {
	const readers = 16
	var asked atomic.Int64
	var arrived sync.WaitGroup
	arrived.Add(readers)
	var turn sync.Mutex
	s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, nil)
	s.creds.cache = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: fmt.Sprintf("KEY%d", asked.Add(1)), SecretAccessKey: "SECRET"}, nil
	}))
	renewed := make(chan struct{})
	var once sync.Once
	s.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=KEY1/") {
			once.Do(func() { close(renewed) })
			return answer(r, 200, nil, "<ListBucketResult/>"), nil
		}
		arrived.Done()
		arrived.Wait()
		if !turn.TryLock() { // all but one are refused after the renewal
			<-renewed
		}
		return answer(r, 400, nil, "<Error><Code>ExpiredToken</Code></Error>"), nil
	})
	store := WithRetry(s, RetryPolicy{})
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for _, err := range List(t.Context(), store, "") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := asked.Load(); got != 2 {
		t.Errorf("the source was asked %d times", got)
	}
}
