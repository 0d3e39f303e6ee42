package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote/retry"
)

// roundTrip is a transport that goes nowhere.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer is a response of the store.
func answer(r *http.Request, status int, header map[string]string, body string) *http.Response {
	resp := &http.Response{StatusCode: status, Request: r, Header: http.Header{}, ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
	for k, v := range header {
		resp.Header.Set(k, v)
	}
	return resp
}

// newWired is a client whose requests go to wire and not to Amazon.
func newWired(t testing.TB, src Source, cfg S3Config, wire roundTrip) *S3 {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, value)
	}
	s, err := newS3(t.Context(), src, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.http.Transport = wire
	return s
}

// TestHosts holds the host of a request, and the region it is signed for,
// against the kind of bucket and of addressing.
func TestHosts(t *testing.T) {
	const account = "123456789012"
	cases := []struct {
		bucket       string
		cfg          S3Config
		host, region string
	}{
		{"plain", S3Config{Region: "eu-west-1"}, "plain.s3.eu-west-1.amazonaws.com", "eu-west-1"},
		{"plain", S3Config{Region: "eu-west-1", ForcePathStyle: true}, "s3.eu-west-1.amazonaws.com", "eu-west-1"},
		{"arn:aws:s3:us-west-2:" + account + ":accesspoint/ap", S3Config{}, "ap-" + account + ".s3-accesspoint.us-west-2.amazonaws.com", "us-west-2"},
		{"arn:aws:s3:us-west-2:" + account + ":accesspoint/ap", S3Config{Region: "eu-west-1"}, "ap-" + account + ".s3-accesspoint.us-west-2.amazonaws.com", "us-west-2"},
		{"arn:aws:s3::" + account + ":accesspoint/x.mrap", S3Config{}, "x.mrap.accesspoint.s3-global.amazonaws.com", ""},
		{"plain", S3Config{EndpointURL: "https://storage.googleapis.com"}, "plain.storage.googleapis.com", "us-east-1"},
		{"plain", S3Config{EndpointURL: "https://storage.googleapis.com", ForcePathStyle: true}, "storage.googleapis.com", "us-east-1"},
	}
	for _, c := range cases {
		var got *http.Request
		s := newWired(t, Source{Bucket: c.bucket}, c.cfg, func(r *http.Request) (*http.Response, error) {
			got = r
			return answer(r, 200, nil, "<ListBucketResult/>"), nil
		})
		if _, err := s.ListPage(t.Context(), "", "", 0); err != nil {
			t.Errorf("%s: %v", c.bucket, err)
			continue
		}
		auth := got.Header.Get("Authorization")
		if got.URL.Host != c.host || (c.region != "" && !strings.Contains(auth, "/"+c.region+"/s3/")) {
			t.Errorf("%s: host %s, want %s in %s: %s", c.bucket, got.URL.Host, c.host, c.region, auth)
		}
		if custom := c.cfg.EndpointURL != ""; custom == strings.Contains(auth, "accept-encoding") {
			t.Errorf("%s: signed headers: %s", c.bucket, auth)
		}
		if got := got.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("%s: Accept-Encoding = %q", c.bucket, got)
		}
	}
}

func TestWrongRegionNamesTheRightOne(t *testing.T) {
	for _, code := range []string{"PermanentRedirect", "AuthorizationHeaderMalformed"} {
		s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
			return answer(r, 301, map[string]string{"X-Amz-Bucket-Region": "ap-south-1"},
				"<Error><Code>"+code+"</Code><Message>elsewhere</Message></Error>"), nil
		})
		_, err := s.probe(t.Context(), "")
		for _, part := range []string{"s3://plain", "not in region eu-west-1", "AWS_REGION to ap-south-1"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("error does not say %q: %v", part, err)
			}
		}
	}
}

// TestClockSkewIsCorrected answers as S3 does to a host whose clock is wrong.
func TestClockSkewIsCorrected(t *testing.T) {
	var dates []string
	s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
		dates = append(dates, r.Header.Get("X-Amz-Date"))
		header := map[string]string{"Date": "Tue, 01 Jan 2030 00:00:00 GMT"}
		if len(dates) == 1 {
			return answer(r, 403, header, "<Error><Code>RequestTimeTooSkewed</Code></Error>"), nil
		}
		return answer(r, 200, header, "<ListBucketResult/>"), nil
	})
	for _, err := range List(t.Context(), WithRetry(s, RetryPolicy{}), "") {
		t.Error(err)
	}
	if len(dates) != 2 || !strings.HasPrefix(dates[1], "20300101T00") {
		t.Errorf("requests dated %q", dates)
	}
}

