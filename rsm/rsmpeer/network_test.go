package rsmpeer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// eachSecurity runs a test in plain text and by TLS.
func eachSecurity(t *testing.T, f func(t *testing.T, options func(*Options) *Options)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { f(t, func(o *Options) *Options { return o }) })
	t.Run("TLS", func(t *testing.T) {
		ca := newAuthority(t)
		f(t, func(o *Options) *Options { return ca.secured(t, o) })
	})
}

func TestDelivers(t *testing.T) {
	eachSecurity(t, func(t *testing.T, options func(*Options) *Options) {
		a, b := start(t, identity(1), options(patient())), start(t, identity(2), options(patient()))
		both := []Peer{a.peer(), b.peer()}
		b.set(t, both...)
		a.set(t, both...)
		long := strings.Repeat("long ", 500_000)
		for _, tt := range []struct {
			from, to *node
			lane     Lane
			text     string
		}{
			{a, b, Raft, "hello"},
			{b, a, Raft, "hello yourself"},
			{a, b, Bulk, long},
			{a, b, Raft, ""},
		} {
			tt.from.sendUntil(t, tt.to, tt.lane, tt.text)
		}
		m := b.peerMetrics(t, 1)
		if m.Bulk.ReceivedBytes < uint64(len(long)) || m.Raft.ReceivedMessages < 2 || !m.Raft.Receiving || !m.Bulk.Receiving {
			t.Errorf("metrics of who received: %+v", m)
		}
		if m := a.peerMetrics(t, 2); !m.Raft.Connected || m.Bulk.Connects != 1 || m.Trouble != "" {
			t.Errorf("metrics of who sent: %+v", m)
		}
		if got := a.Metrics().CertificateExpires; got.IsZero() != (a.opts.Certificates == nil) {
			t.Errorf("the certificate expires at %v", got)
		}
	})
}

func TestKeepsOrder(t *testing.T) {
	eachSecurity(t, func(t *testing.T, options func(*Options) *Options) {
		a, b := start(t, identity(1), options(patient())), start(t, identity(2), options(patient()))
		b.set(t, a.peer())
		a.set(t, b.peer())
		a.sendUntil(t, b, Raft, "connected")
		a.sendUntil(t, b, Bulk, "connected")
		const count = 2000
		next := map[Lane]int{}
		for sent := 0; next[Raft] < count || next[Bulk] < count; {
			if sent < count {
				text := fmt.Sprint(sent, strings.Repeat(".", sent*31%9000))
				for lane := range lanes {
					for !a.Send(2, lane, [][]byte{[]byte(text[:1]), []byte(text[1:])}) {
						runtime.Gosched()
					}
				}
				sent++
				continue
			}
			got := <-b.received
			if got.text == "connected" {
				continue
			}
			if want := fmt.Sprint(next[got.lane]); strings.TrimRight(got.text, ".") != want {
				t.Fatalf("%v: got %.10q, want %s", got.lane, got.text, want)
			}
			next[got.lane]++
		}
	})
}

func TestRoundTripIsMeasured(t *testing.T) {
	a, b := pair(t, patient())
	a.sendUntil(t, b, Raft, "hello")
	until(func() bool { return a.peerMetrics(t, 2).Raft.RoundTrip > 0 })
}

func TestSendRefuses(t *testing.T) {
	a, b := pair(t, patient())
	a.sendUntil(t, b, Raft, "connected")
	gone := start(t, identity(3), patient())
	gone.Close()
	a.set(t, b.peer(), gone.peer())
	a.log.wait(1, "no connection to a peer", "peer=3")
	until(func() bool { return !a.Send(3, Raft, nil) })
	for _, tt := range []struct {
		name string
		to   NodeID
		lane Lane
		size int
	}{
		{"unknown peer", 9, Raft, 1},
		{"itself", 1, Raft, 1},
		{"unknown lane", 2, lanes, 1},
		{"too large", 2, Raft, MaxMessageBytes + 1},
		{"away", 3, Raft, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a.Send(tt.to, tt.lane, [][]byte{make([]byte, tt.size)}) {
				t.Error("taken")
			}
		})
	}
	if m := a.peerMetrics(t, 3); m.Raft.Dropped == 0 || m.Trouble == "" || m.Raft.Connected {
		t.Errorf("metrics of who is away: %+v", m)
	}
}

