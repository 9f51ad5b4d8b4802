package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
)

// cutLog is a partition's log that has no leader while it is away.
type cutLog struct {
	wallet.PartitionLog
	away *atomic.Bool
}

func (l cutLog) err() error {
	if l.away.Load() {
		return fmt.Errorf("%w: it is a test", rsm.ErrNoLeader)
	}
	return nil
}

func (l cutLog) TrySubmit(ctx context.Context, p *rsm.Proposal) error {
	if err := l.err(); err != nil {
		return err
	}
	return l.PartitionLog.TrySubmit(ctx, p)
}

func (l cutLog) Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error) {
	if err := l.err(); err != nil {
		return nil, rsm.Position{}, err
	}
	return l.PartitionLog.Propose(ctx, data)
}

func (l cutLog) StartRead(fn func(error)) {
	if err := l.err(); err != nil {
		fn(err)
		return
	}
	l.PartitionLog.StartRead(fn)
}

// openCut opens a wallet of two partitions on one node, of which the second can
// be without a leader, with an account in each: p in the first, and q. The
// service must not be used after stop.
func openCut(t *testing.T) (s *wallet.Service, p, q wallet.AccountID, away *atomic.Bool, stop func()) {
	t.Helper()
	s, p, q, both, stop := openCutBoth(t)
	return s, p, q, both[1], stop
}

// openCutBoth is openCut where either partition can be without a leader.
func openCutBoth(t *testing.T) (s *wallet.Service, p, q wallet.AccountID, away [2]*atomic.Bool, stop func()) {
	t.Helper()
	parts := make([]*wallet.Partition, 2)
	for i := range parts {
		parts[i] = wallet.NewPartition(uint16(i), uint16(len(parts)), rand.Uint64)
	}
	host, err := rsmraft.Open("data", 1, &rsmraft.Options{
		FS: vfs.NewMem(), ReserveBytes: -1, SnapshotBytes: -1,
		Machine: func(id rsmraft.GroupID) rsm.Machine { return parts[id-1].Machine },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range parts {
		g, err := host.Begin(rsmraft.GroupID(i + 1))
		if err == nil {
			err = g.WaitLeader()
		}
		if err != nil {
			t.Fatal(err)
		}
		away[i] = new(atomic.Bool)
		part.Log = cutLog{g, away[i]}
	}
	s = wallet.NewDividedService(parts, nil)
	for n := 0; p == "" || q == ""; n++ {
		id := wallet.AccountID(fmt.Sprint("a", n))
		if of := &[]*wallet.AccountID{&p, &q}[wallet.PartitionOf(wallet.DefaultTenant, id, 2)]; **of == "" {
			**of = id
			mustOpen(t, s, id, wallet.Unlimited)
		}
	}
	return s, p, q, away, func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestInFlight lists what is under way to a partition without a leader, for the
// tenant that asks only, and nothing once that has one again.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, from, to, away, stop := openCut(t)
		defer stop()
		ctx, d := t.Context(), wallet.DefaultTenant
		away.Store(true)
		for n := range 3 {
			r, err := s.Transfer(ctx, d, wallet.Transfer{ID: id(n), From: from, To: to, Amount: 5, Currency: usd})
			if err != nil || r.Code() != wallet.Pending {
				t.Fatalf("transfer: got %v, %v", r.Code(), err)
			}
		}
		var got []string
		list, err := s.InFlight(ctx, d, 3)
		for _, f := range list.Transfers {
			got = append(got, fmt.Sprint(f.ID[0], f.From == from, f.ToAccount == to, f.To, f.Amount, f.Currency, f.Protocol, f.Phase))
		}
		want := []string{}
		for n := range 3 {
			want = append(want, fmt.Sprint(n, true, true, wallet.Handle(1<<48+1), 5, usd, wallet.TCC, wallet.Trying))
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil || list.More || !list.Stale {
			t.Errorf("in flight: %v, more %v, stale %v (-want +got):\n%s", err, list.More, list.Stale, diff)
		}
		if list, err = s.InFlight(ctx, d, 2); err != nil || len(list.Transfers) != 2 || !list.More {
			t.Errorf("two of three: got %+v, %v", list, err)
		}
		if list, err = s.InFlight(ctx, "another", 2); err != nil || len(list.Transfers) != 0 || list.More {
			t.Errorf("another tenant's: got %+v, %v", list, err)
		}
		away.Store(false)
		for code := wallet.Pending; code == wallet.Pending; {
			time.Sleep(time.Second) // of the bubble
			if code, err = s.Decision(ctx, d, id(2)); err != nil || code != wallet.Pending && code != wallet.Applied {
				t.Fatalf("decision: got %v, %v", code, err)
			}
		}
		if list, err = s.InFlight(ctx, d, 3); err != nil || len(list.Transfers) != 0 || list.Stale {
			t.Errorf("at the end: got %+v, %v", list, err)
		}
	})
}

// TestAccountStale reads accounts of a partition without a leader, and of a
// wallet that is not divided.
func TestAccountStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, q, away, stop := openCut(t)
		defer stop()
		away.Store(true)
		if _, _, err := s.Account(t.Context(), wallet.DefaultTenant, q); !errors.Is(err, rsm.ErrNoLeader) {
			t.Errorf("linearizable: got %v, want %v", err, rsm.ErrNoLeader)
		}
		if a, code, _, err := s.AccountStale(t.Context(), wallet.DefaultTenant, q); err != nil || code != wallet.Applied || a.ID != q {
			t.Errorf("stale: got %+v, %v, %v", a, code, err)
		}
	})
	s, _ := start(t, vfs.NewMem())
	mustOpen(t, s, "a", 0)
	for name, test := range map[string]struct {
		tenant wallet.Tenant
		id     wallet.AccountID
		want   wallet.Code
	}{
		"known":           {"default", "a", wallet.Applied},
		"unknown account": {"default", "b", wallet.UnknownAccount},
		"unknown tenant":  {"another", "a", wallet.UnknownTenant},
	} {
		a, code, age, err := s.AccountStale(t.Context(), test.tenant, test.id)
		if err != nil || code != test.want || age < 0 || code == wallet.Applied && a.ID != test.id {
			t.Errorf("%s: got %+v, %v, %v, %v", name, a, code, age, err)
		}
	}
	if _, _, _, err := s.AccountStale(t.Context(), wallet.DefaultTenant, "a b"); !errors.Is(err, wallet.ErrAccountID) {
		t.Errorf("malformed: got %v", err)
	}
}

