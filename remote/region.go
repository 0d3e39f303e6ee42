package remote

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"weightfs/remote/retry"
)

// regionEndpoint answers for every bucket of the partition with the region it
// is in, whoever asks and whether or not they may read it.
const regionEndpoint = "https://s3.us-east-1.amazonaws.com"

// findRegion finds the region of the bucket when neither configuration nor an
// endpoint says it.
func (s *S3) findRegion(ctx context.Context) (string, error) {
	if point, err := arn.Parse(s.bucket); err == nil {
		return cmp.Or(point.Region, endpointRegion), nil // a multi-region access point is signed for all
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var region string
	err := WithRetry(s, startPolicy()).retrier.Do(ctx, retry.Stat, func(ctx context.Context) (err error) {
		region, err = askRegion(ctx, s.http, regionEndpoint, s.bucket)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("find the bucket's region, or set AWS_REGION: %w", err)
	}
	return region, nil
}

// askRegion reads the region header of an anonymous request for the bucket. It
// is there on a refusal too, so no permission is needed.
func askRegion(ctx context.Context, client *http.Client, endpoint, bucket string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, endpoint+"/"+url.PathEscape(bucket), nil)
	if err != nil {
		return "", err
	}
	failed := &requestError{op: http.MethodHead, uri: s3URI(bucket, "")}
	resp, err := client.Do(req)
	if err != nil {
		failed.cause = transportCause(err)
		return "", failed
	}
	resp.Body.Close()
	if region := resp.Header.Get("X-Amz-Bucket-Region"); region != "" {
		return region, nil
	}
	failed.status = resp.StatusCode
	failed.message = "no region in the answer"
	if resp.StatusCode == http.StatusNotFound {
		failed.message, failed.sentinel = "the bucket does not exist", fs.ErrNotExist
	}
	return "", failed
}
