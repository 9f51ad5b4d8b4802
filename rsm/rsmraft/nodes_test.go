package rsmraft_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
)

// three returns a world of three nodes with group 1 on all of them, the node that
// leads it, and the others.
func three(t testing.TB, seed uint64) (w *world, leader *node, others []*node) {
	w = newWorld(t, seed, 3)
	w.grow(1)
	leader = w.leader(1)
	return w, leader, w.others(leader)
}

// TestFollowerWhoseDiskFailed lets a follower's disk stall, until the host gives
// it up, while the others go on: started again, the follower catches up.
func TestFollowerWhoseDiskFailed(t *testing.T) {
	w, leader, others := three(t, 1)
	slow := others[0]
	leader.proposeMany(1, "before", 10)
	slow.Process.Delay = hangs("writes", 15*time.Second)
	for i := 0; slow.host.Err() == nil; i++ {
		w.must(leader.propose(1, fmt.Sprint("meanwhile", i)))
		w.pass(10 * time.Millisecond)
	}
	if err := slow.host.Err(); !errors.Is(err, rsm.ErrFailed) {
		t.Fatalf("the node says %v, want ErrFailed", err)
	}
	w.pass(10 * time.Second) // the write comes back, late: nobody believes it
	slow.start()
	w.must(leader.propose(1, "after"))
	w.same(1, leader, others[0], others[1])
}

// hangs lets a loop take so long for each function.
func hangs(loop string, d time.Duration) func(string) time.Duration {
	return func(name string) time.Duration {
		if name == loop {
			return d
		}
		return 10 * time.Microsecond
	}
}

// TestLeaderWhoseDiskHangs lets a leader's disk hang for less than what fails the
// host: another leads within seconds, and nothing that was acknowledged is lost.
func TestLeaderWhoseDiskHangs(t *testing.T) {
	w, old, others := three(t, 2)
	old.proposeMany(1, "before", 10)
	old.Process.Delay = hangs("writes", 8*time.Second)
	o := old.propose(1, "hangs") // so that there is something to be written
	began := w.Now()
	w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != old })
	if took := w.Now() - began; took > 4*time.Second {
		t.Errorf("another leads after %v", took)
	}
	leader := w.leader(1)
	leader.proposeMany(1, "meanwhile", 10)
	old.Process.Delay = hangs("writes", time.Millisecond)
	if err := w.wait(o); err != nil && !errors.Is(err, rsm.ErrUnknown) {
		t.Errorf("what hung was answered %v, want ErrUnknown", err)
	}
	w.run("the old leader follows", func() bool { return old.host.Group(1).Status().Leader == leader.ID })
	if err := old.host.Err(); err != nil {
		t.Errorf("the old leader failed: %v", err)
	}
	w.same(1, old, others[0], others[1])
}

// TestPausedLeader stops the process of a leader, as SIGSTOP does, until another
// has acknowledged more. Reads that were asked of the old one before, meanwhile
// and after are refused, or see what was acknowledged when they were asked for.
func TestPausedLeader(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w, old, _ := three(t, seed)
			old.proposeMany(1, "before", 5)
			type asked struct {
				*outcome
				least uint64
			}
			var reads []asked
			acknowledged := uint64(5)
			ask := func() {
				reads = append(reads, asked{old.read(1, func(*rsmtest.List) {}), acknowledged})
			}
			ask()
			w.pass(w.Between(0, 3*time.Millisecond))
			ask()
			old.Process.Pause()
			ask()
			w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != old })
			acknowledged = w.must(w.leader(1).propose(1, "newer")).result
			ask()
			w.pass(w.Between(0, 2*time.Second))
			old.Process.Resume()
			for range 10 {
				ask()
				w.pass(w.Between(0, 2*time.Millisecond))
			}
			for i, r := range reads {
				if err := w.wait(r.outcome); err == nil && r.result < r.least {
					t.Errorf("read %d saw %d commands, %d were acknowledged before", i, r.result, r.least)
				}
			}
		})
	}
}

func TestLostMajority(t *testing.T) {
	w, leader, others := three(t, 3)
	leader.proposeMany(1, "before", 5)
	others[0].crash()
	others[1].crash()
	o := leader.propose(1, "no majority")
	if err := w.wait(o); !errors.Is(err, rsm.ErrUnknown) {
		t.Errorf("what was under way: got %v, want ErrUnknown", err)
	}
	began := w.Now()
	if err := w.wait(leader.propose(1, "refused")); !errors.Is(err, rsm.ErrNoLeader) {
		t.Errorf("write: got %v, want ErrNoLeader", err)
	}
	if err := w.wait(leader.read(1, func(*rsmtest.List) {})); !errors.Is(err, rsm.ErrNoLeader) {
		t.Errorf("read: got %v, want ErrNoLeader", err)
	}
	if took := w.Now() - began; took > 100*time.Millisecond {
		t.Errorf("it took %v to refuse", took)
	}
	if s := leader.host.Group(1).Status(); s.Leader != 0 || s.NoMajority {
		t.Errorf("at first: got %+v, want no leader, and no more", s)
	}
	w.pass(5 * time.Second)
	if s := leader.host.Group(1).Status(); s.Leader != 0 || !s.NoMajority {
		t.Errorf("later: got %+v, want no majority", s)
	}
	if err := w.wait(leader.propose(1, "refused for long")); !errors.Is(err, rsm.ErrNoMajority) {
		t.Errorf("write later: got %v, want ErrNoMajority", err)
	}
	if err := w.wait(leader.read(1, func(*rsmtest.List) {})); !errors.Is(err, rsm.ErrNoMajority) {
		t.Errorf("read later: got %v, want ErrNoMajority", err)
	}
	others[0].start()
	w.run("it is back", func() bool { return w.leader(1) != nil })
	w.must(w.leader(1).propose(1, "resumed"))
	others[1].start()
	w.same(1, w.leader(1), leader, others[0], others[1])
}

