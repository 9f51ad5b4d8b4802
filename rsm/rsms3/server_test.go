//go:build s3

package rsms3

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	server = "../../.bin/versitygw" // make s3 builds it
	key    = "maru"
	secret = "maru-secret"
	bucket = "audit"
)

// startServer starts a server of the protocol on a directory, and makes the bucket. It returns its address.
func startServer(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat(server); err != nil {
		t.Fatal("there is no server: make s3 builds one")
	}
	dir := t.TempDir()
	for _, d := range []string{"data", "meta"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 { // somebody else may take the port first
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		l.Close()
		// The context ends before the test's cleanup.
		cmd := exec.CommandContext(context.Background(), server, "--access", key, "--secret", secret, "--port", address,
			"--quiet", "posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
		cmd.Env = append(os.Environ(), "HOME="+dir)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // it is killed
			close(ended)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			<-ended
		})
		if ready(t, address, ended) {
			return address
		}
	}
	t.Fatal("the server does not start")
	return ""
}

// ready waits until the server has made the bucket, and says whether it lives.
func ready(t *testing.T, address string, ended <-chan struct{}) bool {
	t.Helper()
	client, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(key, secret, ""), Region: defaultRegion, MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	for {
		err := client.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{})
		if err == nil {
			return true
		}
		if minio.ToErrorResponse(err).StatusCode != 0 {
			t.Fatal(err)
		}
		select {
		case <-ended:
			return false
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			return false
		}
	}
}

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

// proxy is a way to the server that can be closed.
type proxy struct {
	listener net.Listener
	to       string
	all      sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, conns: map[net.Conn]bool{}}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.set(true)
		p.all.Wait()
	})
	return p
}

// set closes the way, and cuts what is under way, or opens it.
func (p *proxy) set(closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = closed
	if closed {
		for c := range p.conns {
			c.Close()
		}
	}
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.serve(c) })
	}
}

// enter notes a connection, unless the way is closed.
func (p *proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[c] = true
	}
	return !p.closed
}

func (p *proxy) serve(from net.Conn) {
	defer from.Close()
	if !p.enter(from) {
		return
	}
	to, err := net.Dial("tcp", p.to)
	if err != nil || !p.enter(to) {
		return
	}
	defer to.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // it ends when the way is closed
			way[0].Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, from)
	delete(p.conns, to)
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
