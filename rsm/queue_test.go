package rsm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noTime is the clock of a queue whose times are not looked at.
func noTime() time.Duration { return 0 }

func proposal(name string, bytes int64) *Proposal {
	p := &Proposal{Data: make([]byte, bytes-proposalOverhead)}
	copy(p.Data, name)
	return p
}

func names(proposals []*Proposal) []string {
	var all []string
	for _, p := range proposals {
		all = append(all, string(p.Data[:3]))
	}
	return all
}

// TestQueueModel compares a queue with a slice, at the hand of a seed.
func TestQueueModel(t *testing.T) {
	const maxBytes = 5000
	r := rand.New(rand.NewPCG(1, 2))
	q := NewQueue(maxBytes, noTime, func() {})
	var model []string
	var sizes []int64
	var held, underWay int64
	for step := range 20_000 {
		switch r.IntN(5) {
		default:
			name, size := fmt.Sprintf("%03d", step%1000), 70+r.Int64N(200)
			err := q.TryAdd(t.Context(), proposal(name, size))
			if fits := held == 0 || held+size <= maxBytes+maxBytes/ProposeShare; fits != (err == nil) {
				t.Fatalf("step %d: %d bytes held, %d more: %v", step, held, size, err)
			}
			if err == nil {
				model, sizes, held = append(model, name), append(sizes, size), held+size
			}
		case 3:
			budget := r.Int64N(800)
			got, _ := q.Take(nil, budget)
			want, taken := 0, int64(0)
			for want < len(model) && (want == 0 || taken < budget) {
				taken += sizes[want]
				want++
			}
			if diff := cmp.Diff(append([]string(nil), model[:want]...), names(got)); diff != "" {
				t.Fatalf("step %d: took (-want +got):\n%s", step, diff)
			}
			model, sizes, underWay = model[want:], sizes[want:], underWay+taken
		case 4:
			q.Release(underWay)
			held, underWay = held-underWay, 0
		}
		waiting := int64(0)
		for _, n := range sizes {
			waiting += n
		}
		if got, _ := q.Stats(); got != held || q.Waiting() != waiting {
			t.Fatalf("step %d: holds %d bytes, %d wait, want %d and %d", step, got, q.Waiting(), held, waiting)
		}
	}
}

func TestQueueWaitersKeepTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(300, noTime, func() {})
		add := func(ctx context.Context, name string, bytes int64) <-chan error {
			result := make(chan error, 1)
			go func() { result <- q.Add(ctx, proposal(name, bytes)) }()
			synctest.Wait()
			return result
		}
		if err := <-add(t.Context(), "one", 200); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		large := add(ctx, "big", 200)
		two := add(t.Context(), "two", 80) // would fit, but is behind
		if err := q.TryAdd(t.Context(), proposal("now", 100)); err != nil {
			t.Errorf("who does not wait has an eighth of his own: %v", err)
		}
		if err := q.TryAdd(t.Context(), proposal("bsy", 70)); !errors.Is(err, ErrBusy) {
			t.Errorf("beyond that: got %v, want ErrBusy", err)
		}
		three := add(t.Context(), "thr", 250)
		if got, _ := q.Take(nil, 1<<20); len(got) != 2 {
			t.Errorf("took %v, want two", names(got))
		}
		cancel()
		if err := <-large; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want Canceled", err)
		}
		q.Release(300)
		if err := <-two; err != nil {
			t.Error(err)
		}
		select {
		case err := <-three:
			t.Errorf("joined without room: %v", err)
		default:
		}
		got, _ := q.Take(nil, 1<<20)
		q.Release(80)
		if err := <-three; err != nil {
			t.Error(err)
		}
		got, _ = q.Take(got, 1<<20)
		if diff := cmp.Diff([]string{"two", "thr"}, names(got)); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestQueueRefusals(t *testing.T) {
	errFull, errFailed := errors.New("full"), errors.New("failed")
	woken := 0
	q := NewQueue(1000, noTime, func() { woken++ })
	steps := []struct {
		name string
		do   func()
		want error
	}{
		{"takes", func() {}, nil},
		{"full", func() { q.SetFull(errFull) }, errFull},
		{"room again", func() { q.SetFull(nil) }, nil},
		{"closed", func() { q.Close() }, ErrClosed},
		{"closed and full", func() { q.SetFull(errFull) }, ErrClosed},
		{"failed", func() { q.Fail(errFailed) }, errFailed},
	}
	for _, s := range steps {
		s.do()
		if err := q.TryAdd(t.Context(), &Proposal{}); !errors.Is(err, s.want) {
			t.Errorf("%s: got %v, want %v", s.name, err, s.want)
		}
		if err := q.Err(); !errors.Is(err, s.want) {
			t.Errorf("%s: err is %v, want %v", s.name, err, s.want)
		}
	}
	if got, _ := q.Take(nil, 1<<20); len(got) != 2 {
		t.Errorf("took %d, want what was taken before, and no more", len(got))
	}
	if woken < 3 {
		t.Errorf("woken %d times", woken)
	}
}

func TestQueueWakes(t *testing.T) {
	woken := 0
	q := NewQueue(1000, noTime, func() { woken++ })
	add := func(name string) {
		if err := q.TryAdd(t.Context(), proposal(name, 70)); err != nil {
			t.Error(err)
		}
	}
	for i, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"the first", func() { add("one") }, 1},
		{"the second", func() { add("two") }, 1},
		{"after a take", func() { q.Take(nil, 1<<20); add("thr") }, 2},
		{"closed", q.Close, 3},
	} {
		if step.do(); woken != step.want {
			t.Errorf("%d, %s: woken %d times, want %d", i, step.name, woken, step.want)
		}
	}
}

// TestQueueTimes takes proposals, and looks at the times that it is told: the clock
// is looked at when the queue ceases to be empty, and when some are left in it.
func TestQueueTimes(t *testing.T) {
	now, looks := time.Duration(0), 0
	q := NewQueue(1000, func() time.Duration { looks++; return now }, func() {})
	add := func(at time.Duration, name string) {
		now = at
		if err := q.TryAdd(t.Context(), proposal(name, 70)); err != nil {
			t.Error(err)
		}
	}
	for _, step := range []struct {
		name  string
		do    func()
		bytes int64
		want  time.Duration
		looks int
	}{
		{"nothing", func() {}, 1000, 0, 0},
		{"several", func() { add(5, "one"); add(6, "two") }, 1000, 5, 1},
		{"empty before", func() { add(7, "thr") }, 1000, 7, 2},
		{"the first of three", func() { add(8, "fou"); add(9, "fiv"); add(10, "six"); now = 20 }, 1, 8, 4},
		{"the second", func() { add(21, "sev"); now = 22 }, 1, 8, 5},
		{"those that joined after the first was taken", func() { q.Take(nil, 1); add(30, "eig") }, 1000, 20, 6},
	} {
		step.do()
		if _, since := q.Take(nil, step.bytes); since != step.want || looks != step.looks {
			t.Errorf("%s: joined at %d and %d looks, want %d and %d", step.name, since, looks, step.want, step.looks)
		}
	}
}

func TestQueueRefusesAtOnce(t *testing.T) {
	q := NewQueue(1000, noTime, func() {})
	if err := q.TryAdd(t.Context(), &Proposal{Data: make([]byte, MaxProposalBytes+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Add(ctx, &Proposal{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: got %v", err)
	}
	if bytes, _ := q.Stats(); bytes != 0 {
		t.Errorf("holds %d bytes", bytes)
	}
}
