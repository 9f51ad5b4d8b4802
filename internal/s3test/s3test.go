// Package s3test starts a real server of Amazon S3's protocol for tests, which make s3 builds, and can
// take it away for a while.
package s3test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// The server's only user, and what is there.
const (
	Key    = "maru"
	Secret = "maru-secret"
	Bucket = "audit"
	Region = "us-east-1"
)

// program returns the server's file, in the directory with go.mod.
func program(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		name := filepath.Join(dir, ".bin", "versitygw")
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	t.Fatal("there is no server: make s3 builds one")
	return ""
}

// Start starts a server of the protocol on a directory, and makes the bucket. It returns its address.
func Start(t testing.TB) string {
	t.Helper()
	server := program(t)
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
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// The context ends before the test's cleanup.
		cmd := exec.CommandContext(context.Background(), server, "--access", Key, "--secret", Secret, "--port", address,
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
func ready(t testing.TB, address string, ended <-chan struct{}) bool {
	t.Helper()
	client, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(Key, Secret, ""), Region: Region, MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	for {
		err := client.MakeBucket(t.Context(), Bucket, minio.MakeBucketOptions{})
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

// Proxy is a way to the server that can be closed.
type Proxy struct {
	listener net.Listener
	to       string
	all      sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

// NewProxy opens one, until the test ends.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, to: to, conns: map[net.Conn]bool{}}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // accept ends
		p.Set(true)
		p.all.Wait()
	})
	return p
}

// Set closes the way, and cuts what is under way, or opens it.
func (p *Proxy) Set(closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = closed
	if closed {
		for c := range p.conns {
			_ = c.Close() // whoever reads ends
		}
	}
}

// Addr returns its address.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.serve(c) })
	}
}

// enter notes a connection, unless the way is closed.
func (p *Proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[c] = true
	}
	return !p.closed
}

func (p *Proxy) serve(from net.Conn) {
	defer func() { _ = from.Close() }()
	if !p.enter(from) {
		return
	}
	to, err := net.Dial("tcp", p.to)
	if err != nil || !p.enter(to) {
		return
	}
	defer func() { _ = to.Close() }()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // it ends when the way is closed
			_ = way[0].Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, from)
	delete(p.conns, to)
}