func TestEndlessListing(t *testing.T) {
	token := func(name string) string {
		return "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>" + name + "</NextContinuationToken></ListBucketResult>"
	}
	for name, bodies := range map[string][]string{
		"same token": {token("x")},
		"in turns":   {token("x"), token("y")},
		"no token":   {"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"},
	} {
		requests := 0
		s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
			requests++
			return answer(r, 200, nil, bodies[requests%len(bodies)]), nil
		})
		var last error
		for _, err := range List(t.Context(), s, "") {
			last = err
		}
		if last == nil || requests > 3 {
			t.Errorf("%s: %d requests, %v", name, requests, last)
		}
		requests = 0
		if _, err := Exists(t.Context(), s, "dir"); err == nil || requests > 3 {
			t.Errorf("%s: %d requests for one key, %v", name, requests, err)
		}
	}
}

func TestObjectWithoutETag(t *testing.T) {
	s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
		return answer(r, 200, nil, ""), nil
	})
	if _, err := s.Stat(t.Context(), "key"); err == nil || !strings.Contains(err.Error(), "ETag") {
		t.Errorf("error = %v", err)
	}
}

// One such object takes nothing from the others.
func TestListedObjectWithoutETag(t *testing.T) {
	s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
		return answer(r, 200, nil, `<ListBucketResult>
			<Contents><Key>a</Key><Size>1</Size></Contents>
			<Contents><Key>b</Key><Size>1</Size><ETag>"1"</ETag></Contents></ListBucketResult>`), nil
	})
	var keys []string
	for e, err := range List(t.Context(), s, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	if !slices.Equal(keys, []string{"b"}) || s.Hidden() != 1 {
		t.Errorf("listed %q, %d hidden", keys, s.Hidden())
	}
}

func TestAskRegion(t *testing.T) {
	region, status := "eu-central-1", 403
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || r.URL.Path != "/bucket" || r.Header.Get("Authorization") != "" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		if region != "" {
			w.Header().Set("X-Amz-Bucket-Region", region)
		}
		w.WriteHeader(status)
	}))
	defer web.Close()
	ask := func() (string, error) { return askRegion(t.Context(), web.Client(), web.URL, "bucket") }
	if got, err := ask(); got != region || err != nil {
		t.Errorf("askRegion = %q, %v", got, err)
	}
	region, status = "", 404
	if got, err := ask(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing bucket: %q, %v", got, err)
	}
	status = 400
	if got, err := ask(); err == nil || !strings.Contains(err.Error(), "HTTP 400: no region") {
		t.Errorf("no region: %q, %v", got, err)
	}
	web.Close()
	if got, err := ask(); !errors.Is(err, syscall.ECONNREFUSED) || classify(err) != retry.Transient {
		t.Errorf("no answer: %q, %v", got, err)
	}
}

// TestDataTravelsByHTTP1 offers HTTP/2.
func TestDataTravelsByHTTP1(t *testing.T) {
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto)
	}))
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	tr := newHTTPClient(0, web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs).GetTransport()
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, _ := io.ReadAll(resp.Body); string(got) != "HTTP/1.1" {
		t.Errorf("protocol %s", got)
	}
	if tr.MaxIdleConnsPerHost != defaultConnections || tr.MaxIdleConns != defaultConnections {
		t.Errorf("%d idle connections kept of a host", tr.MaxIdleConnsPerHost)
	}
}

// dialled is a dialer whose network is a list of addresses that are down.
type dialled struct {
	spreadDialer
	down  map[string]bool
	addrs []string // dialled, in order
}

