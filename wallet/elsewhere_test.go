package wallet_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
)

// kept is a history that knows one thing, or says why not.
type kept struct {
	wallet.History
	from     int64 // it begins with this time
	partial  bool
	currency bool // it knows one
	asked    int
}

func (k *kept) BalancesAt(_ wallet.Handle, at int64) (wallet.PastBalances, error) {
	k.asked++
	if at < k.from {
		return wallet.PastBalances{}, fmt.Errorf("%w: it begins at %d", wallet.ErrHistoryUnavailable, k.from)
	}
	past := wallet.PastBalances{Partial: k.partial}
	if k.currency {
		past.Balances = []wallet.PastBalance{{Currency: usd, Amount: 7}}
	}
	return past, nil
}

func (k *kept) Events(q *wallet.EventQuery) (wallet.EventPage, error) {
	k.asked++
	if q.From < k.from {
		return wallet.EventPage{}, fmt.Errorf("%w: it begins at %d", wallet.ErrHistoryUnavailable, k.from)
	}
	return wallet.EventPage{Next: wallet.LineKey{Index: 5}}, nil
}

// way asks other nodes one after the other, as a cluster does.
type way struct {
	here  bool
	nodes []*wallet.Service
}

func (w *way) Here(uint16) bool { return w.here }

func (w *way) Ask(_ uint16, request []byte, _ bool, done func([]byte, time.Duration, error)) {
	last := fmt.Errorf("%w: no other node", rsm.ErrNoLeader)
	for _, n := range w.nodes {
		answered := make(chan struct{})
		var answer []byte
		n.Serve(request, func(b []byte, err error) {
			answer, last = b, err
			close(answered)
		})
		if <-answered; last == nil {
			done(answer, 0, nil)
			return
		}
	}
	done(nil, 0, last)
}

// TestHistoryElsewhere asks nodes whose histories begin at different times, and one
// that has no replica.
func TestHistoryElsewhere(t *testing.T) {
	const late = 1000
	for _, v := range []struct {
		name   string
		here   *kept // nil: there is no replica here
		others []*kept
		at     int64
		want   bool
	}{
		{"here", &kept{currency: true}, nil, 1, true},
		{"on the third node", &kept{from: late}, []*kept{{from: late}, {currency: true}}, 1, true},
		{"nowhere", &kept{from: late}, []*kept{{from: late}}, 1, false},
		{"with no other node", &kept{from: late}, nil, 1, false},
		{"without a replica", nil, []*kept{{from: late}, {currency: true}}, 1, true},
		{"without a replica, nowhere", nil, []*kept{{from: late}, {from: late}}, 1, false},
		{"partly here, all there", &kept{partial: true}, []*kept{{currency: true}}, late, true},
		{"partly, but all that it holds", &kept{partial: true, currency: true}, nil, late, true},
		{"partly only", &kept{partial: true}, []*kept{{partial: true}}, late, false},
		{"partly without a replica", nil, []*kept{{partial: true}, {partial: true}}, late, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			to := &way{here: v.here != nil}
			for _, k := range v.others {
				to.nodes = append(to.nodes, keeping(t, k, &way{here: true}))
			}
			var here wallet.History
			if v.here != nil {
				here = v.here
			}
			first := keeping(t, here, to)
			past, code, err := first.HistoryBalances(t.Context(), &wallet.HistoryRequest{Tenant: wallet.DefaultTenant, Account: "alice", At: v.at})
			switch {
			case v.want && (err != nil || code != wallet.Applied || len(past.Balances) != 1 || past.Balances[0].Amount != 7 || past.Partial):
				t.Errorf("got %+v, %v, %v", past, code, err)
			case !v.want && !errors.Is(err, wallet.ErrHistoryUnavailable):
				t.Errorf("got %+v, %v, %v", past, code, err)
			}
			if v.at == late {
				return
			}
			page, code, err := first.HistoryEvents(t.Context(), &wallet.EventsRequest{Tenant: wallet.DefaultTenant, From: v.at, Limit: 1})
			if v.want && (err != nil || code != wallet.Applied || page.Next.Index != 5) || !v.want && !errors.Is(err, wallet.ErrHistoryUnavailable) {
				t.Errorf("events: got %+v, %v, %v", page, code, err)
			}
		})
	}
	k := &kept{}
	s := keeping(t, k, &way{here: true})
	if _, code, err := s.HistoryBalances(t.Context(), &wallet.HistoryRequest{Tenant: wallet.DefaultTenant, Account: "bob", At: math.MaxInt64}); err != nil || code != wallet.UnknownAccount || k.asked > 0 {
		t.Errorf("no account: got %v, %v, asked %d times", code, err, k.asked)
	}
}

// keeping returns a node with a wallet in which alice has an account, and a history;
// without a history it has no replica of the wallet.
func keeping(t *testing.T, h wallet.History, to *way) *wallet.Service {
	t.Helper()
	if h == nil {
		runtime := rsmraft.NewRuntime()
		t.Cleanup(runtime.Close)
		p := wallet.NewPartition(0, 1, rand.Uint64)
		p.Log = emptyLog{loop: runtime.NewLoop("idle")}
		return wallet.NewDividedService([]*wallet.Partition{p}, &wallet.ServiceOptions{Remote: to})
	}
	s, _ := dividedBy(t, vfs.NewMem(), 1, &wallet.ServiceOptions{Remote: to, History: h})
	o, err := s.OpenAccount(t.Context(), wallet.DefaultTenant, wallet.NewAccount{ID: "alice", Currency: usd, Min: wallet.Unlimited})
	if err != nil || o.Code != wallet.Applied {
		t.Fatalf("open: %v, %v", o.Code, err)
	}
	return s
}
