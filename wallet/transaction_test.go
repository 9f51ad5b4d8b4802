package wallet

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
)

// legsOf makes postings in USD of accounts and amounts in turn.
func legsOf(of ...any) (ps []Posting) {
	for i := 0; i < len(of); i += 2 {
		ps = append(ps, Posting{AccountID(of[i].(string)), money.Amount(of[i+1].(int)), usd})
	}
	return ps
}

// TestTransactionCodes has one line for each way a transaction within a partition can end.
func TestTransactionCodes(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "bank", usd, Unlimited)
	openAccount(t, m, "alice", usd, 0)
	openAccount(t, m, "bob", usd, 0)
	openAccount(t, m, "frozen", usd, Unlimited)
	openAccount(t, m, "closed", usd, Unlimited)
	openAccount(t, m, "locked", usd, Unlimited)
	openAccount(t, m, "yen", jpy, Unlimited)
	openAccount(t, m, "high", usd, 0)
	do(t, m, KindAddCurrency, AppendAccount(nil, &NewAccount{"alice", jpy, 0}))
	do(t, m, KindSetStatus, AppendStatus(nil, "frozen", Frozen))
	do(t, m, KindSetStatus, AppendStatus(nil, "closed", Closed))
	m.get(0, m.lookup(0, "locked")).status |= locked
	for i, tt := range []struct {
		name     string
		postings []Posting
		want     Code
		forgot   bool
	}{
		{"from the bank", legsOf("bank", -100, "alice", 100), Applied, false},
		{"three", legsOf("alice", -100, "bob", 60, "bank", 40), Applied, false},
		{"debited first, and credited", legsOf("alice", -50, "bank", -50, "alice", 90, "bank", 10), Applied, false},
		{"more than there is, but for the sum", legsOf("alice", -90, "bob", 90, "bob", -10, "alice", 10), InsufficientFunds, false},
		{"two currencies", append(legsOf("bank", -5, "alice", 5), Posting{"yen", -7, jpy}, Posting{"alice", 7, jpy}), Applied, false},
		{"nothing in sum", legsOf("bob", 5, "bob", -5), Applied, false},
		{"nothing in sum for one that is frozen", legsOf("frozen", 5, "frozen", -5), AccountFrozen, false},
		{"unbalanced", legsOf("bank", -5, "alice", 4), Unbalanced, false},
		{"balanced across currencies", []Posting{{"bank", -5, usd}, {"alice", 5, jpy}}, Unbalanced, false},
		{"insufficient", legsOf("bob", -61, "bank", 61), InsufficientFunds, false},
		{"unknown", legsOf("bank", -1, "nobody", 1), UnknownAccount, false},
		{"unknown and unbalanced", legsOf("bank", -1, "nobody", 2), Unbalanced, false},
		{"frozen", legsOf("bank", -1, "alice", 2, "frozen", -1), AccountFrozen, false},
		{"closed", legsOf("closed", -1, "alice", 2, "frozen", -1), AccountClosed, false},
		{"locked", legsOf("bank", -1, "locked", 1), AccountLocked, true},
		{"currency", legsOf("bank", -1, "yen", 1), CurrencyNotHeld, false},
		{"the largest number", legsOf("bank", -math.MaxInt64, "high", math.MaxInt64), Overflow, false}, // of the bank
		{"postings that do not fit", legsOf("bank", -math.MaxInt64, "bank", -math.MaxInt64, "high", math.MaxInt64, "high", math.MaxInt64), Overflow, false},
		{"one posting", legsOf("bank", -1), Malformed, true},
		{"a posting of nothing", legsOf("bank", 0, "alice", 0), Malformed, true},
		{"the smallest number", legsOf("bank", math.MinInt64, "alice", 1), Malformed, true},
		{"no name", legsOf("", -1, "alice", 1), Malformed, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := &Transaction{ID: txid(uint64(i + 1)), Postings: tt.postings, Reference: "r", Metadata: Metadata{"k": "v"}}
			before := describeAccounts(m)
			if got := do(t, m, KindTransactions, AppendTransaction(nil, v)); got != tt.want {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			if after := describeAccounts(m); tt.want != Applied && after != before {
				t.Errorf("a refused transaction changed accounts: %s", cmp.Diff(before, after))
			}
			if again := Result(do(t, m, KindTransactions, AppendTransaction(nil, v))); again.Repeated() == tt.forgot || again.Code() != tt.want {
				t.Errorf("again: got %v, repeated %v", again.Code(), again.Repeated())
			}
			if tt.forgot {
				return
			}
			for _, change := range []func(){
				func() { v.Reference = "s" }, func() { v.Reference, v.Metadata = "r", Metadata{"k": "w"} },
				func() {
					v.Metadata, v.Postings = Metadata{"k": "v"}, append(legsOf("bank", 1, "bank", -1), v.Postings...)
				},
			} {
				if change(); do(t, m, KindTransactions, AppendTransaction(nil, v)) != IDReused {
					t.Errorf("other content was taken: %+v", v)
				}
			}
		})
	}
}

