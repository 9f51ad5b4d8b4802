package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// TestAddresses checks what --addr takes, from the command line and from MARU_ADDR.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		name, addr, ca string
		want           []string // nil: refused
	}{
		{"a URL", "http://127.0.0.1:7480", "", []string{"http://127.0.0.1:7480"}},
		{"a URL with TLS", "https://pay.example.com", "", []string{"https://pay.example.com"}},
		{"a URL with a path", "http://localhost:7480/docs", "", []string{"http://localhost:7480"}},
		{"host and port", "127.0.0.1:7480", "", []string{"http://127.0.0.1:7480"}},
		{"a name and port", "localhost:7480", "", []string{"http://localhost:7480"}},
		{"IPv6", "[::1]:7480", "", []string{"http://[::1]:7480"}},
		{"an authority is given", "localhost:7480,http://localhost:7580", "ca.pem", []string{"https://localhost:7480", "http://localhost:7580"}},
		{"several", "a:1, http://b:2,https://c:3", "", []string{"http://a:1", "http://b:2", "https://c:3"}},
		{"no port", "localhost", "", nil},
		{"an empty port", "localhost:", "", nil},
		{"no host", ":7480", "", nil},
		{"a port that is none", "localhost:port", "", nil},
		{"another scheme", "ftp://localhost:21", "", nil},
		{"one of several is none", "a:1,b", "", nil},
		{"nothing after a comma", "a:1,", "", nil},
		{"too many", strings.Repeat("a:1,", 16) + "a:1", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, addresses(t, "--addr", tt.addr, "--ca", tt.ca)); diff != "" {
				t.Errorf("--addr (-want +got):\n%s", diff)
			}
			t.Setenv("MARU_ADDR", tt.addr)
			t.Setenv("MARU_CA", tt.ca)
			if diff := cmp.Diff(tt.want, addresses(t)); diff != "" {
				t.Errorf("MARU_ADDR (-want +got):\n%s", diff)
			}
		})
	}
}

// addresses returns the URLs of a command line, nil if it is refused as it should be.
func addresses(t *testing.T, args ...string) []string {
	t.Helper()
	var o httpOptions
	cmd := &cobra.Command{Use: "x"}
	o.register(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	if err := applyEnvironment(cmd.Flags()); err != nil {
		t.Fatal(err)
	}
	urls, err := o.urls()
	if f := failureOf(err); err != nil && (f.status != exitUsage || f.hint == "") {
		t.Errorf("got %#v, want a usage error with a hint", err)
	}
	return urls
}
