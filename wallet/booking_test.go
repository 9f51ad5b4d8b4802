package wallet

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
)

// bookingsOf lets a machine decide a batch, and returns its bookings.
func bookingsOf(t *testing.T, m *Machine, batch []byte) (all []Booking) {
	t.Helper()
	results := m.Apply(nil, rsm.Batch{Data: batch})
	if err := Bookings(batch, results, m.Effects(), func(b *Booking) error {
		c := *b
		c.Moves = append([]Event(nil), b.Moves...)
		all = append(all, c)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestBookings(t *testing.T) {
	usd := money.MustParseCurrency("USD")
	m := NewMachine(&MachineOptions{Partitions: 2, Random: func() uint64 { return 1 }})
	in := func(partition uint16, n int) (id AccountID) { // the n-th account of a partition
		for i := 0; n > 0; i++ {
			if id = AccountID([]byte{'a', byte('a' + i%26), byte('a' + i/26)}); PartitionOf(DefaultTenant, id, 2) == partition {
				n--
			}
		}
		return id
	}
	a, b := in(0, 1), in(0, 2)
	for _, id := range []AccountID{a, b} {
		m.Apply(nil, rsm.Batch{Data: AppendAccount(AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: 1}), &NewAccount{ID: id, Currency: usd, Min: Unlimited})})
	}
	tx := func(n byte) *Transaction {
		return &Transaction{
			ID: TransactionID{n}, Postings: []Posting{{a, -5, usd}, {b, 5, usd}}, Reference: "r" + string(rune('0'+n)), Metadata: Metadata{"k": "v", "other": ""},
		}
	}
	refused, repeated := tx(2), tx(1)
	refused.Postings[0].Account = "nobody"
	back := tx(1).Original().Reverse(TransactionID{3})
	batch := AppendHeader(nil, Header{Kind: KindTransactions, Count: 4})
	for _, v := range []*Transaction{tx(1), refused, repeated, back} {
		batch = AppendTransaction(batch, v)
	}
	got := bookingsOf(t, m, batch)
	if len(got) != 2 {
		t.Fatalf("bookings %+v", got)
	}
	for i, want := range []*Transaction{tx(1), back} {
		g := &got[i]
		if diff := cmp.Diff(want, g.Says); diff != "" || g.ID != want.ID || len(g.Moves) != 2 || g.Moves[0].Amount != want.Postings[0].Amount || g.Began || g.Kind != KindTransactions {
			t.Errorf("booking %d: %+v (-want +says):\n%s", i, g, diff)
		}
	}
	if _, id := m.NameOf(got[0].Moves[1].Account); id != b {
		t.Errorf("the name of the second account is %s, want %s", id, b)
	}

	// With a participant elsewhere it begins, and here it has paid.
	far := tx(4)
	far.Postings[1] = Posting{in(1, 1), 5, usd}
	batch = appendCrossTransaction(AppendHeader(nil, Header{Kind: KindCrossTransactions, Count: 1}), AppendTransaction(nil, far), TCC, []Handle{0, 1<<partitionShift | 1})
	got = bookingsOf(t, m, batch)
	if len(got) != 2 || !got[0].Began || len(got[0].Moves) != 0 || got[1].Says != nil || got[1].ID != far.ID || got[1].Moves[0].Amount != -5 {
		t.Fatalf("bookings %+v", got)
	}
	if diff := cmp.Diff(far, got[0].Says); diff != "" {
		t.Errorf("(-want +says):\n%s", diff)
	}

	// Two transfers by handle, and one of them again.
	m2 := NewMachine(&MachineOptions{Random: func() uint64 { return 1 }})
	var hs []Handle
	for _, id := range []AccountID{a, b} {
		hs = append(hs, ParseOpened(m2.Apply(nil, rsm.Batch{Data: AppendAccount(AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: 1}), &NewAccount{ID: id, Currency: usd, Min: Unlimited})})).Handle)
	}
	batch = AppendHeader(nil, Header{Kind: KindTransfers, Count: 3})
	for _, n := range []byte{1, 2, 1} {
		batch = AppendHandleTransfer(batch, &HandleTransfer{ID: TransactionID{n}, From: hs[0], To: hs[1], Amount: 7, Currency: usd})
	}
	got = bookingsOf(t, m2, batch)
	if len(got) != 2 || got[1].ID != (TransactionID{2}) || len(got[1].Moves) != 2 || got[1].Moves[1].Balance != 14 || got[1].Says != nil {
		t.Errorf("bookings %+v", got)
	}
}