// TestReversals takes transfers and transactions back, in whole and in parts.
func TestReversals(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "bank", usd, Unlimited)
	openAccount(t, m, "a", usd, Unlimited)
	openAccount(t, m, "b", usd, 0)
	tr := Transfer{txid(1), "a", "b", 10, usd}
	do(t, m, KindTransfersByName, AppendTransfer(nil, &tr))
	refused := Transfer{txid(2), "b", "a", 1000, usd}
	do(t, m, KindTransfersByName, AppendTransfer(nil, &refused))
	tx := &Transaction{ID: txid(3), Postings: legsOf("bank", -30, "a", 10, "b", 15, "a", 5), Metadata: Metadata{"k": "v"}}
	do(t, m, KindTransactions, AppendTransaction(nil, tx))

	of, ofTx := OriginalTransfer(&tr), tx.Original()
	part := func(o *Original, of ...any) *Transaction { return &Transaction{Postings: legsOf(of...), Reverses: o} }
	other := *of
	other.Postings = legsOf("a", -9, "b", 9)
	noted := *ofTx
	noted.Metadata = nil
	whole := of.Reverse(TransactionID{})
	for i, tt := range []struct {
		name string
		t    *Transaction
		want Code
	}{
		{"another content", (&other).Reverse(TransactionID{}), NotReversible},
		{"other metadata", (&noted).Reverse(TransactionID{}), NotReversible},
		{"a refused one", OriginalTransfer(&refused).Reverse(TransactionID{}), NotReversible},
		{"an unknown one", OriginalTransfer(&Transfer{txid(99), "a", "b", 10, usd}).Reverse(TransactionID{}), NotReversible},
		{"more than all", of.ReversePart(TransactionID{}, 11), OverReversed},
		{"the wrong way", part(of, "a", -1, "b", 1), OverReversed},
		{"to another account", part(of, "bank", 1, "b", -1), OverReversed},
		{"a part", of.ReversePart(TransactionID{}, 4), Applied},
		{"all, after a part", whole, OverReversed},
		{"the rest", of.ReversePart(TransactionID{}, 6), Applied},
		{"one more", of.ReversePart(TransactionID{}, 1), OverReversed},
		{"unbalanced", part(ofTx, "bank", 2, "a", -1), Unbalanced},
		{"a leg of two postings", part(ofTx, "bank", 12, "a", -12), Applied},
		{"too much of a leg", part(ofTx, "bank", 4, "a", -4), OverReversed},
		{"what is not there any more", part(ofTx, "bank", 15, "b", -15), Applied},
		{"the last of it", part(ofTx, "bank", 3, "a", -3), Applied},
		{"nothing is left", part(ofTx, "bank", 1, "a", -1), OverReversed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.t.ID = txid(uint64(100 + i))
			if got := do(t, m, KindTransactions, AppendTransaction(nil, tt.t)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			restored := NewMachine(nil)
			if err := restored.Restore(bytes.NewReader(image(m))); err != nil || describe(restored) != describe(m) {
				t.Errorf("after a restart: %v, %s", err, cmp.Diff(describe(m), describe(restored)))
			}
		})
	}
	for _, id := range []AccountID{"bank", "a", "b"} {
		if a, _ := m.Find(DefaultTenant, id); a.Balances[0].Amount != 0 {
			t.Errorf("%s has %d after all was taken back", id, a.Balances[0].Amount)
		}
	}
	// A reversal is not reversed, not even by one who says that it is none.
	again := (&Original{ID: txid(107), Postings: legsOf("a", 4, "b", -4)}).Reverse(txid(200))
	if got := do(t, m, KindTransactions, AppendTransaction(nil, again)); got != NotReversible {
		t.Errorf("a reversal was reversed: %v", got)
	}
}

