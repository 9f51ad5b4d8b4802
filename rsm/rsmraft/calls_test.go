package rsmraft_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
)

// called is what became of a Call.
type called struct {
	rsmraft.Reply
	err  error
	done int
}

func (n *node) call(to rsmraft.NodeID, request string) *called {
	c := &called{}
	n.host.Call(to, 1, []byte(request), func(r rsmraft.Reply, err error) {
		c.Reply, c.err = r, err
		c.done++
	})
	return c
}

// TestCall asks other nodes from one that has no replica of the group.
func TestCall(t *testing.T) {
	w, leader, others := three(t, 1)
	served := 0
	w.options.Serve = func(from rsmraft.NodeID, _ rsmraft.GroupID, request []byte, reply func([]byte, error)) {
		served++
		switch string(request) {
		case "silence":
		case "refuse":
			reply(nil, fmt.Errorf("%w: full", rsm.ErrBusy))
		default:
			reply(append(request, byte('0'+from)), nil)
			reply(nil, errors.New("a second answer is none"))
		}
	}
	for _, n := range others {
		n.start()
	}
	asks := w.add(9)
	if _, err := asks.host.Begin(5); err != nil {
		t.Fatal(err)
	}
	fail := func() {
		w.net.Duplicate = 0
		w.At(time.Second, func() {
			asks.FS.SetRule(failLog(vfs.OpSync, vfs.ErrNoSpace))
			asks.propose(5, "fails")
		})
	}
	w.run("everybody knows the leader", func() bool {
		return others[0].host.Group(1).Status().Leader == leader.ID && others[1].host.Group(1).Status().Leader == leader.ID
	})

	dead := others[1]
	for _, tt := range []struct {
		name, request string
		to            rsmraft.NodeID
		before        func()
		want          string
		err           error
	}{
		{"answered", "hello", others[0].ID, nil, "hello9", nil},
		{"nothing", "", others[0].ID, nil, "9", nil},
		{"refused", "refuse", others[0].ID, nil, "", rsm.ErrBusy},
		{"a node that serves nothing", "hello", leader.ID, nil, "", rsm.ErrNoLeader},
		{"no answer", "silence", others[0].ID, nil, "", rsm.ErrUnknown},
		{"a dead node", "hello", dead.ID, dead.crash, "", rsm.ErrUnknown},
		{"twice", "hello", others[0].ID, func() { w.net.Duplicate = 1 }, "hello9", nil},
		{"failed", "silence", others[0].ID, fail, "", rsm.ErrFailed},
		{"after it failed", "hello", others[0].ID, nil, "", rsm.ErrFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != nil {
				tt.before()
			}
			c := asks.call(tt.to, tt.request)
			w.run("it is answered", func() bool { return c.done > 0 })
			w.pass(10 * time.Millisecond)
			if c.done != 1 || string(c.Answer) != tt.want || !errors.Is(c.err, tt.err) || tt.err == nil && c.err != nil {
				t.Errorf("done %d times with %q and the error %v, want %q and %v", c.done, c.Answer, c.err, tt.want, tt.err)
			}
			if tt.err == nil && (c.Leader != leader.ID || c.Took <= 0) {
				t.Errorf("node %d leads, it took %v; want node %d", c.Leader, c.Took, leader.ID)
			}
		})
	}
	if served != 7 { // of the six that arrived, one came twice
		t.Errorf("%d requests were served, want 7", served)
	}
}

// TestCallMalformed gives a host what no host sends.
func TestCallMalformed(t *testing.T) {
	w, leader, others := three(t, 2)
	w.options.Serve = func(rsmraft.NodeID, rsmraft.GroupID, []byte, func([]byte, error)) { t.Error("served") }
	leader.start()
	for _, kind := range []byte{8, 9} {
		for size := range 24 {
			if kind == 8 && size >= 8 {
				continue
			}
			leader.host.Receive(others[0].ID, append([]byte{1, kind, 0, 0, 1, 0, 0, 0}, make([]byte, size)...))
			w.pass(time.Millisecond)
		}
	}
	leader.host.Receive(others[0].ID, append([]byte{1, 9, 0, 0, 1, 0, 0, 0}, make([]byte, 40)...)) // of a request that nobody made
	w.pass(time.Millisecond)
	if err := leader.host.Err(); err != nil {
		t.Error(err)
	}
}

// TestLost loses the connection with a node that was asked, and one that leads: what
// was sent there has an unknown outcome at once.
func TestLost(t *testing.T) {
	w, leader, others := three(t, 3)
	w.options.Serve = func(rsmraft.NodeID, rsmraft.GroupID, []byte, func([]byte, error)) {}
	others[0].start()
	w.run("it follows", func() bool { return others[0].host.Group(1).Status().Leader == leader.ID })
	w.net.Cut(leader.ID, others[0].ID, true)
	called, proposed := others[0].call(leader.ID, "x"), others[0].propose(1, "x")
	w.pass(10 * time.Millisecond)
	began := w.Now()
	others[0].host.Lost(leader.ID)
	w.run("both are answered", func() bool { return called.done > 0 && proposed.done })
	if took := w.Now() - began; took > 50*time.Millisecond || !errors.Is(called.err, rsm.ErrUnknown) || !errors.Is(proposed.err, rsm.ErrUnknown) {
		t.Errorf("after %v: %v and %v, want ErrUnknown at once", took, called.err, proposed.err)
	}
}

// deaf is a network that takes nothing for a node until it is told to.
type deaf struct {
	rsmraft.Network
	to   rsmraft.NodeID
	open bool
}

func (d *deaf) Send(to rsmraft.NodeID, lane rsmraft.Lane, parts [][]byte) bool {
	return (to != d.to || d.open) && d.Network.Send(to, lane, parts)
}

// TestAnswerLater asks a node that cannot reach the one that asks for a while: the
// answer comes when it can.
func TestAnswerLater(t *testing.T) {
	w := newWorld(t, 4, 2)
	asks, serves := w.node(0), w.node(1)
	way := &deaf{Network: w.net.Port(serves.ID, serves.Process), to: asks.ID}
	host, err := rsmraft.Open("other", serves.ID, &rsmraft.Options{
		FS: vfs.NewMem(), ReserveBytes: -1, Runtime: serves.Process, Network: way,
		Serve: func(_ rsmraft.NodeID, _ rsmraft.GroupID, request []byte, reply func([]byte, error)) {
			reply(request, nil)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.net.Join(serves.ID, serves.Process, host.Receive)
	c := asks.call(serves.ID, "x")
	w.pass(time.Second)
	if c.done > 0 {
		t.Fatal("it was answered on no way")
	}
	way.open = true
	w.run("it is answered", func() bool { return c.done > 0 })
	if c.err != nil || string(c.Answer) != "x" {
		t.Errorf("got %q, %v", c.Answer, c.err)
	}
}