// silentPeer accepts connections and hands them over.
func silentPeer(t *testing.T, id NodeID) (Peer, <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for len(conns) > 0 {
			(<-conns).Close()
		}
	})
	return Peer{ID: id, Addr: l.Addr().String()}, conns
}

func TestFullQueue(t *testing.T) {
	o := patient()
	o.QueueMessages = 5
	a := start(t, identity(1), o)
	silent, _ := silentPeer(t, 2) // never answers hello
	a.set(t, silent)
	for i := range 8 {
		if got := a.Send(2, Raft, [][]byte{[]byte("m")}); got != (i < 5) {
			t.Errorf("message %d: taken is %v", i, got)
		}
	}
	if !a.Send(2, Bulk, [][]byte{[]byte("m")}) {
		t.Error("a full lane fills the other one")
	}
	m := a.peerMetrics(t, 2)
	if m.Raft.QueueMessages != 5 || m.Raft.Dropped != 3 || m.Bulk.QueueMessages != 1 {
		t.Errorf("metrics: %+v", m)
	}
}

func TestReconnects(t *testing.T) {
	eachSecurity(t, func(t *testing.T, options func(*Options) *Options) {
		a, b := start(t, identity(1), options(patient())), start(t, identity(2), options(patient()))
		r := newRelay(t, b.LocalAddr().String())
		b.set(t, a.peer())
		a.set(t, b.at(r.addr()))
		for i := range 3 {
			a.sendUntil(t, b, Raft, fmt.Sprint("message ", i))
			r.cut()
		}
		a.sendUntil(t, b, Raft, "last")
		if got := a.peerMetrics(t, 2).Raft.Connects; got < 3 {
			t.Errorf("%d connections, want 4 or so", got)
		}
	})
}

func TestPeerReturns(t *testing.T) {
	a, b := pair(t, patient())
	a.sendUntil(t, b, Raft, "before")
	b.Close()
	a.log.wait(1, "no connection to a peer")
	again := start(t, identity(2), patient())
	again.set(t, a.peer())
	a.set(t, again.peer())
	a.sendUntil(t, again, Raft, "after")
	again.sendUntil(t, a, Bulk, "after")
	if got := a.peerMetrics(t, 2).Raft; got.Connects < 2 {
		t.Errorf("the counts begin anew with the address: %+v", got)
	}
}

// TestDamageOnTheWay flips a bit behind the handshake, and cuts a message. What
// arrives is whole, or does not arrive.
func TestDamageOnTheWay(t *testing.T) {
	eachSecurity(t, func(t *testing.T, options func(*Options) *Options) {
		for name, spoil := range map[string]func(b []byte) []byte{
			"bit flip": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
			"torn":     func([]byte) []byte { return nil },
		} {
			t.Run(name, func(t *testing.T) {
				a, b := start(t, identity(1), options(patient())), start(t, identity(2), options(patient()))
				r := newRelay(t, b.LocalAddr().String())
				b.set(t, a.peer())
				a.set(t, b.at(r.addr()))
				a.sendUntil(t, b, Raft, "before")
				spoiled := false
				r.be(func(r *relay) {
					r.spoil = func(offset int, data []byte) []byte {
						if spoiled || offset < 1<<18 {
							return data
						}
						spoiled = true
						return spoil(bytes.Clone(data))
					}
				})
				long := strings.Repeat("0123456789", 100_000)
				a.Send(2, Raft, [][]byte{[]byte(long)})
				b.log.wait(1, "connection of a peer ended")
				r.be(func(*relay) {
					if !spoiled {
						t.Error("nothing was spoiled")
					}
				})
				a.sendUntil(t, b, Raft, "after")
				if got := b.peerMetrics(t, 1).Raft.ReceivedBytes; got >= uint64(len(long)) {
					t.Errorf("%d bytes were received, with the message that was spoiled", got)
				}
			})
		}
	})
}