// trio is three partitions, each with accounts 1 (without limit) and 2 (from 0 on).
type trio struct {
	tb    testing.TB
	parts []*Machine
	names [3][2]AccountID
	next  uint64
}

func newTrio(tb testing.TB) *trio {
	tb.Helper()
	c := &trio{tb: tb}
	for p := range uint16(3) {
		m := newPartition(p, 3)
		m.tenants[0].ids.seed = [2]uint64{1, 2}
		for i, smallest := range []money.Amount{Unlimited, 0} {
			c.names[p][i] = local(p, 3, i)
			openAccount(tb, m, c.names[p][i], usd, smallest)
		}
		c.parts = append(c.parts, m)
	}
	return c
}

// begin begins a transaction in the first partition: of partition, account, amount in turn.
func (c *trio) begin(by Protocol, of ...int) Code {
	c.next++
	v := &Transaction{ID: txid(c.next), Reference: "r"}
	var handles []Handle
	for i := 0; i < len(of); i += 3 {
		v.Postings = append(v.Postings, Posting{c.names[of[i]][of[i+1]-1], money.Amount(of[i+2]), usd})
		handles = append(handles, Handle(of[i])<<partitionShift|Handle(of[i+1]))
	}
	return do(c.tb, c.parts[0], KindCrossTransactions, appendCrossTransaction(nil, AppendTransaction(nil, v), by, handles))
}

// step brings what is due to a partition there, and the answers back, and returns what
// was asked and answered.
func (c *trio) step(peer uint16) (said []string) {
	c.tb.Helper()
	p := c.parts[0]
	messages, _ := p.due(nil, peer, 0, MaxBatch)
	for i := range messages {
		v := &messages[i]
		code := do(c.tb, c.parts[peer], KindParticipate, appendMessage(appendMessages(nil, 0, peer, p.low(peer)), v))
		settled := do(c.tb, p, KindPhases, appendAnswer(appendAnswers(nil, 0, peer), answer{v.action, code, v.seq}))
		said = append(said, fmt.Sprintf("%d of %d: %v, %v", v.action, peer, code, settled))
	}
	for _, m := range c.parts {
		checkInvariant(c.tb, m)
	}
	return said
}

func (c *trio) balances() (all []money.Amount) {
	for _, m := range c.parts {
		all = append(all, m.accounts.at(0).amount, m.accounts.at(1).amount)
	}
	return all
}

// TestSagaOrder follows sagas of three partitions, of which the last one refuses: what
// was credited cannot be spent before, and what was debited comes back in reverse order.
func TestSagaOrder(t *testing.T) {
	c := newTrio(t)
	if got := c.begin(Saga, 0, 1, -10, 2, 2, 4, 1, 1, -5, 1, 2, 11); got != Pending {
		t.Fatalf("begin: %v", got)
	}
	// The second partition pays, so that it comes first; the third one is the last.
	var said []string
	for range 3 {
		said = append(said, append(c.step(2), c.step(1)...)...)
		if got := c.parts[1].accounts.at(1).amount; len(said) < 3 && got != 0 {
			t.Errorf("%d can be spent before the saga has ended", got)
		}
	}
	want := []string{"7 of 1: applied, applied", "8 of 2: applied, applied", "4 of 1: applied, applied"}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("one that is done (-want +got):\n%s", diff)
	}
	if got := decision(c.parts[0], txid(1)); got != Applied {
		t.Errorf("decided: %v", got)
	}
	if diff := cmp.Diff([]money.Amount{-10, 0, -5, 11, 0, 4}, c.balances()); diff != "" {
		t.Errorf("balances (-want +got):\n%s", diff)
	}
	c.parts[2].accounts.at(1).status = Frozen
	c.begin(Saga, 0, 1, -10, 1, 1, -5, 2, 2, 15)
	said = nil
	for range 3 {
		said = append(said, append(c.step(1), c.step(2)...)...)
		if got := c.parts[0].accounts.at(0).amount; len(said) == 2 && got != -20 {
			t.Errorf("the first debit came back first: %d", got)
		}
	}
	want = []string{"7 of 1: applied, applied", "8 of 2: account_frozen, applied", "5 of 1: applied, applied"}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("one that is refused (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]money.Amount{-10, 0, -5, 11, 0, 4}, c.balances()); diff != "" {
		t.Errorf("balances after a refusal (-want +got):\n%s", diff)
	}
	if got := decision(c.parts[0], txid(2)); got != AccountFrozen {
		t.Errorf("decided: %v", got)
	}
}

