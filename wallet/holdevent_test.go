package wallet

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
)

// decidedHere is a batch, and what a machine decided on it.
type decidedHere struct {
	batch []byte
	is    Decision
}

func decideHere(m *Machine, now int64, batch []byte) decidedHere {
	results := m.Apply(nil, rsm.Batch{Time: now, Data: batch})
	return decidedHere{batch, Decision{results, slices.Clone(m.Effects())}}
}

// told describes the events of a decision.
func (d *decidedHere) told(t *testing.T) (all []string) {
	t.Helper()
	err := Events(d.batch, d.is.Results, d.is.Effects, func(e *Event) error {
		text := fmt.Sprintf("%d %v %d of %d", e.Command, e.Kind, e.Amount, e.Account)
		if e.Kind.OfHold() {
			text += fmt.Sprintf(" hold %d by %d: left %d, held %d of %d, until %d", e.Hold[15], e.ID[15], e.Left, e.Held, e.Balance, e.Expires)
		}
		all = append(all, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func ofHolds(commands ...holdCommand) []byte {
	b := AppendHeader(nil, Header{Kind: KindHolds, Count: len(commands)})
	for i := range commands {
		b = appendHold(b, &commands[i])
	}
	return b
}

// TestHoldEvents goes through what can become of a hold. Alice is account 2, bob 3.
func TestHoldEvents(t *testing.T) {
	m := holdsMachine(t)
	final := capture(12, 10, "bob", 300)
	final.final = true
	release := (&Release{ID: txid(13), Hold: txid(11), Account: "alice", Amount: 50, Currency: usd}).command()
	extend := (&Extend{ID: txid(14), Hold: txid(11), Account: "alice", Expires: 60}).command()
	transfers := AppendHeader(nil, Header{Kind: KindTransfers, Count: 1})
	transfers = AppendHandleTransfer(transfers, &HandleTransfer{ID: txid(20), From: 2, To: 3, Amount: 4700, Currency: usd})
	for _, step := range []struct {
		name  string
		now   Millis
		batch []byte
		want  []string
	}{
		{"placed", 1, ofHolds(hold(10, 1000, 50), hold(11, 200, 50)), []string{
			"0 hold_placed 1000 of 2 hold 10 by 10: left 1000, held 1000 of 5000, until 50",
			"1 hold_placed 200 of 2 hold 11 by 11: left 200, held 1200 of 5000, until 50",
		}},
		{"captured for good, released, extended", 2, ofHolds(final, release, extend), []string{
			"0 debit -300 of 2", "0 credit 300 of 3",
			"0 hold_captured 300 of 2 hold 10 by 12: left 700, held 900 of 4700, until 50",
			"0 hold_released 700 of 2 hold 10 by 12: left 0, held 200 of 4700, until 50",
			"1 hold_released 50 of 2 hold 11 by 13: left 150, held 150 of 4700, until 50",
			"2 hold_extended 0 of 2 hold 11 by 14: left 150, held 150 of 4700, until 60",
		}},
		{"expired before a plain transfer that needs all", 60, transfers, []string{
			"0 hold_expired 150 of 2 hold 11 by 0: left 0, held 0 of 4700, until 60", "0 debit -4700 of 2", "0 credit 4700 of 3",
		}},
		{"repeated", 61, ofHolds(hold(10, 1000, 50), release), nil},
	} {
		d := decideHere(m, ms(step.now), step.batch)
		if diff := cmp.Diff(step.want, d.told(t)); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
	}
	for name, batch := range map[string][]byte{"by the clock": appendExpire(AppendHeader(nil, Header{Kind: KindExpire, Count: 1}), 70), "before what is malformed": {1}} {
		m := holdsMachine(t)
		decideHere(m, ms(1), ofHolds(hold(10, 1000, 70)))
		d := decideHere(m, ms(70), batch)
		if diff := cmp.Diff([]string{"0 hold_expired 1000 of 2 hold 10 by 0: left 0, held 0 of 5000, until 70"}, d.told(t)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestExpiredInABatch lets more holds expire than a batch ends before its commands: the
// others end when the transfer that needs them does so, in the middle of the batch.
func TestExpiredInABatch(t *testing.T) {
	m := holdsMachine(t)
	m.options.expired = 1
	decideHere(m, ms(1), ofHolds(hold(10, 1000, 50), hold(11, 2000, 51)))
	transfers := AppendHeader(nil, Header{Kind: KindTransfers, Count: 2})
	for n, a := range []uint64{3000, 2000} {
		transfers = AppendHandleTransfer(transfers, &HandleTransfer{ID: txid(20 + uint64(n)), From: 2, To: 3, Amount: 0, Currency: usd})
		transfers[len(transfers)-RecordBytes+32], transfers[len(transfers)-RecordBytes+33] = byte(a), byte(a>>8)
	}
	d := decideHere(m, ms(60), transfers)
	want := []string{
		"0 hold_expired 1000 of 2 hold 10 by 0: left 0, held 2000 of 5000, until 50", "0 debit -3000 of 2", "0 credit 3000 of 3",
		"1 hold_expired 2000 of 2 hold 11 by 0: left 0, held 0 of 2000, until 51", "1 debit -2000 of 2", "1 credit 2000 of 3",
	}
	if diff := cmp.Diff(want, d.told(t)); diff != "" {
		t.Error(diff)
	}
}

// TestSameDecision compares decisions with records, also with those of programs that
// noted nothing of holds.
func TestSameDecision(t *testing.T) {
	m := holdsMachine(t)
	decideHere(m, ms(1), ofHolds(hold(10, 1000, 50)))
	plain := AppendHandleTransfer(AppendHeader(nil, Header{Kind: KindTransfers, Count: 1}), &HandleTransfer{ID: txid(20), From: 2, To: 3, Amount: 5, Currency: usd})
	d := decideHere(m, ms(50), plain)
	cut := func(n int) Decision { return Decision{d.is.Results, d.is.Effects[:n]} }
	altered := Decision{d.is.Results, slices.Clone(d.is.Effects[:balancesBytes])}
	altered.Effects[0]++
	for _, v := range []struct {
		name string
		was  Decision
		want bool
	}{
		{"the same", d.is, true},
		{"without holds", cut(balancesBytes), true},
		{"without balances", cut(0), false},
		{"half a hold", cut(len(d.is.Effects) - 1), false},
		{"another balance", altered, false},
		{"another result", Decision{[]byte{byte(Overflow)}, d.is.Effects}, false},
		{"more", Decision{d.is.Results, append(slices.Clone(d.is.Effects), d.is.Effects[balancesBytes:]...)}, false},
	} {
		if got := SameDecision(d.batch, v.was, d.is); got != v.want {
			t.Errorf("%s: got %v", v.name, got)
		}
		var c Comparison
		all, err := c.Disagreements(d.batch, v.was, d.is)
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", v.name, err)
		}
		if err == nil && v.want != (len(all) == 0) {
			t.Errorf("%s: got %+v", v.name, all)
		}
	}
}

// TestDisagreementOfAnyByte alters each byte of decisions: none is the same in words that do not say it.
func TestDisagreementOfAnyByte(t *testing.T) {
	m := holdsMachine(t)
	named := AppendTransfer(AppendHeader(nil, Header{Kind: KindTransfersByName, Count: 1}), &Transfer{ID: txid(21), From: "alice", To: "bob", Amount: 5, Currency: usd})
	for _, d := range []decidedHere{
		decideHere(m, ms(1), ofHolds(hold(10, 1000, 50))),
		decideHere(m, ms(2), named),
		decideHere(m, ms(50), append(AppendHeader(nil, Header{Kind: KindTransfers, Count: 3}), 0)), // malformed, and the hold expires
	} {
		for i := range len(d.is.Results) + len(d.is.Effects) {
			was := Decision{slices.Clone(d.is.Results), slices.Clone(d.is.Effects)}
			if i < len(was.Results) {
				was.Results[i] ^= 1
			} else {
				was.Effects[i-len(was.Results)] ^= 1
			}
			var c Comparison
			all, err := c.Disagreements(d.batch, was, d.is)
			if err == nil && (len(all) != 1 || all[0].Was == all[0].Is) || err != nil && !errors.Is(err, ErrFormat) {
				t.Errorf("byte %d of %x: got %+v, %v", i, d.batch, all, err)
			}
		}
	}
}

// TestRecordWithoutHolds has a record of an older program up to some batch, and none behind that.
func TestRecordWithoutHolds(t *testing.T) {
	m := holdsMachine(t)
	var c Comparison
	for i, v := range []struct {
		older bool
		want  int
	}{{true, 0}, {true, 0}, {false, 0}, {true, 1}, {false, 0}} {
		d := decideHere(m, 1, ofHolds(hold(uint64(10+i), 100, 50)))
		was := d.is
		if v.older {
			was.Effects = nil
		}
		if all, err := c.Disagreements(d.batch, was, d.is); err != nil || len(all) != v.want {
			t.Errorf("batch %d: got %+v, %v", i, all, err)
		}
	}
	if c.Older != 3 {
		t.Errorf("%d are of an older program", c.Older)
	}
}

// TestTransactionEvents has a transaction's command among its events, once, and a daily limit.
func TestTransactionEvents(t *testing.T) {
	m := holdsMachine(t)
	sent := &Transaction{
		ID: txid(30), Postings: []Posting{{"alice", -7, usd}, {"bob", 7, usd}}, Reference: "order-4711", Metadata: Metadata{"shop": "3"},
	}
	batch := AppendTransaction(AppendHeader(nil, Header{Kind: KindTransactions, Count: 1}), sent)
	d := decideHere(m, 1, batch)
	var got *Transaction
	if err := Events(batch, d.is.Results, d.is.Effects, func(e *Event) error {
		if e.Kind == TransactionMade {
			got, _ = ParseTransaction(e.Content)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Error(diff)
	}
	d = decideHere(m, 2, batch)
	if all := d.told(t); len(all) > 0 {
		t.Errorf("repeated: got %q", all)
	}
	limit := appendDaily(AppendHeader(nil, Header{Kind: KindSetDailyLimits, Count: 1}), "alice", usd, DailyLimit{Amount: 9, Count: 2})
	d = decideHere(m, 3, limit)
	if err := Events(limit, d.is.Results, d.is.Effects, func(e *Event) error {
		if e.Kind != DailyLimitSet || e.Name != "alice" || e.Daily != (DailyLimit{9, 2}) {
			return fmt.Errorf("got %+v", *e)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