// TestFullDisk fills the disk of the leader: it hands the leadership over, and
// sends away only those who come to itself. With room it takes proposals again.
func TestFullDisk(t *testing.T) {
	w := newWorld(t, 4, 3)
	w.options.MaxQueueBytes = 1 << 16
	w.options.ReserveBytes = rsmraft.MinReserveBytes(1 << 16)
	for i := range 3 {
		w.node(i).start()
	}
	w.grow(1)
	full := w.leader(1)
	full.proposeMany(1, "before", 5)
	full.Disk.SetFree(w.options.ReserveBytes - 1)
	w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != full })
	w.leader(1).proposeMany(1, "meanwhile", 5)
	if err := w.wait(full.propose(1, "refused")); !errors.Is(err, rsm.ErrDiskFull) {
		t.Errorf("got %v, want ErrDiskFull", err)
	}
	if o := w.must(full.read(1, func(*rsmtest.List) {})); o.result != 10 {
		t.Errorf("a read saw %d commands, want 10", o.result)
	}
	full.Disk.SetFree(1 << 40)
	w.pass(2 * time.Second)
	w.must(full.propose(1, "forwarded"))
}

// TestClockJumps moves the clock of leader after leader: time in the log never
// goes back, and jumps are no reason for elections.
func TestClockJumps(t *testing.T) {
	w, _, _ := three(t, 5)
	for i, skew := range []time.Duration{time.Hour, -time.Hour, 0, -24 * time.Hour, 24 * time.Hour} {
		l := w.leader(1)
		term := l.host.Group(1).Status().Term
		l.proposeMany(1, fmt.Sprint("a", i, "/"), 2)
		l.Process.Skew = skew
		l.proposeMany(1, fmt.Sprint("b", i, "/"), 2)
		w.pass(3 * time.Second)
		if got := l.host.Group(1).Status().Term; got != term {
			t.Errorf("the term went from %d to %d", term, got)
		}
		if i%2 == 1 {
			l.start()
			w.run("somebody leads", func() bool { return w.leader(1) != nil })
		}
	}
	last := int64(0)
	for _, b := range w.leader(1).lists[1].Batches {
		if b.Time < last {
			t.Errorf("entry %d has time %d after %d", b.Index, b.Time, last)
		}
		last = b.Time
	}
}

// TestMessagesThatAreNotUnderstood sends a node what newer versions and strangers
// may send: it says so where that helps, and goes on.
func TestMessagesThatAreNotUnderstood(t *testing.T) {
	for _, tt := range []struct {
		name    string
		message []byte
		want    string // in the log
	}{
		{"newer version", []byte{2, 1, 0, 0, 1, 0, 0, 0, 9, 9}, "version 2"},
		{"unknown kind", []byte{1, 200, 0, 0, 1, 0, 0, 0, 9, 9}, ""},
		{"empty", nil, "malformed"},
		{"half a header", []byte{1, 1, 0}, "malformed"},
		{"half a message", []byte{1, 1, 0, 0, 1, 0, 0, 0, 3, 0}, "message ignored"},
		{"of another than it says", append([]byte{1, 1, 0, 0, 1, 0, 0, 0, 8}, make([]byte, 71)...), "claims=0"},
		{"half of proposals", []byte{1, 2, 0, 0, 1, 0, 0, 0, 1, 1}, "message ignored"},
		{"half of an answer", []byte{1, 3, 0, 0, 1, 0, 0, 0, 1, 1}, ""},
		{"half of an offer", []byte{1, 4, 0, 0, 1, 0, 0, 0, 1, 1}, "message ignored"},
		{"half of a question", []byte{1, 5, 0, 0, 1, 0, 0, 0, 1, 1}, "message ignored"},
		{"half of a piece", []byte{1, 6, 0, 0, 1, 0, 0, 0, 1, 1}, "message ignored"},
		{"half of a thanks", []byte{1, 7, 0, 0, 1, 0, 0, 0, 1, 1}, "message ignored"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			w := newWorld(t, 6, 0)
			w.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
			for i := range 3 {
				w.add(rsmraft.NodeID(i + 1))
			}
			w.grow(1)
			for i := range 3 {
				w.node(i).host.Receive(2, bytes.Clone(tt.message))
			}
			w.pass(time.Second)
			if tt.want != "" && !strings.Contains(log.String(), tt.want) {
				t.Errorf("the log does not say %q:\n%s", tt.want, log.String())
			}
			w.must(w.leader(1).propose(1, "goes on"))
			for i := range 3 {
				if err := w.node(i).host.Err(); err != nil {
					t.Errorf("node %d failed: %v", i+1, err)
				}
			}
		})
	}
}