// TestHalfOpen lets a connection stay open on which nothing passes: both sides
// give it up.
func TestHalfOpen(t *testing.T) {
	a, b := start(t, identity(1), hasty()), start(t, identity(2), hasty())
	r := newRelay(t, b.LocalAddr().String())
	b.set(t, a.peer())
	a.set(t, b.at(r.addr()))
	a.sendUntil(t, b, Raft, "before")
	a.sendUntil(t, b, Bulk, "before")
	r.be(func(r *relay) { r.deaf = true })
	a.log.wait(1, "no connection to a peer") // by whoever was first
	b.log.wait(1, "connection of a peer ended")
	r.be(func(r *relay) { r.deaf = false })
	a.sendUntil(t, b, Raft, "after")
}

// TestPeerThatDoesNotRead is cut off however much it was sent: little, which
// waits in the buffers of the operating system, or more than fits there.
func TestPeerThatDoesNotRead(t *testing.T) {
	for name, size := range map[string]int{"little": 10, "much": MaxMessageBytes} {
		t.Run(name, func(t *testing.T) {
			a := start(t, identity(1), hasty())
			silent, conns := silentPeer(t, 2)
			a.set(t, silent)
			for range lanes {
				c := <-conns
				defer c.Close()
				if _, err := readHello(c); err != nil {
					t.Fatal(err)
				}
				c.Write(encodeAnswer(answer{version, identity(2), verdict{}}))
			}
			a.log.wait(int(lanes), "connected to a peer")
			a.Send(2, Raft, [][]byte{make([]byte, size)})
			a.log.wait(1, "no connection to a peer", "i/o timeout")
			until(func() bool {
				m := a.peerMetrics(t, 2).Raft
				return m.Dropped+m.SentMessages > 0 && m.QueueMessages == 0 && !m.Connected
			})
		})
	}
}

// TestLanesAreIndependent blocks who receives on one lane, fills that lane, and
// uses the other.
func TestLanesAreIndependent(t *testing.T) {
	o := patient()
	o.QueueMessages = 16
	a := start(t, identity(1), o)
	b := &node{id: 2, log: newJournal(), received: make(chan arrival, 100)}
	release := make(chan struct{})
	b.listen(t, identity(2), o, func(from NodeID, lane Lane, m []byte) {
		if lane == Bulk {
			<-release
		}
		b.received <- arrival{from, lane, string(m)}
	})
	b.set(t, a.peer())
	a.set(t, b.peer())
	part := [][]byte{make([]byte, 4<<20)}
	for a.Send(2, Bulk, part) {
		a.sendUntil(t, b, Raft, "meanwhile")
	}
	a.sendUntil(t, b, Raft, "prompt")
	close(release)
	for {
		if got := <-b.received; got.lane == Bulk {
			return
		}
	}
}

