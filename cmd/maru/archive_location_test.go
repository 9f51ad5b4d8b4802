package main

import (
	"path/filepath"
	"testing"
)

func TestLocation(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	data := t.TempDir()
	here, err := filepath.Abs("x")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, in, environment, want, recorded string }{
		{"a directory", "x", "", here, here},
		{"one below the data", filepath.Join(data, "a", "b"), "", filepath.Join(data, "a", "b"), filepath.Join("a", "b")},
		{"one beside the data", data + "-archive", "", data + "-archive", data + "-archive"},
		{"a bucket", "s3://audit", "", "s3://audit/?endpoint=https%3A%2F%2Fs3.us-east-1.amazonaws.com&region=us-east-1", ""},
		{"a folder of one", "s3://audit/node/1/", "http://127.0.0.1:7070", "s3://audit/node/1?endpoint=http%3A%2F%2F127.0.0.1%3A7070&region=us-east-1", ""},
		{"with all", "s3://b/p?endpoint=https://s3.example&region=eu", "http://no", "s3://b/p?endpoint=https%3A%2F%2Fs3.example&region=eu", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL_S3", tt.environment)
			l, err := parseLocation(tt.in)
			if err != nil || l.String() != tt.want {
				t.Fatalf("%v and error %v, want %s", l, err, tt.want)
			}
			recorded := l.from(data)
			if tt.recorded != "" && recorded != tt.recorded {
				t.Errorf("recorded as %s, want %s", recorded, tt.recorded)
			}
			t.Setenv("AWS_ENDPOINT_URL_S3", "http://another")
			if again, err := recordedLocation(data, recorded); err != nil || again != l {
				t.Errorf("%s is read as %v, %v, want %v", recorded, again, err, l)
			}
		})
	}
	for _, bad := range []string{"", "https://x/y", "s3:///p", "s3:x", "s3://b/p?endpont=x", "s3://user@b/p"} {
		if l, err := parseLocation(bad); err == nil || failureOf(err).status != exitUsage {
			t.Errorf("%q is taken as %v: %v", bad, l, err)
		}
	}
}
