package rsmpeer

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRefusals starts node 1, which dials what it takes for node 2, and looks at
// what both say: once, however often it was tried.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name       string
		one, two   Identity
		knowsOne   *Peer // what two knows of one; nil: nothing
		oneKnows   Incarnation
		want       Refusal
		says       []string
		onlyByDial bool // two lets one in, and one does not want it
	}{
		{
			name: "other cluster", one: Identity{ClusterID{9}, 1, disk(1)}, two: identity(2),
			knowsOne: &Peer{ID: 1}, want: OtherCluster, says: []string{"cluster 0900", "cluster c001"},
		},
		{
			name: "other node", one: identity(1), two: identity(3),
			knowsOne: &Peer{ID: 1}, want: OtherNode, says: []string{"node 3, not 2"},
		},
		{
			name: "no member", one: identity(1), two: identity(2),
			want: UnknownNode, says: []string{"has to be added"},
		},
		{
			name: "came back with an empty disk", one: identity(1), two: identity(2),
			knowsOne: &Peer{ID: 1, Incarnation: disk(8)}, want: OtherIncarnation, says: []string{"must not return under an old id"},
		},
		{
			name: "the peer came back with an empty disk", one: identity(1), two: identity(2), oneKnows: disk(9),
			knowsOne: &Peer{ID: 1}, want: OtherIncarnation, says: []string{"must not return under an old id"}, onlyByDial: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one, two := start(t, tt.one, patient()), start(t, tt.two, patient())
			// Where one can be reached does not matter: nobody is there.
			if tt.knowsOne != nil {
				tt.knowsOne.Addr = "127.0.0.1:1"
				two.set(t, *tt.knowsOne)
			}
			one.set(t, Peer{ID: 2, Addr: two.LocalAddr().String(), Incarnation: tt.oneKnows})
			one.log.wait(1, "does not fit")
			until(func() bool { return one.peerMetrics(t, 2).Refusals >= 10 })
			one.log.want(t, 1, append(tt.says, "does not fit", tt.want.String())...)
			one.log.want(t, 1, "does not fit")
			if m := one.peerMetrics(t, 2); m.Refusal != tt.want || m.Trouble == "" {
				t.Errorf("metrics: %+v", m)
			}
			if one.Send(2, Raft, nil) {
				t.Error("a message was taken")
			}
			if !tt.onlyByDial {
				two.log.want(t, 1, append(tt.says, "refused a connection", tt.want.String())...)
				if two.Metrics().Refused < 2 {
					t.Errorf("metrics: %+v", two.Metrics())
				}
			}
		})
	}
}

// TestJoin dials a node that does not know the one that dials yet: that is no warning
// unless it takes long.
func TestJoin(t *testing.T) {
	o := patient()
	o.JoinTime = time.Hour
	old, joins := start(t, identity(1), o), start(t, identity(2), o)
	joins.set(t, old.peer())
	until(func() bool { return joins.peerMetrics(t, 1).Refusals >= 10 && old.Metrics().Refused >= 10 })
	for n, says := range map[*node]string{joins: "a peer does not know this node yet", old: "a node that is not known here wants to connect"} {
		n.log.want(t, 1, "level=INFO", says)
		n.log.want(t, 0, "level=WARN")
		n.log.want(t, 0, "level=ERROR")
	}
	old.set(t, joins.peer())
	joins.sendUntil(t, old, Raft, "is in")

	slow := start(t, identity(3), patient())
	slow.set(t, old.peer())
	slow.log.wait(1, "level=ERROR", "does not fit", "unknown_node")
}

// TestRemovedNode dials with a node that was removed: it is told, and may act on it.
func TestRemovedNode(t *testing.T) {
	told := make(chan string, 1)
	o := patient()
	o.Refused = func(by NodeID, code Refusal, reason string) {
		select {
		case told <- fmt.Sprintln(by, code, reason):
		default: // once is enough
		}
	}
	removed, member := start(t, identity(1), o), start(t, identity(2), patient())
	member.set(t, removed.peer())
	removed.set(t, member.peer())
	removed.sendUntil(t, member, Raft, "while it is one")

	member.SetRemoved([]NodeID{7, 1})
	member.set(t)
	if got := <-told; !strings.HasPrefix(got, "2 removed_node node 1 was removed from the cluster and does not come back") {
		t.Errorf("told %q", got)
	}
	removed.log.wait(1, "level=ERROR", "removed_node", "with an empty directory")
	member.log.wait(1, "level=WARN", "removed_node")
}

