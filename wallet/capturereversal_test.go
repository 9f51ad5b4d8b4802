package wallet

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// captureReversalSamples is a batch of each kind of transactions with reversals of captures.
func captureReversalSamples() [][]byte {
	id, _ := ParseTransactionID("00112233-4455-6677-8899-aabbccddeeff")
	hold, _ := ParseTransactionID("ffeeddcc-bbaa-9988-7766-554433221100")
	header := func(k Kind, n int) []byte { return AppendHeader(nil, Header{k, 0, n}) }
	o := OriginalCapture(&Capture{Transfer{id, "alice", "bob", 999, usd}, hold, true})
	whole, part := o.Reverse(txid(9)), o.ReversePart(txid(10), 99)
	part.Reference = "refund"
	return [][]byte{
		AppendTransaction(AppendTransaction(header(KindTransactions, 2), whole), part),
		appendCrossTransaction(header(KindCrossTransactions, 1), AppendTransaction(nil, part), Saga, []Handle{0, inQ(2)}),
	}
}

func TestGoldenCaptureReversals(t *testing.T) {
	for _, b := range captureReversalSamples() {
		for n := range b {
			if _, err := Validate(b[:n]); !errors.Is(err, ErrFormat) {
				t.Errorf("the first %d bytes: got %v", n, err)
			}
		}
	}
	golden(t, "capture-reversals.golden", slices.Concat(captureReversalSamples()...))
}

// TestMalformedCaptureReversals changes a good one.
func TestMalformedCaptureReversals(t *testing.T) {
	good := captureReversalSamples()[0][HeaderBytes:]
	good = good[:transactionSize(good)]
	if v, ok := ParseTransaction(good); !ok || v.Reverses.Hold == (TransactionID{}) || !v.Reverses.Transfer {
		t.Fatalf("got %+v", v)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"without the hold":   func(b []byte) []byte { return b[:len(b)-16] },
		"with half of it":    func(b []byte) []byte { return b[:len(b)-8] },
		"with more behind":   func(b []byte) []byte { return append(b, 0) },
		"of no hold":         func(b []byte) []byte { return append(b[:len(b)-16], make([]byte, 16)...) },
		"of a transfer":      func(b []byte) []byte { b[transactionHead] = byte(reversesTransfer); return b },
		"of a transaction":   func(b []byte) []byte { b[transactionHead] = byte(reversesTransaction); return b },
		"of another kind":    func(b []byte) []byte { b[transactionHead] = byte(reversesCapture) + 1; return b },
		"of another capture": func(b []byte) []byte { b[len(b)-16-10]++; return b }, // whose sides differ
	} {
		b := change(bytes.Clone(good))
		b[16], b[17] = byte(len(b)-transactionHead), byte((len(b)-transactionHead)>>8)
		if v, ok := ParseTransaction(b); ok {
			t.Errorf("%s: got %+v", name, v)
		}
		m := NewMachine(nil)
		if got := do(t, m, KindTransactions, b); got != Malformed {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// TestCaptureReversals takes captures back, in whole and in parts.
func TestCaptureReversals(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "a", usd, -100)
	openAccount(t, m, "b", usd, Unlimited)
	hold := (&NewHold{txid(1), "a", "", 90, usd, 1 << 30}).command()
	if got := do(t, m, KindHolds, appendHold(nil, &hold)); got != Held {
		t.Fatal(got)
	}
	some, last := &Capture{Transfer{txid(2), "a", "b", 10, usd}, txid(1), false}, &Capture{Transfer{txid(3), "a", "b", 30, usd}, txid(1), true}
	much := &Capture{Transfer{txid(4), "a", "b", 91, usd}, txid(1), false}
	for _, c := range []*Capture{some, much, last} {
		cmd := c.command()
		do(t, m, KindHolds, appendHold(nil, &cmd))
	}
	plain := &Transfer{txid(5), "a", "b", 10, usd}
	do(t, m, KindTransfersByName, AppendTransfer(nil, plain))
	changed := func(c *Capture, change func(c *Capture)) *Original {
		v := *c
		change(&v)
		return OriginalCapture(&v)
	}
	back := OriginalCapture(last).ReversePart(TransactionID{}, 7)
	for i, tt := range []struct {
		name string
		t    *Transaction
		want Code
	}{
		{"as a transfer", OriginalTransfer(&some.Transfer).Reverse(TransactionID{}), NotReversible},
		{"a transfer as a capture", changed(&Capture{Transfer: *plain}, func(c *Capture) { c.Hold = txid(1) }).Reverse(TransactionID{}), NotReversible},
		{"of another hold", changed(some, func(c *Capture) { c.Hold = txid(9) }).Reverse(TransactionID{}), NotReversible},
		{"of another amount", changed(some, func(c *Capture) { c.Amount = 11 }).Reverse(TransactionID{}), NotReversible},
		{"a refused one", OriginalCapture(much).Reverse(TransactionID{}), NotReversible},
		{"the hold itself", changed(some, func(c *Capture) { c.ID = txid(1) }).Reverse(TransactionID{}), NotReversible},
		{"more than all", OriginalCapture(some).ReversePart(TransactionID{}, 11), OverReversed},
		{"all", OriginalCapture(some).Reverse(TransactionID{}), Applied},
		{"once more", OriginalCapture(some).ReversePart(TransactionID{}, 1), OverReversed},
		{"a part of the last one", back, Applied},
		{"all of it, after a part", OriginalCapture(last).Reverse(TransactionID{}), OverReversed},
		{"the rest, whatever is said of its being the last", changed(last, func(c *Capture) { c.Final = false }).ReversePart(TransactionID{}, 23), Applied},
		{"nothing is left", OriginalCapture(last).ReversePart(TransactionID{}, 1), OverReversed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.t.ID = txid(uint64(100 + i))
			cmd := AppendTransaction(nil, tt.t)
			if got := do(t, m, KindTransactions, cmd); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got := do(t, m, KindTransactions, cmd); Result(got) != Repeat(tt.want) {
				t.Errorf("again: got %v", Result(got))
			}
			restored := NewMachine(nil)
			if err := restored.Restore(bytes.NewReader(image(m))); err != nil || describe(restored) != describe(m) {
				t.Errorf("after a restart: %v, %s", err, cmp.Diff(describe(m), describe(restored)))
			}
		})
	}
	if got := m.reversed(0, last.ID); len(got) != 2 || got[0] != 30 || got[1] != 30 {
		t.Errorf("of the last capture is taken back %v", got)
	}
	a, _ := m.Find(DefaultTenant, "a")
	if b := a.Balances[0]; b.Amount != -10 || b.Held != 0 {
		t.Errorf("what is taken back is not available: %+v", b)
	}
}