// TestTooManyTransactions fills the table of those under way.
func TestTooManyTransactions(t *testing.T) {
	c := newTrio(t)
	for range MaxTransactionsInFlight {
		c.begin(TCC, 0, 1, -1, 1, 1, 1)
	}
	if got := c.begin(TCC, 0, 1, -1, 1, 1, 1); got != TooManyInFlight {
		t.Fatalf("one more: %v", got)
	}
	if got := decision(c.parts[0], txid(c.next)); got != Undecided {
		t.Errorf("it is remembered: %v", got)
	}
	for range 2 * (MaxTransactionsInFlight/MaxBatch + 1) {
		c.step(1)
	}
	if n := len(c.parts[0].crossing.transactions) + len(c.parts[1].crossing.legs); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// busyTrio has transactions in each phase, and reversals, from all sides.
func busyTrio(tb testing.TB) *trio {
	tb.Helper()
	c := newTrio(tb)
	c.begin(TCC, 0, 1, -9, 1, 2, 9)
	c.step(1)
	c.step(1)
	c.begin(TCC, 0, 1, -10, 1, 2, 4, 2, 2, 6)
	c.step(1)
	c.begin(TCC, 0, 1, -10, 1, 2, 4, 2, 2, 6)
	c.begin(Saga, 0, 1, -10, 1, 1, -5, 2, 2, 15)
	c.step(1)
	o := &Original{ID: txid(1), Postings: []Posting{{local(0, 3, 0), -9, usd}, {local(1, 3, 1), 9, usd}}, Reference: "r"}
	for i, by := range []Protocol{TCC, Saga} {
		v := o.ReversePart(txid(uint64(50+i)), 2)
		do(tb, c.parts[0], KindCrossTransactions, appendCrossTransaction(nil, AppendTransaction(nil, v), by, []Handle{0, 1<<partitionShift | 2}))
	}
	c.begin(TCC, 0, 1, -1, 2, 1, 1)
	c.begin(Saga, 0, 1, -1, 1, 1, -1, 2, 2, 2)
	for _, peer := range []uint16{2, 1} {
		out := &c.parts[0].crossing.peers[peer].out
		do(tb, c.parts[0], KindPhases, appendAnswer(appendAnswers(nil, 0, peer), answer{actGiveUp, Undecided, out.next - 1}))
	}
	return c
}

// transactionSamples is a batch of each kind that is about transactions.
func transactionSamples() map[Kind][]byte {
	id, _ := ParseTransactionID("00112233-4455-6677-8899-aabbccddeeff")
	header := func(k Kind, n int) []byte { return AppendHeader(nil, Header{k, 0, n}) }
	v := &Transaction{ID: id, Postings: legsOf("alice", -30, "bob", 30), Reference: "order-7", Metadata: Metadata{"shop": "3", "desk": "front"}}
	back := v.Original().Reverse(txid(9))
	legs := appendLeg(appendLeg(nil, &leg{account: inQ(1), amount: -5, currency: usd}), &leg{account: inQ(2), amount: 7, currency: usd})
	participate := appendMessages(header(KindParticipate, 2), 0, 1, 1)
	participate = appendMessage(participate, &message{action: actTryLegs, seq: 1, key: makeKey(id[:]), legs: legs})
	participate = appendMessage(participate, &message{action: actCreditLegs, seq: 2, key: makeKey(id[:]), legs: legs})
	phases := appendAnswer(appendAnswers(header(KindPhases, 2), 0, 1), answer{actTryLegs, Applied, 1})
	return map[Kind][]byte{
		KindTransactions: AppendTransaction(AppendTransaction(AppendTransaction(header(KindTransactions, 3), v), back),
			OriginalTransfer(&Transfer{id, "alice", "bob", 1999, usd}).ReversePart(txid(10), 99)),
		KindCrossTransactions: appendCrossTransaction(header(KindCrossTransactions, 1), AppendTransaction(nil, v), Saga, []Handle{0, inQ(2)}),
		KindParticipate:       participate,
		KindPhases:            appendAnswer(phases, answer{actCreditLegs, InsufficientFunds, 2}),
	}
}

func TestGoldenTransactions(t *testing.T) {
	var all []byte
	for _, k := range []Kind{KindTransactions, KindCrossTransactions, KindParticipate, KindPhases} {
		b := transactionSamples()[k]
		if h, err := Validate(b); err != nil || h.Kind != k {
			t.Errorf("%v: got %v, %v", k, h, err)
		}
		if _, err := ValidateRequest(b); (err == nil) != (k == KindTransactions) {
			t.Errorf("%v on the stream: got %v", k, err)
		}
		for n := range b {
			if _, err := Validate(b[:n]); !errors.Is(err, ErrFormat) {
				t.Errorf("the first %d bytes of %v: got %v", n, k, err)
			}
		}
		all = append(all, b...)
	}
	golden(t, "transactions.golden", all)
}

func TestGoldenTransactionSnapshots(t *testing.T) {
	c := busyTrio(t)
	for number, m := range c.parts {
		got := image(m)
		golden(t, fmt.Sprintf("transactions-%d.golden", number), got)
		restored := NewMachine(&m.options)
		if err := restored.Restore(bytes.NewReader(got)); err != nil || describe(restored) != describe(m) {
			t.Errorf("restored: %v, %s", err, cmp.Diff(describe(m), describe(restored)))
		}
		step := []int{3, 11, 11}[number]
		for n := 1; n < len(got); n += step {
			if err := NewMachine(&m.options).Restore(bytes.NewReader(got[:n])); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("partition %d: the first %d of %d bytes: got %v", number, n, len(got), err)
			}
		}
		for n := 0; n < len(got); n += step { // what is accepted must be usable
			bad := slices.Clone(got)
			bad[n] ^= 1
			restored := NewMachine(&m.options)
			if err := restored.Restore(bytes.NewReader(bad)); err == nil {
				finishEvery(restored)
			} else if !errors.Is(err, ErrSnapshot) {
				t.Fatalf("partition %d: byte %d changed: got %v", number, n, err)
			}
		}
	}
}