func TestTwoProcessesWithOneID(t *testing.T) {
	a := start(t, identity(1), patient())
	first, second := start(t, identity(2), patient()), start(t, identity(2), patient())
	a.set(t, Peer{ID: 2, Addr: first.LocalAddr().String()}) // whatever its disk
	first.set(t, a.peer())
	first.sendUntil(t, a, Raft, "first")
	first.sendUntil(t, a, Bulk, "first")

	other := start(t, Identity{testCluster, 2, disk(99)}, patient())
	for _, n := range []*node{second, other} {
		n.set(t, a.peer())
		n.log.wait(1, "does not fit", "duplicate", "stop one of the two")
	}
	first.sendUntil(t, a, Raft, "still here")

	// It is about what lives: when the first is gone, another may come.
	first.Close()
	other.Close()
	second.sendUntil(t, a, Raft, "second")
}

func TestOwnID(t *testing.T) {
	a, b := start(t, identity(1), patient()), start(t, identity(1), patient())
	r := newRelay(t, b.LocalAddr().String())
	a.set(t, Peer{ID: 2, Addr: r.addr()})
	a.log.wait(1, "does not fit", "other_node")
}

// TestProcessRepeatsItself opens two connections of one process and lane: the
// second takes the place of the first, which the process may have given up.
func TestProcessRepeatsItself(t *testing.T) {
	b := start(t, identity(3), patient())
	b.set(t, Peer{ID: 2, Addr: "127.0.0.1:1"})
	first, second := greetRaw(t, b), greetRaw(t, b)
	defer first.Close()
	defer second.Close()
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the first connection goes on")
	}
	second.Write(frame(kindMessage, []byte("by the second")))
	if got := <-b.received; got.text != "by the second" || got.lane != Bulk || got.from != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestRepetitionWaitsForTheFirst makes a connection while Receive still works on
// a message of the one before.
func TestRepetitionWaitsForTheFirst(t *testing.T) {
	b := &node{id: 3, log: newJournal(), received: make(chan arrival, 10)}
	entered, release := make(chan struct{}, 2), make(chan struct{})
	b.listen(t, identity(3), patient(), func(from NodeID, lane Lane, m []byte) {
		entered <- struct{}{}
		<-release
		b.received <- arrival{from, lane, string(m)}
	})
	b.set(t, Peer{ID: 2, Addr: "127.0.0.1:1"})
	first := greetRaw(t, b)
	defer first.Close()
	first.Write(frame(kindMessage, []byte("first")))
	<-entered
	second, err := net.Dial("tcp", b.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	second.Write(append(encodeHello(testHello), frame(kindMessage, []byte("second"))...))
	if _, err := first.Read(make([]byte, 1)); err == nil { // it ends, so the second is at work
		t.Error("the first connection goes on")
	}
	close(release)
	for _, want := range []string{"first", "second"} {
		if got := <-b.received; got.text != want {
			t.Errorf("got %q, want %q", got.text, want)
		}
	}
}

// greetRaw connects to node 3 as testHello says.
func greetRaw(t *testing.T, to *node) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", to.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Write(encodeHello(testHello))
	if a, err := readAnswer(c); err != nil || a.verdict.code != Accepted {
		t.Fatalf("got %+v, %v", a, err)
	}
	return c
}

func TestOtherVersionIsAnswered(t *testing.T) {
	b := start(t, identity(3), patient())
	c, err := net.Dial("tcp", b.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	later := testHello
	later.version = 7
	c.Write(encodeHello(later))
	a, err := readAnswer(c)
	if err != nil || a.verdict.code != OtherVersion || a.version != version || a.self != identity(3) {
		t.Errorf("got %+v, %v", a, err)
	}
	b.log.wait(1, "version 7", "version 1", "upgrade")
}

func TestRefusalByALaterVersion(t *testing.T) {
	a := start(t, identity(1), patient())
	silent, conns := silentPeer(t, 2)
	a.set(t, silent)
	for range lanes {
		c := <-conns
		defer c.Close()
		c.Write(encodeAnswer(answer{9, identity(2), verdict{200, "version 9 has its reasons"}}))
	}
	a.log.wait(1, "refusal_200", "version 9 has its reasons")
}

func TestStrangersAreCutOff(t *testing.T) {
	for name, tt := range map[string]struct {
		b    []byte
		says string
	}{
		"HTTP":          {[]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), errNoPeer.Error()},
		"damaged hello": {append(encodeHello(testHello)[:79], 1), errDamaged.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, identity(3), patient())
			c, err := net.Dial("tcp", b.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Write(tt.b)
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d bytes of answer", n)
			}
			b.log.wait(1, "refused a connection", tt.says)
		})
	}
}

