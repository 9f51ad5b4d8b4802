package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsms3"
	"maru.example/vfs"
)

// helpLocation says, in the help of commands, what an archive's place is.
const helpLocation = `
A place is a directory, or s3://BUCKET/PREFIX?endpoint=URL&region=NAME. Without them the
endpoint is AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else Amazon's of the region, and the
region is AWS_REGION or AWS_DEFAULT_REGION, else us-east-1. The key is in AWS_ACCESS_KEY_ID
and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN), or in the file ~/.aws/credentials.
`

const hintLocation = "it is a directory, or s3://BUCKET/PREFIX, perhaps with ?endpoint=https://HOST&region=NAME"

// hintPlace says what to do about a place that could not be used.
func hintPlace(err error) string {
	_, network := errors.AsType[net.Error](err)
	_, refused := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case errors.Is(err, rsms3.ErrDenied):
		return "the bucket's server refuses the key in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: correct it, or let it list, read and write there"
	case errors.Is(err, rsms3.ErrNoBucket):
		return "make the bucket first, or correct its name or endpoint"
	case network || refused:
		return "the bucket's server does not answer: is the endpoint right (?endpoint=https://HOST, or AWS_ENDPOINT_URL_S3)? else try again later"
	}
	return hintLocation
}

// location is where objects are kept: a directory, or a part of a bucket.
type location struct {
	dir    string         // absolute; "" for a bucket
	bucket rsms3.Location // with its endpoint and region
}

// parseLocation reads a place, and completes it from the environment.
func parseLocation(text string) (location, error) {
	if !strings.HasPrefix(text, "s3:") {
		dir, err := filepath.Abs(text)
		if text == "" || strings.Contains(text, "://") || err != nil {
			return location{}, usageError(hintLocation, "%s is no place for an archive", quoted(text))
		}
		return location{dir: dir}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return location{}, usageError(hintLocation, "%s is no place in a bucket", quoted(text))
	}
	l := location{bucket: rsms3.Location{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}}
	for key, values := range u.Query() {
		switch key {
		case "endpoint":
			l.bucket.Endpoint = values[0]
		case "region":
			l.bucket.Region = values[0]
		default:
			return location{}, usageError(hintLocation, "%s has the unknown parameter %s", quoted(text), quoted(key))
		}
	}
	l.bucket.Region = cmp.Or(l.bucket.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1")
	l.bucket.Endpoint = cmp.Or(l.bucket.Endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), "https://s3."+l.bucket.Region+".amazonaws.com")
	return l, nil
}

// String returns the place so that it can be parsed again, in any environment.
func (l location) String() string {
	if l.dir != "" {
		return l.dir
	}
	q := url.Values{"endpoint": {l.bucket.Endpoint}, "region": {l.bucket.Region}}
	return (&url.URL{Scheme: "s3", Host: l.bucket.Bucket, Path: "/" + l.bucket.Prefix, RawQuery: q.Encode()}).String()
}

// from returns a directory below data relative to that, so that both can be moved; any
// other place as String does.
func (l location) from(data string) string {
	if abs, err := filepath.Abs(data); err == nil && l.dir != "" {
		if r, err := filepath.Rel(abs, l.dir); err == nil && filepath.IsLocal(r) {
			return r
		}
	}
	return l.String()
}

// recordedLocation reads what from returned.
func recordedLocation(data, text string) (location, error) {
	if !strings.HasPrefix(text, "s3:") && !filepath.IsAbs(text) {
		text = filepath.Join(data, text)
	}
	return parseLocation(text)
}

// open returns the store. It asks nobody whether it is there.
func (l location) open() (rsmarchive.Store, error) {
	if l.dir != "" {
		return rsmarchive.NewDir(vfs.OS(), l.dir), nil
	}
	s, err := rsms3.New(l.bucket, nil)
	if err != nil {
		return nil, failed(fmt.Errorf("%s: %w", l, err), hintLocation+"; its key is in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return s, nil
}