func newDialled() *dialled {
	d := &dialled{down: map[string]bool{}}
	d.lookup = func(_ context.Context, host string) ([]string, error) {
		switch host {
		case "store":
			return []string{"10.0.0.1", "10.0.0.2", "fd00::1"}, nil
		case "empty":
			return nil, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	d.dial = func(_ context.Context, _, addr string) (net.Conn, error) {
		d.addrs = append(d.addrs, addr)
		if d.down[addr] {
			return nil, errors.New(addr + " is down")
		}
		return nil, nil
	}
	return d
}

// connect dials n times and returns what was dialled, sorted.
func (d *dialled) connect(t *testing.T, host string, n int) ([]string, error) {
	t.Helper()
	d.addrs = nil
	for range n {
		if _, err := d.DialContext(t.Context(), "tcp", host); err != nil {
			return d.addrs, err
		}
	}
	slices.Sort(d.addrs)
	return d.addrs, nil
}

func TestDialerSpreads(t *testing.T) {
	d := newDialled()
	got, err := d.connect(t, "store:443", 6)
	if want := []string{"10.0.0.1:443", "10.0.0.1:443", "10.0.0.2:443", "10.0.0.2:443", "[fd00::1]:443", "[fd00::1]:443"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("dialled %q, %v", got, err)
	}
	got, err = d.connect(t, "192.0.2.1:9000", 1)
	if err != nil || !slices.Equal(got, []string{"192.0.2.1:9000"}) {
		t.Errorf("an address: dialled %q, %v", got, err)
	}
	for _, host := range []string{"unknown:443", "empty:443"} {
		_, err := d.connect(t, host, 1)
		if _, ok := errors.AsType[*net.DNSError](err); !ok {
			t.Errorf("%s: %v, want a DNS error", host, err)
		}
	}
}

func TestDialerShunsWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialled()
		d.down["10.0.0.2:443"] = true
		if _, err := d.connect(t, "store:443", 3); err != nil { // meets all three
			t.Error(err)
		}
		if got, _ := d.connect(t, "store:443", 6); slices.Contains(got, "10.0.0.2:443") {
			t.Errorf("dialled an address that is down: %q", got)
		}
		time.Sleep(shunTime) // of the bubble's clock
		if got, _ := d.connect(t, "store:443", 3); !slices.Contains(got, "10.0.0.2:443") {
			t.Errorf("an address was given up for ever: %q", got)
		}
		d.down["10.0.0.1:443"], d.down["[fd00::1]:443"] = true, true
		_, err := d.connect(t, "store:443", 1)
		for addr := range d.down {
			if err == nil || !strings.Contains(err.Error(), addr+" is down") {
				t.Errorf("error does not name %s: %v", addr, err)
			}
		}
	})
}

func TestStartHints(t *testing.T) {
	answer := func(status int, code, region string) error {
		return &requestError{op: "LIST", status: status, code: code, region: region}
	}
	wire := func(err error) error { return &requestError{op: "LIST", cause: err} }
	cases := []struct {
		err  error
		want string
	}{
		{answer(404, "NoSuchBucket", ""), "does not exist"},
		{answer(403, "AccessDenied", ""), "s3:ListBucket"},
		{answer(403, "AccessDenied", "here"), "s3:ListBucket"},
		{answer(403, "InvalidAccessKeyId", ""), "not accepted"},
		{answer(400, "ExpiredToken", ""), "not accepted"},
		{answer(403, "RequestTimeTooSkewed", ""), "clock"},
		{answer(301, "", ""), "not in region here: set AWS_REGION to its region"},
		{answer(301, "PermanentRedirect", "there"), "set AWS_REGION to there"},
		{answer(400, "", "there"), "set AWS_REGION to there"},
		{wire(&net.DNSError{Name: "host", IsNotFound: true}), "host host cannot be resolved"},
		{wire(syscall.ECONNREFUSED), "nothing listens"},
		{wire(context.DeadlineExceeded), "no answer in time"},
		{wire(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}), "no answer in time"},
		{wire(retry.ErrStalled), "no answer in time"},
		{wire(&tls.CertificateVerificationError{Err: errors.New("unknown")}), "AWS_CA_BUNDLE"},
	}
	for _, c := range cases {
		if got := startHint(c.err, "here"); !strings.Contains(got, c.want) {
			t.Errorf("startHint(%v) = %q, want %q", c.err, got, c.want)
		}
	}
	if got := startHint(answer(503, "SlowDown", ""), "here"); got != "" {
		t.Errorf("a hint for what speaks for itself: %q", got)
	}
}

// FuzzListing feeds answers of any kind to the parser of listings.
func FuzzListing(f *testing.F) {
	f.Add([]byte("<ListBucketResult><Contents><Key>p/a</Key><ETag>x</ETag><Size>3</Size></Contents>" +
		"<CommonPrefixes><Prefix>p/b/</Prefix></CommonPrefixes></ListBucketResult>"))
	f.Add([]byte("<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>p/%00%2F</Key><ETag>x</ETag></Contents>" +
		"<CommonPrefixes><Prefix>/</Prefix></CommonPrefixes><CommonPrefixes/></ListBucketResult>"))
	f.Add([]byte("<ListBucketResult><CommonPrefixes><Prefix>p/b</Prefix></CommonPrefixes></ListBucketResult>"))
	f.Add([]byte("<ListBucketResult><Contents><Size>-1</Size></Contents>"))
	var body []byte
	s := newWired(f, Source{Bucket: "plain", Prefix: "p"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
		return answer(r, 200, nil, string(body)), nil
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		body = bytes.Clone(data)
		p, err := s.ListPage(t.Context(), "", "", 0)
		if err != nil {
			return
		}
		for _, e := range p.Entries {
			if nameFault(e.Key) != "" || (e.Kind == KindFile && (e.Version == "" || e.Size < 0)) {
				t.Errorf("entry %+v", e)
			}
		}
	})
}
