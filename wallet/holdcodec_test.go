package wallet

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
)

// holdSamples is a batch of each kind, with each action.
func holdSamples() [][]byte {
	id, _ := ParseTransactionID("00112233-4455-6677-8899-aabbccddeeff")
	hold, _ := ParseTransactionID("ffeeddcc-bbaa-9988-7766-554433221100")
	place := (&NewHold{hold, "alice", "bob", 1999, usd, 1_767_225_600_000}).command()
	pay := (&Capture{Transfer{id, "alice", "bob", 999, usd}, hold, true}).command()
	release := (&Release{id, hold, "alice", 500, usd}).command()
	extend := (&Extend{id, hold, "alice", 1_767_312_000_000}).command()
	away := pay
	away.handle, away.protocol = 0x0001_0000_0000_0002, Saga
	header := func(k Kind, n int) []byte { return AppendHeader(nil, Header{k, 3, n}) }
	holds := header(KindHolds, 4)
	for _, c := range []*holdCommand{&place, &pay, &release, &extend} {
		holds = appendHold(holds, c)
	}
	return [][]byte{
		holds, appendHold(header(KindCrossCaptures, 1), &away),
		appendDaily(header(KindSetDailyLimits, 1), "alice", usd, DailyLimit{50_000, 20}),
		appendExpire(header(KindExpire, 1), 1_767_225_600_000),
	}
}

func TestGoldenHoldBatches(t *testing.T) {
	for i, b := range holdSamples() {
		h, err := Validate(b)
		if err != nil || h.Kind != KindHolds+Kind(i) {
			t.Errorf("batch %d: got %v, %v", i, h, err)
		}
		if _, err := ValidateRequest(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%v on the stream: got %v", h.Kind, err)
		}
		for n := range b {
			if _, err := Validate(b[:n]); !errors.Is(err, ErrFormat) {
				t.Errorf("the first %d bytes of %v: got %v", n, h.Kind, err)
			}
		}
	}
	golden(t, "hold-batches.golden", slices.Concat(holdSamples()...))
}

// busyHolds is a paying partition with holds, of which captures are under way by each
// protocol, one of them of a hold that has expired; and with a daily limit.
func busyHolds(tb testing.TB) *couple {
	tb.Helper()
	c := newCouple(tb)
	c.p.tenants[0].ids.seed = [2]uint64{1, 2} // the order of ids in a snapshot is by the hash
	payer, payee := c.p.account(c.p.base+1).ID, c.q.account(c.q.base+2).ID
	c.p.Apply(nil, rsm.Batch{Time: 8, Data: appendDaily(AppendHeader(nil, Header{Kind: KindSetDailyLimits, Count: 1}), payer, usd, DailyLimit{1000, 10})})
	for n, until := range []Millis{90, 91, 20} {
		h := NewHold{ID: txid(uint64(100 + n)), Account: payer, Amount: 50, Currency: usd, Expires: until}
		if n == 1 {
			h.Payee = payee
		}
		if got := holdAt(c.p, 9, h.command()); got.Code() != Held {
			tb.Fatalf("hold %d: %v", n, got.Code())
		}
		pay := (&Capture{Transfer: Transfer{txid(uint64(200 + n)), payer, payee, 30, usd}, Hold: h.ID, Final: n == 1}).command()
		pay.handle, pay.protocol = inQ(2), []Protocol{TCC, Saga, TCC}[n]
		b := appendHold(AppendHeader(nil, Header{Kind: KindCrossCaptures, Count: 1}), &pay)
		if got := Code(c.p.Apply(nil, rsm.Batch{Time: 10, Data: b})[0]); got != Pending {
			tb.Fatalf("capture %d: %v", n, got)
		}
	}
	c.p.Apply(nil, rsm.Batch{Time: ms(20), Data: appendExpire(AppendHeader(nil, Header{Kind: KindExpire, Count: 1}), 20)})
	if n := c.p.holds.rows.used(); n != 3 || len(c.p.holds.due) != 2 {
		tb.Fatalf("%d holds, %d of them open", n, len(c.p.holds.due))
	}
	return c
}

func TestGoldenHoldSnapshot(t *testing.T) {
	m := busyHolds(t).p
	got := image(m)
	golden(t, "hold-snapshot.golden", got)
	restored := NewMachine(&m.options)
	if err := restored.Restore(bytes.NewReader(got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(describe(m), describe(restored)); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	for n := 1; n < len(got); n++ {
		if err := NewMachine(&m.options).Restore(bytes.NewReader(got[:n])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("the first %d of %d bytes: got %v", n, len(got), err)
		}
	}
	for n := range got { // what is accepted must be usable
		bad := slices.Clone(got)
		bad[n] ^= 1 << (n % 8)
		restored := NewMachine(&m.options)
		if err := restored.Restore(bytes.NewReader(bad)); err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Fatalf("byte %d changed: got %v", n, err)
			}
			continue
		}
		finishAll(restored)
		restored.Apply(nil, rsm.Batch{Time: ms(1000), Data: appendExpire(AppendHeader(nil, Header{Kind: KindExpire, Count: 1}), 20)})
		if err := restored.auditHolds(); err != nil {
			t.Fatalf("byte %d changed: %v", n, err)
		}
	}
}
