package rsm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

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
	q := newQueue(maxBytes)
	var model []string
	var sizes []int64
	var held, underWay int64
	for step := range 20_000 {
		switch r.IntN(5) {
		default:
			name, size := fmt.Sprintf("%03d", step%1000), 70+r.Int64N(200)
			err := q.tryAdd(newItem(proposal(name, size)))
			if fits := held == 0 || held+size <= maxBytes+maxBytes/proposeShare; fits != (err == nil) {
				t.Fatalf("step %d: %d bytes held, %d more: %v", step, held, size, err)
			}
			if err == nil {
				model, sizes, held = append(model, name), append(sizes, size), held+size
			}
		case 3:
			budget := r.Int64N(800)
			got, open := q.take(nil, budget)
			want, taken := 0, int64(0)
			for want < len(model) && (want == 0 || taken < budget) {
				taken += sizes[want]
				want++
			}
			if diff := cmp.Diff(append([]string(nil), model[:want]...), names(got)); diff != "" || !open {
				t.Fatalf("step %d: open %v, took (-want +got):\n%s", step, open, diff)
			}
			model, sizes, underWay = model[want:], sizes[want:], underWay+taken
		case 4:
			q.release(underWay)
			held, underWay = held-underWay, 0
		}
		if got, _ := q.stats(); got != held {
			t.Fatalf("step %d: holds %d bytes, want %d", step, got, held)
		}
	}
}

func TestQueueWaitersKeepTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(300)
		add := func(ctx context.Context, name string, bytes int64) <-chan error {
			result := make(chan error, 1)
			go func() { result <- q.add(ctx, newItem(proposal(name, bytes))) }()
			synctest.Wait()
			return result
		}
		if err := <-add(t.Context(), "one", 200); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		large := add(ctx, "big", 200)
		two := add(t.Context(), "two", 80) // would fit, but is behind
		if err := q.tryAdd(newItem(proposal("now", 100))); err != nil {
			t.Errorf("who does not wait has an eighth of his own: %v", err)
		}
		if err := q.tryAdd(newItem(proposal("bsy", 70))); !errors.Is(err, ErrBusy) {
			t.Errorf("beyond that: got %v, want ErrBusy", err)
		}
		three := add(t.Context(), "thr", 250)
		if got, _ := q.take(nil, 1<<20); len(got) != 2 {
			t.Errorf("took %v, want two", names(got))
		}
		cancel()
		if err := <-large; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want Canceled", err)
		}
		q.release(300)
		if err := <-two; err != nil {
			t.Error(err)
		}
		select {
		case err := <-three:
			t.Errorf("joined without room: %v", err)
		default:
		}
		got, _ := q.take(nil, 1<<20)
		q.release(80)
		if err := <-three; err != nil {
			t.Error(err)
		}
		got, _ = q.take(got, 1<<20)
		if diff := cmp.Diff([]string{"two", "thr"}, names(got)); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestQueueRefusals(t *testing.T) {
	errFull, errFailed := errors.New("full"), errors.New("failed")
	q := newQueue(1000)
	steps := []struct {
		name string
		do   func()
		want error
	}{
		{"takes", func() {}, nil},
		{"full", func() { q.setFull(errFull) }, errFull},
		{"room again", func() { q.setFull(nil) }, nil},
		{"closed", func() { q.close() }, ErrClosed},
		{"closed and full", func() { q.setFull(errFull) }, ErrClosed},
		{"failed", func() { q.fail(errFailed) }, errFailed},
	}
	for _, s := range steps {
		s.do()
		if err := q.tryAdd(newItem(&Proposal{})); !errors.Is(err, s.want) {
			t.Errorf("%s: got %v, want %v", s.name, err, s.want)
		}
		if err := q.err(); !errors.Is(err, s.want) {
			t.Errorf("%s: err is %v, want %v", s.name, err, s.want)
		}
	}
	if got, open := q.take(nil, 1<<20); len(got) != 2 || open {
		t.Errorf("took %d, open %v; want what was taken before, and no more", len(got), open)
	}
}
