package rsmpeer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A journal keeps what is logged and lets tests wait for it.
type journal struct {
	mu    sync.Mutex
	grown *sync.Cond
	text  string
}

func newJournal() *journal {
	j := new(journal)
	j.grown = sync.NewCond(&j.mu)
	return j
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text += string(b)
	j.grown.Broadcast()
	return len(b), nil
}

// count returns how many lines hold all the words.
func (j *journal) count(words ...string) (n int) {
	for line := range strings.Lines(j.text) {
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(line, w)
		}
		if !missing {
			n++
		}
	}
	return n
}

// wait returns when n lines hold all the words.
func (j *journal) wait(n int, words ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.count(words...) < n {
		j.grown.Wait()
	}
}

// want fails unless just n lines hold all the words.
func (j *journal) want(t *testing.T, n int, words ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if got := j.count(words...); got != n {
		t.Errorf("%d lines with %q, want %d; logged:\n%s", got, words, n, j.text)
	}
}

// arrival is a message that was received.
type arrival struct {
	from NodeID
	lane Lane
	text string
}

// A node is a network under test and what it received and logged.
type node struct {
	*Network
	id       NodeID
	log      *journal
	received chan arrival
}

// patient are options with which nothing ends by time in a test that passes.
func patient() *Options {
	return &Options{PingEvery: 10 * time.Millisecond, Timeout: time.Minute, MaxBackoff: 5 * time.Millisecond, JoinTime: time.Nanosecond}
}

// hasty are options with which a dead peer is noticed soon.
func hasty() *Options {
	return &Options{PingEvery: 10 * time.Millisecond, Timeout: 200 * time.Millisecond, MaxBackoff: 5 * time.Millisecond}
}

func start(t testing.TB, self Identity, o *Options) *node {
	t.Helper()
	n := &node{id: self.Node, log: newJournal(), received: make(chan arrival, 1<<16)}
	return n.listen(t, self, o, func(from NodeID, lane Lane, m []byte) { n.received <- arrival{from, lane, string(m)} })
}

func (n *node) listen(t testing.TB, self Identity, o *Options, receive Receive) *node {
	t.Helper()
	opts := *o
	opts.Logger = slog.New(slog.NewTextHandler(n.log, nil))
	network, err := Listen(t.Context(), "127.0.0.1:0", self, receive, &opts)
	if err != nil {
		t.Fatal(err)
	}
	n.Network = network
	t.Cleanup(func() { _ = network.Close() })
	return n
}

func (n *node) peer() Peer {
	return Peer{ID: n.self.Node, Addr: n.LocalAddr().String(), Incarnation: n.self.Incarnation}
}

func (n *node) at(addr string) Peer {
	p := n.peer()
	p.Addr = addr
	return p
}

func (n *node) set(t testing.TB, peers ...Peer) {
	t.Helper()
	if err := n.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
}

// pair starts two nodes that know each other.
func pair(t testing.TB, o *Options) (a, b *node) {
	t.Helper()
	a, b = start(t, identity(1), o), start(t, identity(2), o)
	b.set(t, a.peer())
	a.set(t, b.peer())
	return a, b
}

// sendUntil repeats a message until it has arrived, as consensus does.
func (n *node) sendUntil(t *testing.T, to *node, lane Lane, text string) {
	t.Helper()
	want := arrival{n.id, lane, text}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		n.Send(to.id, lane, [][]byte{[]byte(text)})
		select {
		case got := <-to.received:
			if got == want {
				return
			}
		case <-again.C:
		}
	}
}

// peerMetrics returns the metrics of one peer.
func (n *node) peerMetrics(t *testing.T, id NodeID) PeerMetrics {
	t.Helper()
	for _, p := range n.Metrics().Peers {
		if p.ID == id {
			return p
		}
	}
	t.Fatalf("no metrics of node %v", id)
	return PeerMetrics{}
}

// until returns when something has become true that nothing tells of.
func until(done func() bool) {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !done() {
		<-look.C
	}
}

// A relay is a place on the way to a node where things go wrong.
type relay struct {
	listener net.Listener
	to       string
	tasks    sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	// spoil changes what goes to the node, at the offset in its connection; nil
	// ends the connection.
	spoil func(offset int, b []byte) []byte
	deaf  bool // takes everything and passes nothing on
	ended bool
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, to: to}
	r.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.tasks.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.be(func(r *relay) { r.ended = true })
		r.cut()
		r.tasks.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// be changes what the relay does.
func (r *relay) be(change func(*relay)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// cut ends all connections.
func (r *relay) cut() {
	r.be(func(r *relay) {
		for _, c := range r.conns {
			c.Close()
		}
		r.conns = nil
	})
}

func (r *relay) serve(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer out.Close()
	ended := false
	r.be(func(r *relay) { r.conns, ended = append(r.conns, in, out), r.ended })
	if ended {
		return
	}
	r.tasks.Go(func() {
		r.copy(in, out, func(_ int, b []byte) []byte { return b })
	})
	r.copy(out, in, func(offset int, b []byte) []byte {
		if r.spoil == nil {
			return b
		}
		return r.spoil(offset, b)
	})
}

func (r *relay) copy(to, from net.Conn, change func(offset int, b []byte) []byte) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 4096)
	for offset := 0; ; {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		var out []byte
		var deaf bool
		r.be(func(r *relay) { out, deaf = change(offset, b[:n]), r.deaf })
		offset += n
		if out == nil {
			return
		}
		if deaf {
			continue
		}
		if _, err := to.Write(out); err != nil {
			return
		}
	}
}

// An authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func writePEM(t testing.TB, kind string, b []byte) (name string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "x.pem"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pem.Encode(f, &pem.Block{Type: kind, Bytes: b}); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func newCertificate(t testing.TB, issuer *authority, change func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maru"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	change(template)
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, writePEM(t, "CERTIFICATE", der)}
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	return newCertificate(t, nil, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
}

// issue returns the files of a node whose certificate is from a, and that trusts
// the authority trusts.
func (a *authority) issue(t testing.TB, trusts *authority, change func(*x509.Certificate)) *Certificates {
	t.Helper()
	c := newCertificate(t, a, change)
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return &Certificates{Authority: trusts.file, Chain: c.file, Key: writePEM(t, "PRIVATE KEY", der)}
}

func unchanged(*x509.Certificate) {}

// secured returns options with a new certificate of a.
func (a *authority) secured(t testing.TB, o *Options) *Options {
	t.Helper()
	o.Certificates = a.issue(t, a, unchanged)
	return o
}
