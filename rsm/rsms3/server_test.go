//go:build s3

package rsms3

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"maru.example/internal/s3test"
)

const (
	key    = s3test.Key
	secret = s3test.Secret
	bucket = s3test.Bucket
)

// open returns a store in the bucket.
func open(t *testing.T, address, prefix string, o *Options) *Store {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	o.Credentials = credentials.NewStaticV4(key, secret, "")
	s, err := New(Location{Endpoint: "http://" + address, Bucket: bucket, Prefix: prefix}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// watched is a transport that tells of requests that got no answer.
type watched struct {
	http.RoundTripper
	failed chan struct{} // holds one
}

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if err != nil && !errors.Is(err, context.Canceled) {
		select {
		case w.failed <- struct{}{}:
		default:
		}
	}
	return resp, err
}
