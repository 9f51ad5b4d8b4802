package wallet_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wallet"
)

// referred is a history of transactions, all with one reference, by partition.
type referred struct {
	wallet.History
	of [3][]wallet.PastTransaction
}

func (h *referred) Transactions(q *wallet.ReferenceQuery) (page wallet.TransactionPage, err error) {
	page.Mark = wallet.HistoryMark{HistoryPosition: wallet.HistoryPosition{Partition: q.Partition, Index: 100}}
	for _, t := range h.of[q.Partition] {
		if t.Time < q.From || t.Compare(q.After) <= 0 {
			continue
		}
		if len(page.Transactions) == q.Limit {
			page.Next = page.Transactions[q.Limit-1].LineKey
			break
		}
		page.Transactions = append(page.Transactions, t)
	}
	return page, nil
}

// TestReferencePages reads the transactions of three partitions, some of which are of one time, in pages of
// every size: each comes once, in the order of time.
func TestReferencePages(t *testing.T) {
	h := &referred{}
	type place struct {
		wallet.LineKey
		Partition uint16
	}
	var want []place
	random := rand.New(rand.NewPCG(1, 2))
	for p := range h.of {
		k := wallet.LineKey{Time: 10}
		for range 4 {
			k = wallet.LineKey{Time: k.Time + random.Int64N(2), Index: k.Index + rsm.Index(random.IntN(2)), Number: k.Number + 1}
			h.of[p] = append(h.of[p], wallet.PastTransaction{LineKey: k, Code: wallet.Applied})
			want = append(want, place{k, uint16(p)})
		}
	}
	slices.SortFunc(want, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Partition, b.Partition), a.Compare(b.LineKey))
	})
	s, _ := dividedBy(t, vfs.NewMem(), uint16(len(h.of)), &wallet.ServiceOptions{History: h})
	for limit := 1; limit <= len(want)+1; limit++ {
		r := &wallet.ReferenceRequest{Tenant: wallet.DefaultTenant, Reference: "order", Limit: limit}
		var got []place
		for range len(want) + 1 {
			page, code, err := s.HistoryTransactions(t.Context(), r)
			if err != nil || code != wallet.Applied || len(page.Transactions) > limit || len(page.Reflects) != len(h.of) {
				t.Fatalf("limit %d: %+v, %v, %v", limit, page, code, err)
			}
			for _, v := range page.Transactions {
				got = append(got, place{v.LineKey, v.Partition})
			}
			if r.After = page.Next; r.After == (wallet.ReferenceCursor{}) {
				break
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
}