// TestTenantInPart makes a tenant while a partition has no leader: it is there, and
// the answer does not say that nothing was done. Later the partition knows it too.
func TestTenantInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _, away, stop := openCut(t)
		defer stop()
		away.Store(true)
		if code, err := s.CreateTenant(t.Context(), "x"); !errors.Is(err, rsm.ErrUnknown) {
			t.Errorf("got %v, %v, want ErrUnknown", code, err)
		}
		away.Store(false)
		id := wallet.AccountID("a")
		for n := 0; wallet.PartitionOf("x", id, 2) != 1; n++ {
			id = wallet.AccountID(fmt.Sprint("a", n))
		}
		if code, err := s.SetStatus(t.Context(), "x", id, wallet.Frozen); err != nil || code != wallet.UnknownAccount {
			t.Errorf("an account of it: %v, %v, want unknown_account", code, err)
		}
	})
}

// TestDecisionInPart asks for decisions while the first partition has no leader: what
// the second decided is known, and what may be the first's is not.
func TestDecisionInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, q, ways, stop := openCutBoth(t)
		defer stop()
		transfer := wallet.Transfer{ID: wallet.TransactionID{1}, From: q, To: p, Amount: 5, Currency: usd}
		if r, err := s.Transfer(t.Context(), wallet.DefaultTenant, transfer); err != nil || r.Code() != wallet.Applied {
			t.Fatal(r.Code(), err)
		}
		ways[0].Store(true) // the first one that is asked
		if code, err := s.Decision(t.Context(), wallet.DefaultTenant, transfer.ID); code != wallet.Applied || err != nil {
			t.Errorf("got %v, %v, want applied", code, err)
		}
		if code, err := s.Decision(t.Context(), wallet.DefaultTenant, wallet.TransactionID{2}); code != wallet.Undecided || !errors.Is(err, rsm.ErrNoLeader) {
			t.Errorf("got %v, %v, want ErrNoLeader", code, err)
		}
	})
}
