package sim_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
)

// TestRoutines lets two routines wait for each other and for too long.
func TestRoutines(t *testing.T) {
	w := sim.New(1)
	var got []string
	var wake func()
	w.Go(func(r *sim.Routine) {
		if w.Running() != r {
			t.Error("the routine that runs is another")
		}
		if err := r.Wait(time.Minute, func(end func(error)) { wake = func() { end(nil) } }); err != nil {
			t.Error(err)
		}
		got = append(got, "woken after "+w.Now().String())
		if err := r.Wait(time.Second, func(func(error)) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that it took too long", err)
		}
		got = append(got, "gave up after "+w.Now().String())
	})
	w.Go(func(r *sim.Routine) {
		r.Sleep(3 * time.Second)
		got = append(got, "wakes the other")
		wake()
		wake() // once is enough
		if err := r.Wait(time.Second, func(end func(error)) { end(nil) }); err != nil {
			t.Error(err)
		}
		got = append(got, "did not wait")
		r.Sleep(time.Hour)
		t.Error("went on after the end of the world")
	})
	w.Run(time.Minute, func() bool { return false })
	w.End()
	want := []string{"wakes the other", "did not wait", "woken after 3s", "gave up after 4s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
}

// TestNode lets a process die in the midst of a write.
func TestNode(t *testing.T) {
	w := sim.New(2)
	n := w.NewNode(1)
	n.Boot()
	n.Tear(3)
	f, err := n.FS.Open("file", vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("first"), 0); err != nil || n.Process.Dead() {
		t.Fatalf("the process is dead: %v, %v", n.Process.Dead(), err)
	}
	if _, err := f.WriteAt([]byte("second"), 5); !errors.Is(err, vfs.ErrInjected) || !n.Process.Dead() {
		t.Fatalf("the process is dead: %v, %v", n.Process.Dead(), err)
	}
	n.Boot()
	if _, err := f.WriteAt([]byte("third"), 5); !errors.Is(err, vfs.ErrCrashed) {
		t.Errorf("a file of the process before: got %v, want %v", err, vfs.ErrCrashed)
	}
}

// TestLate lets messages that are late hold up those behind them, or be overtaken;
// and some be lost.
func TestLate(t *testing.T) {
	w := sim.New(3)
	net := sim.NewNetwork(w)
	net.Late, net.Latest = 0.2, time.Second
	net.Lose = func(_, _ rsmraft.NodeID, message []byte) bool { return message[0]%10 == 0 }
	p := w.Start()
	seen, overtaken, last := 0, 0, byte(0)
	net.Join(2, p, func(_ rsmraft.NodeID, message []byte) {
		seen++
		if message[0] < last {
			overtaken++
		}
		last = message[0]
	})
	for i := range byte(100) {
		net.Port(1, p).Send(2, rsmraft.LaneRaft, [][]byte{{i}})
	}
	w.Run(2*time.Second, func() bool { return false })
	if seen != 90 || overtaken == 0 || overtaken > 20 {
		t.Errorf("%d messages came, %d were overtaken", seen, overtaken)
	}
}

// TestCores lets four loops work on two processors, one of them waiting for a disk
// most of the time.
func TestCores(t *testing.T) {
	w := sim.New(4)
	p := w.Start()
	p.Cores = w.NewCores(2)
	p.Delay = func(string) time.Duration { return 0 }
	var got []string
	note := func(what string) { got = append(got, what+" "+w.Now().String()) }
	work := func(l rsm.Loop, name string, d time.Duration) {
		l.Post(func() {
			w.Spend(d)
			note(name)
		})
	}
	a, b, c := p.NewLoop("a"), p.NewLoop("b"), p.NewLoop("c")
	work(a, "a1", 3*time.Second)
	work(a, "a2", time.Second) // after a1
	b.Post(func() {
		w.Spend(time.Second)
		w.Wait(10 * time.Second) // without a processor
		note("b1")
		work(c, "c2", time.Second)
	})
	work(c, "c1", 5*time.Second)
	w.Run(time.Minute, func() bool { return false })
	want := []string{"a1 3s", "b1 11s", "c1 6s", "a2 4s", "c2 12s"} // in the order of their begins
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what was done, and when (-want +got):\n%s", diff)
	}
	if want := 11 * time.Second; p.Cores.Busy != want {
		t.Errorf("the processors worked for %v, want %v", p.Cores.Busy, want)
	}
}

// TestRate lets two nodes send more to a third at once than it can receive.
func TestRate(t *testing.T) {
	w := sim.New(5)
	net := sim.NewNetwork(w)
	net.Least, net.Most, net.Rate = time.Millisecond, time.Millisecond, 1000
	p := w.Start()
	var got []time.Duration
	net.Join(3, p, func(rsmraft.NodeID, []byte) { got = append(got, w.Now()) })
	for _, from := range []rsmraft.NodeID{1, 1, 2} {
		net.Port(from, p).Send(3, rsmraft.LaneRaft, [][]byte{make([]byte, 500)})
	}
	w.Run(time.Minute, func() bool { return false })
	want := []time.Duration{501 * time.Millisecond, 1001 * time.Millisecond, 1501 * time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("when the messages came (-want +got):\n%s", diff)
	}
	if passed := net.Take(3, 2000); passed != 2*time.Second {
		t.Errorf("2,000 bytes are taken within %v", passed)
	}
}
