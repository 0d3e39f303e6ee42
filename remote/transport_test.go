package remote

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestFirewallIsNoRefusal has connect fail as a packet filter does that is
// being set up anew.
func TestFirewallIsNoRefusal(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.EACCES} {
		dials := 0
		s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
			if dials++; dials < 3 {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errno}
			}
			return answer(r, 200, nil, "<ListBucketResult/>"), nil
		})
		if _, err := s.ListPage(t.Context(), "", "", 0); errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), errno.Error()) {
			t.Errorf("%v: one attempt: %v", errno, err)
		}
		for _, err := range List(t.Context(), WithRetry(s, RetryPolicy{}), "") {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