// TestReadsOfSeveralNodes asks all nodes at the same moment, again and again: the
// requests do not get in each other's way.
func TestReadsOfSeveralNodes(t *testing.T) {
	w, leader, _ := three(t, 7)
	leader.proposeMany(1, "p", 3)
	for range 50 {
		began := w.Now()
		var reads []*outcome
		for i := range 3 {
			reads = append(reads, w.node(i).read(1, func(*rsmtest.List) {}))
		}
		for i, o := range reads {
			if w.must(o).result != 3 {
				t.Errorf("node %d read %d commands", i+1, o.result)
			}
		}
		if took := w.Now() - began; took > 100*time.Millisecond {
			t.Fatalf("it took %v, as long as a lost request", took)
		}
	}
}

// TestReadAfterARestart lets a follower ask for a read and die, and start again
// and ask for another before it gets the answer to the first, which is too old for
// the second.
func TestReadAfterARestart(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w, leader, others := three(t, seed)
			follower := others[0]
			leader.proposeMany(1, "before", 5)
			w.same(1, leader, follower)
			var late []byte
			w.net.Lose = func(from, to rsmraft.NodeID, message []byte) bool {
				switch kind, _ := raftType(message); {
				case kind == pb.MsgReadIndexResp && to == follower.ID && late == nil:
					late = bytes.Clone(message)
					return true
				case kind == pb.MsgReadIndex && from == follower.ID && late != nil:
					follower.host.Receive(leader.ID, late)
				}
				return false
			}
			follower.read(1, func(*rsmtest.List) {})
			w.run("the answer is under way", func() bool { return late != nil })
			follower.crash()
			w.must(leader.propose(1, "newer"))
			follower.start()
			w.run("it knows the leader", func() bool { return follower.host.Group(1).Status().Leader != 0 })
			o := follower.read(1, func(*rsmtest.List) {})
			if err := w.wait(o); err == nil && o.result < 6 {
				t.Errorf("it saw %d commands, 6 were acknowledged", o.result)
			}
		})
	}
}

// TestForwardedOnce lets the network repeat every message: what a follower was
// given is done once.
func TestForwardedOnce(t *testing.T) {
	w, leader, others := three(t, 8)
	w.net.Duplicate, w.net.Reorder = 1, 0.3
	var all []*outcome
	for i := range 200 {
		all = append(all, others[i%2].propose(1, fmt.Sprint("p", i)))
		w.pass(w.Between(0, time.Millisecond))
	}
	for _, o := range all {
		w.must(o)
	}
	if got := len(leader.lists[1].Batches); got != 200 {
		t.Errorf("%d commands were done, want 200", got)
	}
}

// TestForwardedAndLost cuts the way back from the leader: the outcome is unknown,
// and said to be so, and the command is done once at the most.
func TestForwardedAndLost(t *testing.T) {
	w, leader, others := three(t, 9)
	w.net.Cut(leader.ID, others[0].ID, true)
	if err := w.wait(others[0].propose(1, "x")); !errors.Is(err, rsm.ErrUnknown) && !errors.Is(err, rsm.ErrNoLeader) {
		t.Errorf("got %v, want ErrUnknown or ErrNoLeader", err)
	}
	w.net.Mend()
	w.run("all is well", func() bool { return w.leader(1) != nil })
	w.must(w.leader(1).propose(1, "y"))
	count := 0
	for _, data := range w.leader(1).lists[1].Data() {
		if data == "x" {
			count++
		}
	}
	if count > 1 {
		t.Errorf("it was done %d times", count)
	}
}

// TestLeaderTransfer hands the leadership round under load: writes go on in less
// than a heartbeat's time, and only what was under way may have no answer.
func TestLeaderTransfer(t *testing.T) {
	w, leader, _ := three(t, 10)
	leader.proposeMany(1, "before", 5)
	for i := range 6 {
		old := w.leader(1)
		to := w.others(old)[i%2]
		under := old.propose(1, fmt.Sprint("under way ", i))
		began := w.Now()
		moved := false
		old.host.Group(1).StartTransfer(to.ID, func(err error) {
			if moved = true; err != nil {
				t.Error(err)
			}
		})
		w.run("it leads", func() bool { return w.leader(1) == to })
		w.must(to.propose(1, fmt.Sprint("after ", i)))
		if took := w.Now() - began; took > 200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		w.run("the old leader knows", func() bool { return moved })
		if err := w.wait(under); err != nil && !errors.Is(err, rsm.ErrUnknown) && !errors.Is(err, rsm.ErrNoLeader) {
			t.Errorf("what was under way: %v", err)
		}
	}
	w.same(1, w.node(0), w.node(1), w.node(2))
}
