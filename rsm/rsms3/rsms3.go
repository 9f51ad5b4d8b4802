// Package rsms3 keeps an archive in a bucket of Amazon S3, or of a server that speaks its
// protocol: it is a store for package rsmarchive.
//
// Objects are written whole, in one request that replaces nothing. Requests that
// fail are tried again a few times, with growing pauses; the caller's context bounds it all.
package rsms3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"maru.example/rsm/rsmarchive"
)

// Location says where a bucket is.
type Location struct {
	// Endpoint is the server: https://host or http://host:port, without a path.
	Endpoint string
	Bucket   string
	// Prefix is put before the names of objects, as a folder: a node's own, for each node
	// has an archive of its own. It may be empty.
	Prefix string
	// Region is the bucket's; default us-east-1, which servers other than Amazon's take.
	Region string
}

// Options are the settings of a store; nil means all defaults.
type Options struct {
	// Credentials are asked for a key; default [Environment].
	Credentials *credentials.Credentials
	// Transport makes the requests; default one with limits for dialing, TLS and the
	// answer's begin.
	Transport http.RoundTripper
	// BucketInHost asks for bucket.host instead of host/bucket.
	BucketInHost bool
	// Tries is how often a request is made before its error is returned; default 4.
	Tries int
}

const (
	defaultRegion  = "us-east-1"
	defaultTries   = 4
	answerTimeout  = 30 * time.Second // until an answer begins, after a request was sent
	connectionIdle = 90 * time.Second
)

// Environment returns the key in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
// AWS_SESSION_TOKEN, else in the file that AWS_SHARED_CREDENTIALS_FILE or AWS_PROFILE
// names, by default ~/.aws/credentials.
func Environment() *credentials.Credentials {
	return credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}})
}

// Errors of a store, which others wrap.
var (
	// ErrDenied says that the server does not take the key, or does not let it do that.
	ErrDenied = errors.New("rsms3: the key is refused")
	// ErrNoBucket says that there is no such bucket.
	ErrNoBucket = errors.New("rsms3: no such bucket")
)

// Store is a bucket, or a folder of it. It is safe for concurrent use.
type Store struct {
	core minio.Core
	at   Location
}

var (
	_ rsmarchive.Store = (*Store)(nil)
	_ rsmarchive.Sizer = (*Store)(nil)
)

// New returns the store at a location. It does not ask the server anything. It refuses a
// location without form, and credentials without a key.
func New(at Location, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	o := *opts
	if o.Credentials == nil {
		o.Credentials = Environment()
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	if o.Tries <= 0 {
		o.Tries = defaultTries
	}
	if at.Region == "" {
		at.Region = defaultRegion
	}
	u, err := url.Parse(at.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("the endpoint %q of a bucket is not https://host or http://host:port", at.Endpoint)
	}
	if at.Bucket == "" {
		return nil, errors.New("the location of a bucket has no bucket's name")
	}
	key, err := o.Credentials.GetWithContext(&credentials.CredContext{Client: http.DefaultClient, Endpoint: at.Endpoint})
	if err != nil {
		return nil, fmt.Errorf("credentials of the bucket %s: %w", at.Bucket, err)
	}
	if key.AccessKeyID == "" || key.SecretAccessKey == "" {
		return nil, fmt.Errorf("no credentials for the bucket %s: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", at.Bucket)
	}
	lookup := minio.BucketLookupPath
	if o.BucketInHost {
		lookup = minio.BucketLookupDNS
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: o.Credentials, Secure: u.Scheme == "https", Region: at.Region, BucketLookup: lookup, Transport: o.Transport, MaxRetries: o.Tries,
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %s at %s: %w", at.Bucket, at.Endpoint, err)
	}
	at.Prefix = strings.Trim(at.Prefix, "/")
	return &Store{core: minio.Core{Client: client}, at: at}, nil
}

// newTransport is a transport that no silent server can hold for ever.
func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.ResponseHeaderTimeout = answerTimeout
	t.IdleConnTimeout = connectionIdle
	t.DisableCompression = true // else the bytes of an object could change on their way
	return t
}

// Put keeps an object, unless there is one of the name.
func (s *Store) Put(ctx context.Context, name string, content []byte) error {
	key := s.key(name)
	// A server that does not know the condition of the request below would replace it.
	switch _, err := s.core.StatObject(ctx, s.at.Bucket, key, minio.StatObjectOptions{}); {
	case err == nil:
		return rsmarchive.ErrExists
	case !notFound(err):
		return s.failed("stat", key, err)
	}
	o := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true, SendContentMd5: true}
	o.SetMatchETagExcept("*")
	_, err := s.core.Client.PutObject(ctx, s.at.Bucket, key, bytes.NewReader(content), int64(len(content)), o)
	if status(err) == http.StatusPreconditionFailed {
		return rsmarchive.ErrExists
	}
	return s.failed("put", key, err)
}

// Get reads of an object.
func (s *Store) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	key := s.key(name)
	var o minio.GetObjectOptions
	var err error
	if offset < 0 {
		err = o.SetRange(0, offset)
	} else {
		err = o.SetRange(offset, offset+length-1)
	}
	if err != nil || length == 0 {
		return nil, err
	}
	body, _, _, err := s.core.GetObject(ctx, s.at.Bucket, key, o)
	switch {
	case status(err) == http.StatusRequestedRangeNotSatisfiable:
		return nil, nil // it ends before that
	case notFound(err):
		return nil, fmt.Errorf("%w: %w", rsmarchive.ErrNotFound, s.failed("get", key, err))
	case err != nil:
		return nil, s.failed("get", key, err)
	}
	content, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, s.failed("get", key, err)
	}
	return content, nil
}

// List returns what is in a folder.
func (s *Store) List(ctx context.Context, folder string) ([]string, error) {
	sizes, err := s.Sizes(ctx, folder)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(sizes)), nil
}

// Sizes lists a folder with the sizes of what is in it.
func (s *Store) Sizes(ctx context.Context, folder string) (map[string]int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefix := s.key(folder) + "/"
	sizes := map[string]int64{}
	for o := range s.core.Client.ListObjects(ctx, s.at.Bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return nil, s.failed("list", prefix, o.Err)
		}
		if name := strings.TrimPrefix(o.Key, prefix); name != "" && !strings.Contains(name, "/") {
			sizes[name] = o.Size
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return sizes, nil
}

func (s *Store) key(name string) string { return path.Join(s.at.Prefix, name) }

// failed says what failed, if something did.
func (s *Store) failed(what, key string, err error) error {
	if err == nil {
		return nil
	}
	where := fmt.Sprintf("%s %s in the bucket %s at %s", what, key, s.at.Bucket, s.at.Endpoint)
	switch answer := minio.ToErrorResponse(err); {
	case answer.Code == minio.NoSuchBucket:
		return fmt.Errorf("%s: %w: %w", where, ErrNoBucket, err)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized, answer.Code == "InvalidAccessKeyId":
		return fmt.Errorf("%s: %w: %w", where, ErrDenied, err)
	}
	return fmt.Errorf("%s: %w", where, err)
}

// status returns the status that the server answered, or 0.
func status(err error) int {
	if err == nil {
		return 0
	}
	return minio.ToErrorResponse(err).StatusCode
}

// notFound says whether there is no object. That there is no bucket is another error.
func notFound(err error) bool {
	return err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey
}
