package remote

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
)

// regionEndpoint answers for every bucket of the partition with the region it
// is in, whoever asks and whether or not they may read it.
const regionEndpoint = "https://s3.us-east-1.amazonaws.com"

// findRegion finds the region of a bucket when neither configuration nor an
// endpoint says it.
func findRegion(ctx context.Context, client *http.Client, bucket string) (string, error) {
	if region, ok := bucketARN(bucket); ok {
		if region == "" { // a multi-region access point is signed for all
			return endpointRegion, nil
		}
		return region, nil
	}
	return askRegion(ctx, client, regionEndpoint, bucket)
}

// askRegion reads the region header of an anonymous request for the bucket. It
// is there on a refusal too, so no permission is needed.
func askRegion(ctx context.Context, client *http.Client, endpoint, bucket string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, endpoint+"/"+url.PathEscape(bucket), nil)
	if err != nil {
		return "", fmt.Errorf("find the bucket's region: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("find the bucket's region (or set AWS_REGION): %w", transportCause(err))
	}
	resp.Body.Close()
	if region := resp.Header.Get("X-Amz-Bucket-Region"); region != "" {
		return region, nil
	}
	if resp.StatusCode == http.StatusNotFound {
		return "", fmt.Errorf("bucket does not exist: check its name: %w", fs.ErrNotExist)
	}
	return "", fmt.Errorf("find the bucket's region: HTTP %d from %s: set AWS_REGION", resp.StatusCode, endpoint)
}