func TestSetPeers(t *testing.T) {
	a, b := pair(t, patient())
	a.sendUntil(t, b, Raft, "hello")
	b.sendUntil(t, a, Raft, "hello")
	for _, tt := range []struct {
		name  string
		peers []Peer
		want  error
	}{
		{"no id", []Peer{{Addr: "127.0.0.1:1"}}, nil},
		{"twice", []Peer{{ID: 5, Addr: "127.0.0.1:1"}, {ID: 5, Addr: "127.0.0.1:2"}}, nil},
		{"no port", []Peer{{ID: 5, Addr: "127.0.0.1"}}, nil},
		{"plain text to another machine", []Peer{{ID: 5, Addr: "192.0.2.1:1"}}, ErrPlaintext},
		{"plain text to a name", []Peer{{ID: 5, Addr: "db.example:1"}}, ErrPlaintext},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := a.SetPeers(tt.peers); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	a.sendUntil(t, b, Raft, "still there")

	a.set(t) // b is removed
	b.log.wait(1, "does not fit", "unknown_node")
	if a.Send(2, Raft, nil) {
		t.Error("a message was taken after the peer was removed")
	}
	until(func() bool { return !b.Send(1, Raft, nil) })
	a.set(t, b.peer())
	b.sendUntil(t, a, Raft, "back again")
	a.sendUntil(t, b, Raft, "back again")

	replaced := b.peer()
	replaced.Incarnation = disk(77)
	a.set(t, replaced)
	b.log.wait(1, "does not fit", "other_incarnation")
	a.log.wait(1, "does not fit", "other_incarnation")
}

func TestListenRefuses(t *testing.T) {
	listen := func(addr string, self Identity, c *Certificates) error {
		n, err := Listen(t.Context(), addr, self, nil, &Options{Certificates: c})
		if err == nil {
			n.Close()
		}
		return err
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"} {
		if err := listen(addr, identity(1), nil); !errors.Is(err, ErrPlaintext) {
			t.Errorf("plain text at %s: got %v", addr, err)
		}
	}
	for _, addr := range []string{"localhost:0", "127.0.0.1:0"} {
		if err := listen(addr, identity(1), nil); err != nil {
			t.Errorf("plain text at %s: %v", addr, err)
		}
	}
	ca := newAuthority(t)
	if err := listen("0.0.0.0:0", identity(1), ca.issue(t, ca, unchanged)); err != nil {
		t.Errorf("TLS on all addresses: %v", err)
	}
	for name, self := range map[string]Identity{
		"no node": {testCluster, 0, disk(1)}, "no cluster": {ClusterID{}, 1, disk(1)}, "no disk": {testCluster, 1, Incarnation{}},
	} {
		if err := listen("127.0.0.1:0", self, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestClose(t *testing.T) {
	a, b := pair(t, patient())
	a.sendUntil(t, b, Raft, "hello")
	silent, conns := silentPeer(t, 3)
	a.set(t, b.peer(), silent)
	(<-conns).Close()
	waiting, err := net.Dial("tcp", a.LocalAddr().String()) // and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	for _, n := range []*node{a, b} {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := n.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("closed twice: got %v", err)
		}
		if err := n.SetPeers(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("set peers: got %v", err)
		}
		if n.Send(2, Raft, nil) || n.Send(1, Raft, nil) {
			t.Error("a message was taken")
		}
	}
	if _, err := io.ReadAll(waiting); err != nil {
		t.Logf("the one that said nothing: %v", err)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, f := range []string{"(*link).run", "(*Network).accept", "(*Network).handle", "(*link).readPongs"} {
		if bytes.Contains(stacks, []byte("rsmpeer."+f+"(")) {
			t.Errorf("%s still runs", f)
		}
	}
}

func TestHandshakesAreBounded(t *testing.T) {
	o := patient()
	o.Timeout = time.Minute
	a := start(t, identity(1), o)
	var conns []net.Conn
	for range maxHandshakes + 1 {
		c, err := net.Dial("tcp", a.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	// Connections are accepted in their order: the last one finds no place.
	if _, err := conns[maxHandshakes].Read(make([]byte, 1)); err == nil {
		t.Error("one more than allowed was served")
	}
	for _, c := range conns {
		c.Close()
	}
	b := start(t, identity(2), patient())
	a.set(t, b.peer())
	b.set(t, a.peer())
	b.sendUntil(t, a, Raft, "let in afterwards")
}

// TestLost cuts a connection: the node that sent over it is told.
func TestLost(t *testing.T) {
	lost := make(chan NodeID, 1)
	o := patient()
	o.Lost = func(to NodeID) {
		select {
		case lost <- to:
		default:
		}
	}
	a, b := start(t, identity(1), o), start(t, identity(2), patient())
	r := newRelay(t, b.LocalAddr().String())
	b.set(t, a.peer())
	a.set(t, b.at(r.addr()))
	a.sendUntil(t, b, Raft, "connected")
	select {
	case <-lost: // of attempts before
	default:
	}
	r.cut()
	if to := <-lost; to != 2 {
		t.Errorf("the connection with node %d was lost, want 2", to)
	}
}