// finishEvery gives every answer and message that a machine may wait for.
func finishEvery(m *Machine) {
	for peer := range m.options.Partitions {
		if peer == m.options.Partition {
			continue
		}
		out, in := &m.crossing.peers[peer].out, &m.crossing.peers[peer].in
		for range 3 {
			for seq := out.low; seq < out.next; seq++ {
				if v, ok := m.message(peer, seq); ok {
					batch := appendAnswers(AppendHeader(nil, Header{Kind: KindPhases, Count: 1}), m.options.Partition, peer)
					m.Apply(nil, rsm.Batch{Data: appendAnswer(batch, answer{v.action, Applied, seq})})
				}
			}
		}
		for seq := in.low; seq < in.next; seq++ {
			batch := appendMessages(AppendHeader(nil, Header{Kind: KindParticipate, Count: 1}), peer, m.options.Partition, in.low)
			m.Apply(nil, rsm.Batch{Data: appendMessage(batch, &message{action: actConfirm, seq: seq})})
		}
	}
}

// FuzzTransactions gives machines that have transactions under way any two batches:
// they must answer, keep the money in balance, and be the same after a snapshot.
func FuzzTransactions(f *testing.F) {
	samples := transactionSamples()
	for _, b := range samples {
		f.Add(b, b)
	}
	f.Add(samples[KindParticipate], samples[KindPhases])
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := busyTrio(t)
		for _, m := range c.parts {
			for _, b := range [][]byte{first, second} {
				if out := m.Apply(nil, rsm.Batch{Data: b}); len(out) == 0 {
					t.Fatal("no answer")
				}
			}
			checkInvariant(t, m)
			restored := NewMachine(&m.options)
			if err := restored.Restore(bytes.NewReader(image(m))); err != nil {
				t.Fatal(err)
			}
			if describe(restored) != describe(m) {
				t.Fatal("the restored state differs")
			}
		}
	})
}

