package wallet_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
)

// readLog is a partition's log that counts reads.
type readLog struct {
	*rsmraft.Group
	reads *atomic.Int32
}

func (l readLog) StartRead(fn func(error)) {
	l.reads.Add(1)
	l.Group.StartRead(fn)
}

// receiptWorld is a wallet of three partitions, with two accounts in each, named after it: 0a, 0b, 1a, ...
type receiptWorld struct {
	*testing.T
	s      *wallet.Service
	groups []*rsmraft.Group
	names  map[string]wallet.AccountID
	reads  atomic.Int32
}

func newReceiptWorld(t *testing.T) *receiptWorld {
	t.Helper()
	w := &receiptWorld{T: t, names: map[string]wallet.AccountID{}}
	const partitions = 3
	w.s, _ = dividedOn(t, vfs.NewMem(), partitions, nil, func(g *rsmraft.Group) wallet.PartitionLog {
		w.groups = append(w.groups, g)
		return readLog{g, &w.reads}
	})
	for n := 0; len(w.names) < 2*partitions; n++ {
		id := wallet.AccountID(fmt.Sprint("a", n))
		of := wallet.PartitionOf(wallet.DefaultTenant, id, partitions)
		for _, name := range []string{fmt.Sprint(of, "a"), fmt.Sprint(of, "b")} {
			if w.names[name] == "" {
				w.names[name] = id
				mustOpen(t, w.s, id, wallet.Unlimited)
				break
			}
		}
	}
	return w
}

// at returns what the accounts have by the events up to positions, where a partition has one.
func (w *receiptWorld) at(ps wallet.HistoryPositions) map[string]money.Amount {
	w.Helper()
	out := map[string]money.Amount{}
	for _, p := range ps {
		out[fmt.Sprint(p.Partition, "a")], out[fmt.Sprint(p.Partition, "b")] = 0, 0
		f, err := w.groups[p.Partition].Feed(rsmraft.FirstEntry)
		if err != nil {
			w.Fatal(err)
		}
		for at := rsm.Index(0); at < p.Index; {
			d, err := f.Next(w.Context())
			if err == nil {
				at = d.Index
				err = wallet.EntryEvents(&d, func(_ uint32, e *wallet.Event) error {
					switch e.Kind { //nolint:exhaustive // the others change no balance
					case wallet.Debit, wallet.Credit, wallet.Return:
						out[fmt.Sprint(p.Partition, string("_ab"[e.Account&3]))] = e.Balance
					}
					return nil
				})
			}
			if err != nil {
				w.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			w.Error(err)
		}
	}
	return out
}

// now returns what the accounts of partitions have.
func (w *receiptWorld) now(partitions []string) map[string]money.Amount {
	w.Helper()
	out := map[string]money.Amount{}
	for _, p := range partitions {
		for _, name := range []string{p + "a", p + "b"} {
			a, _, err := w.s.Account(w.Context(), wallet.DefaultTenant, w.names[name])
			if err != nil {
				w.Fatal(err)
			}
			out[name] = a.Balances[0].Amount
		}
	}
	return out
}

// TestReceipts moves money between partitions in every way: the positions of a receipt show all that became of it on each
// side, and no partition was asked for them. When the same is asked again, whose end nobody saw, the partitions are asked.
func TestReceipts(t *testing.T) {
	w := newReceiptWorld(t)
	hold := wallet.NewHold{ID: wallet.TransactionID{9}, Account: w.names["0a"], Amount: 100, Currency: usd, Expires: wallet.Millis(time.Now().Add(time.Hour).UnixMilli())}
	if r, err := w.s.PlaceHold(t.Context(), wallet.DefaultTenant, hold); err != nil || r.Code() != wallet.Held {
		t.Fatal(r, err)
	}
	transfer := func(id wallet.TransactionID) wallet.Transfer {
		return wallet.Transfer{ID: id, From: w.names["0a"], To: w.names["2a"], Amount: 5, Currency: usd}
	}
	transaction := func(id wallet.TransactionID) *wallet.Transaction {
		return &wallet.Transaction{ID: id, Postings: []wallet.Posting{
			{Account: w.names["1a"], Amount: -7, Currency: usd},
			{Account: w.names["0a"], Amount: -2, Currency: usd},
			{Account: w.names["1b"], Amount: 4, Currency: usd},
			{Account: w.names["0b"], Amount: 1, Currency: usd},
			{Account: w.names["2b"], Amount: 4, Currency: usd},
		}}
	}
	tests := []struct {
		name string
		in   []string // the partitions
		do   func(context.Context, wallet.TransactionID) (wallet.Result, error)
	}{
		{"transfer by tcc", []string{"0", "2"}, func(ctx context.Context, id wallet.TransactionID) (wallet.Result, error) {
			return w.s.TransferBy(ctx, wallet.DefaultTenant, wallet.TCC, transfer(id))
		}},
		{"transfer by saga", []string{"0", "2"}, func(ctx context.Context, id wallet.TransactionID) (wallet.Result, error) {
			return w.s.TransferBy(ctx, wallet.DefaultTenant, wallet.Saga, transfer(id))
		}},
		{"transfer by 2pc", []string{"0", "2"}, func(ctx context.Context, id wallet.TransactionID) (wallet.Result, error) {
			return w.s.TransferBy(ctx, wallet.DefaultTenant, wallet.TwoPhase, transfer(id))
		}},
		{"capture", []string{"0", "2"}, func(ctx context.Context, id wallet.TransactionID) (wallet.Result, error) {
			return w.s.Capture(ctx, wallet.DefaultTenant, wallet.Capture{Transfer: transfer(id), Hold: hold.ID})
		}},
		{"transaction by tcc", []string{"0", "1", "2"}, func(ctx context.Context, id wallet.TransactionID) (wallet.Result, error) {
			return w.s.TransactBy(ctx, wallet.DefaultTenant, wallet.TCC, transaction(id))
		}},
		{"transaction by saga", []string{"0", "1", "2"}, func(ctx context.Context, id wallet.TransactionID) (wallet.Result, error) {
			return w.s.TransactBy(ctx, wallet.DefaultTenant, wallet.Saga, transaction(id))
		}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, try := range []struct {
				name string
				asks int32
			}{{"first", 0}, {"again", int32(len(tt.in) - 1)}} {
				ctx, receipt := wallet.WithReceipt(t.Context())
				before := w.reads.Load()
				if r, err := tt.do(ctx, wallet.TransactionID{1, byte(i)}); err != nil || r.Code() != wallet.Applied {
					t.Fatal(r, err)
				}
				if asked := w.reads.Load() - before; asked != try.asks {
					t.Errorf("%s: %d partitions were asked, want %d", try.name, asked, try.asks)
				}
				if diff := cmp.Diff(w.now(tt.in), w.at(receipt.Positions())); diff != "" {
					t.Errorf("%s: what accounts have, and by %v (-want +got):\n%s", try.name, receipt.Positions(), diff)
				}
			}
		})
	}
}