func TestFramesThatDoNotFitEndTheConnection(t *testing.T) {
	b := start(t, identity(3), patient())
	b.set(t, Peer{ID: 2, Addr: "127.0.0.1:1"})
	c := greetRaw(t, b)
	defer c.Close()
	c.Write(frame(99, []byte("of a later version: skipped")))
	c.Write(frame(kindMessage, []byte("hello")))
	if got := <-b.received; got.text != "hello" {
		t.Errorf("got %+v", got)
	}
	c.Write(frame(kindPing, make([]byte, 5)))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	b.log.wait(1, "connection of a peer ended", "damaged")
}

func TestWrongCertificates(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	good := ca.issue(t, ca, unchanged)
	for _, tt := range []struct {
		name    string
		one     *Certificates
		oneSays string
		twoSays string
		twoHas  *Certificates
	}{
		// Who is wrong trusts the others: else it would be the one to refuse.
		{name: "dialed by a stranger", one: stranger.foreign(t, ca), twoHas: good, oneSays: "certificate", twoSays: "unknown authority"},
		{name: "a stranger dialed", one: good, twoHas: stranger.foreign(t, ca), oneSays: "unknown authority", twoSays: "bad certificate"},
		{name: "dialed in plain text", twoHas: good, oneSays: "read the answer", twoSays: "TLS"},
		{name: "plain text dialed", one: good, oneSays: "TLS", twoSays: errNoPeer.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := func(c *Certificates) *Options {
				o := patient()
				o.Certificates = c
				return o
			}
			one, two := start(t, identity(1), options(tt.one)), start(t, identity(2), options(tt.twoHas))
			two.set(t, Peer{ID: 1, Addr: "127.0.0.1:1"})
			one.set(t, two.peer())
			two.log.wait(1, "refused a connection", tt.twoSays)
			one.log.wait(1, "no connection", tt.oneSays)
			if m := two.peerMetrics(t, 1); m.Raft.Receiving || m.Bulk.Receiving {
				t.Errorf("let in: %+v", m)
			}
		})
	}
}

// foreign returns the files of a node with a certificate of a that its own
// checks would not take, since the others' authority is ca: both are in the file
// of authorities.
func (a *authority) foreign(t *testing.T, ca *authority) *Certificates {
	t.Helper()
	c := a.issue(t, ca, unchanged)
	var both []byte
	for _, name := range []string{a.file, ca.file} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	c.Authority = filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(c.Authority, both, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificatesAreCheckedAtTheStart(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	good := ca.issue(t, ca, unchanged)
	other := ca.issue(t, ca, unchanged)
	for name, c := range map[string]*Certificates{
		"of another authority": stranger.issue(t, ca, unchanged),
		"expired":              ca.issue(t, ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"key of another":       {good.Authority, good.Chain, other.Key},
		"no authority":         {good.Key, good.Chain, good.Key},
		"no file":              {good.Authority, good.Chain + "x", good.Key},
	} {
		t.Run(name, func(t *testing.T) {
			if n, err := Listen(t.Context(), "127.0.0.1:0", identity(1), nil, &Options{Certificates: c}); err == nil {
				n.Close()
				t.Error("taken")
			}
		})
	}
	// What a certificate is for, and which name it has, is not looked at.
	for name, change := range map[string]func(*x509.Certificate){
		"for servers": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"for a name":  func(c *x509.Certificate) { c.DNSNames = []string{"elsewhere.example"} },
	} {
		t.Run(name, func(t *testing.T) {
			o := patient()
			o.Certificates = ca.issue(t, ca, change)
			a, b := start(t, identity(1), o), start(t, identity(2), ca.secured(t, patient()))
			b.set(t, a.peer())
			a.set(t, b.peer())
			a.sendUntil(t, b, Raft, "hello")
			b.sendUntil(t, a, Raft, "hello")
		})
	}
}