// FuzzRestoreTransactions gives the snapshot's decoder of a partition any bytes.
func FuzzRestoreTransactions(f *testing.F) {
	for _, m := range busyTrio(f).parts {
		f.Add(image(m))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for number := range uint16(3) {
			m := newPartition(number, 3)
			if err := m.Restore(bytes.NewReader(data)); err != nil {
				continue
			}
			again := newPartition(number, 3)
			if err := again.Restore(bytes.NewReader(image(m))); err != nil {
				t.Fatalf("a snapshot of what was restored: %v", err)
			}
			finishEvery(m)
		}
	})
}

func TestTransactionValidate(t *testing.T) {
	id := txid(1)
	good := legsOf("a", -1, "b", 1)
	long := strings.Repeat("x", 65)
	many := Metadata{}
	for i := range 17 {
		many[fmt.Sprint(i)] = ""
	}
	for _, tt := range []struct {
		name string
		t    Transaction
		want error
	}{
		{"good", Transaction{ID: id, Postings: good, Reference: long[:64], Metadata: Metadata{long[:64]: strings.Repeat("y", 1024-64)}}, nil},
		{"no id", Transaction{Postings: good}, ErrTransactionID},
		{"no postings", Transaction{ID: id}, ErrPostings},
		{"65 postings", Transaction{ID: id, Postings: slices.Repeat(good, 33)}, ErrPostings},
		{"no account", Transaction{ID: id, Postings: legsOf("", -1, "b", 1)}, ErrAccountID},
		{"no currency", Transaction{ID: id, Postings: []Posting{{"a", 1, 0}, {"b", -1, usd}}}, ErrCurrency},
		{"zero", Transaction{ID: id, Postings: legsOf("a", 0, "b", 1)}, ErrPosting},
		{"the smallest number", Transaction{ID: id, Postings: legsOf("a", math.MinInt64, "b", 1)}, ErrPosting},
		{"long reference", Transaction{ID: id, Postings: good, Reference: long}, ErrReference},
		{"no text", Transaction{ID: id, Postings: good, Reference: "\xff"}, ErrReference},
		{"no key", Transaction{ID: id, Postings: good, Metadata: Metadata{"": "x"}}, ErrMetadata},
		{"long key", Transaction{ID: id, Postings: good, Metadata: Metadata{long: ""}}, ErrMetadata},
		{"many keys", Transaction{ID: id, Postings: good, Metadata: many}, ErrMetadata},
		{"large", Transaction{ID: id, Postings: good, Metadata: Metadata{"k": strings.Repeat("y", 1024)}}, ErrMetadata},
		{"reverses nothing", Transaction{ID: id, Postings: good, Reverses: &Original{Postings: good}}, ErrTransactionID},
		{"reverses no transfer", Transaction{ID: id, Postings: good, Reverses: &Original{ID: id, Transfer: true, Postings: legsOf("a", 1, "b", -1)}}, ErrReversal},
		{"reverses a capture that is no transfer", Transaction{ID: id, Postings: good, Reverses: &Original{ID: id, Hold: id, Postings: good}}, ErrReversal},
	} {
		if err := tt.t.Validate(); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// FuzzParseTransaction reads any bytes as a command: what is read is written as it was.
func FuzzParseTransaction(f *testing.F) {
	b := transactionSamples()[KindTransactions][HeaderBytes:]
	b = append(b, captureReversalSamples()[0][HeaderBytes:]...)
	for len(b) > 0 {
		n := transactionSize(b)
		f.Add(b[:n])
		b = b[n:]
	}
	f.Fuzz(func(t *testing.T, cmd []byte) {
		v, ok := ParseTransaction(cmd)
		if !ok {
			return
		}
		if again := AppendTransaction(nil, v); !bytes.Equal(again, cmd[:transactionSize(cmd)]) {
			t.Errorf("%x is read as %+v, which is %x", cmd, v, again)
		}
	})
}
