package walletgrpc_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
)

// cutLog is a partition's log that takes nothing while it is away.
type cutLog struct {
	wallet.PartitionLog
	away *atomic.Bool
}

func (l cutLog) TrySubmit(ctx context.Context, p *rsm.Proposal) error {
	if l.away.Load() {
		return rsm.ErrNoLeader
	}
	return l.PartitionLog.TrySubmit(ctx, p)
}

// openDivided returns a wallet of two partitions, of which the second can be away,
// with the account a, without limit, in the first and b in the second.
func openDivided(t *testing.T) (s *wallet.Service, away *atomic.Bool) {
	t.Helper()
	parts := []*wallet.Partition{wallet.NewPartition(0, 2, rand.Uint64), wallet.NewPartition(1, 2, rand.Uint64)}
	host, err := rsmraft.Open("data", 1, &rsmraft.Options{
		FS: vfs.NewMem(), ReserveBytes: -1, SnapshotBytes: -1,
		Machine: func(id rsmraft.GroupID) rsm.Machine { return parts[id-1].Machine },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	away = new(atomic.Bool)
	for i, p := range parts {
		g, err := host.Begin(rsmraft.GroupID(i + 1))
		if err == nil {
			err = g.WaitLeader()
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Log = g
	}
	parts[1].Log = cutLog{parts[1].Log, away}
	s = wallet.NewDividedService(parts, nil)
	for i, id := range []wallet.AccountID{"a", "b"} {
		o, err := s.OpenAccount(t.Context(), wallet.DefaultTenant, wallet.NewAccount{ID: id, Currency: usd, Min: wallet.Unlimited})
		if err != nil || o.Handle != wallet.Handle(i<<48+1) {
			t.Fatalf("open %s: %+v, %v", id, o, err)
		}
	}
	return s, away
}

// TestProtocolOfAStream checks that the transfers of a stream are made by the
// protocol that its metadata names.
func TestProtocolOfAStream(t *testing.T) {
	for name, want := range map[string]wallet.Protocol{"": wallet.TCC, "tcc": wallet.TCC, "saga": wallet.Saga, "2pc": wallet.TwoPhase} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, away := openDivided(t)
				b := serveBubble(t, service, nil)
				var md []string
				if name != "" {
					md = []string{"maru-protocol", name}
				}
				s, err := openStream(t, b.client(t), md...)
				if err != nil {
					t.Fatal(err)
				}
				away.Store(true)
				transfer := wallet.HandleTransfer{ID: txid(1), From: 1, To: 1<<48 + 1, Amount: 1, Currency: usd}
				message := wallet.AppendHeader(make([]byte, 8), wallet.Header{Kind: wallet.KindTransfers, Count: 1})
				if err := s.SendMsg(wallet.AppendHandleTransfer(message, &transfer)); err != nil {
					t.Fatal(err)
				}
				var answer []byte
				if err := s.RecvMsg(&answer); err != nil || wallet.Result(answer[len(answer)-1]).Code() != wallet.Pending {
					t.Fatalf("got %x, %v", answer, err)
				}
				list, err := service.InFlight(t.Context(), wallet.DefaultTenant, 2)
				if err != nil || len(list.Transfers) != 1 || list.Transfers[0].Protocol != want {
					t.Errorf("in flight: got %+v, %v, want one by %v", list, err, want)
				}
			})
		})
	}
}

func TestUnknownProtocolOfAStream(t *testing.T) {
	for name, md := range map[string][]string{
		"unknown": {"maru-protocol", "3pc"}, "none": {"maru-protocol", "none"}, "empty": {"maru-protocol", ""},
		"twice": {"maru-protocol", "tcc", "maru-protocol", "tcc"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if _, err := openStream(t, newBubble(t, nil).client(t), md...); status.Code(err) != codes.InvalidArgument {
					t.Errorf("got %v, want %v", err, codes.InvalidArgument)
				}
			})
		})
	}
}
