package wallet

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"maru.example/rsm"
)

// crossSamples is a batch of each kind of transfers between partitions, with
// each action.
func crossSamples() [][]byte {
	id, _ := ParseTransactionID("00112233-4455-6677-8899-aabbccddeeff")
	to := Handle(0x0001_0000_0000_0002)
	header := func(k Kind, tenant uint16, n int) []byte { return AppendHeader(nil, Header{k, tenant, n}) }
	participate := appendMessages(header(KindParticipate, 0, 5), 0, 1, 7)
	phases := appendAnswers(header(KindPhases, 0, 6), 0, 1)
	for a := actTry; a <= actGiveUp; a++ {
		if a != actGiveUp {
			participate = appendMessage(participate, &message{a, 7 + uint64(a), 3, usd, to, 1999, makeKey(id[:]), 1, nil})
		}
		phases = appendAnswer(phases, answer{a, Applied, 7 + uint64(a)})
	}
	return [][]byte{
		appendCrossHandleTransfer(header(KindCrossTransfers, 3, 1), &crossHandleTransfer{HandleTransfer{id, 1, to, 1999, usd}, nameHash("bob"), TCC}),
		appendCrossTransfer(header(KindCrossTransfersByName, 3, 1), &crossTransfer{Transfer{id, "alice", "bob", 1999, usd}, to, Saga}),
		participate, phases,
	}
}

func TestGoldenCrossBatches(t *testing.T) {
	for i, b := range crossSamples() {
		h, err := Validate(b)
		if err != nil || h.Kind != KindCrossTransfers+Kind(i) {
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
		if _, err := Validate(append(slices.Clone(b), 0)); !errors.Is(err, ErrFormat) {
			t.Errorf("a byte after %v: got %v", h.Kind, err)
		}
	}
	golden(t, "cross-batches.golden", slices.Concat(crossSamples()...))
}

// busyCouple has a transfer of each protocol in each phase, from both sides.
func busyCouple(tb testing.TB) *couple {
	tb.Helper()
	c := newCouple(tb)
	c.p.tenants[0].ids.seed = [2]uint64{1, 2} // the order of ids in a snapshot is by the hash
	for _, p := range []Protocol{TCC, Saga, TCC, TCC} {
		c.begin(1, inQ(2), 5, p)
	}
	c.step(2)
	c.step(3)
	c.tell(actGiveUp, Undecided, 4)
	c.ask(1, message{actTry, 6, 0, usd, inQ(2), 5, key{}, 1, nil})
	c.ask(1, message{actTry, 7, 0, usd, inQ(9), 5, key{}, 1, nil})
	c.begin(1, inQ(1), 5, TwoPhase)
	c.ask(1, message{actPrepare, 8, 0, usd, inQ(1), 5, makeKey([]byte("0123456789abcdef")), 1, nil})
	return c
}

func TestGoldenCrossSnapshot(t *testing.T) {
	c := busyCouple(t)
	for name, m := range map[string]*Machine{"cross-paying.golden": c.p, "cross-receiving.golden": c.q} {
		got := image(m)
		golden(t, name, got)
		for n := 1; n < len(got); n++ {
			if err := NewMachine(&m.options).Restore(bytes.NewReader(got[:n])); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("%s: the first %d of %d bytes: got %v", name, n, len(got), err)
			}
		}
		for n := range got { // what is accepted must be usable
			bad := slices.Clone(got)
			bad[n] ^= 1
			restored := NewMachine(&m.options)
			if err := restored.Restore(bytes.NewReader(bad)); err != nil {
				if !errors.Is(err, ErrSnapshot) {
					t.Fatalf("%s: byte %d changed: got %v", name, n, err)
				}
				continue
			}
			finishAll(restored)
		}
	}
}

// finishAll gives every answer and message that a machine may wait for.
func finishAll(m *Machine) {
	peer := 1 - m.options.Partition
	out, in := &m.crossing.peers[peer].out, &m.crossing.peers[peer].in
	for range 2 {
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

// FuzzApplyCross gives machines that have transfers under way any two batches: they
// must answer, keep the money in balance, and be the same after a snapshot.
func FuzzApplyCross(f *testing.F) {
	for _, b := range crossSamples() {
		SetTenant(b, 0)
		f.Add(b, b)
	}
	for _, b := range holdSamples() {
		SetTenant(b, 0)
		f.Add(b, b)
	}
	all := crossSamples()
	f.Add(all[2], all[3])
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := busyCouple(t)
		for _, m := range []*Machine{c.p, c.q} {
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

// FuzzRestoreCross gives the snapshot's decoder of a partition any bytes.
func FuzzRestoreCross(f *testing.F) {
	c := busyCouple(f)
	f.Add(image(c.p))
	f.Add(image(c.q))
	f.Add(image(busyHolds(f).p))
	f.Fuzz(func(t *testing.T, data []byte) {
		for number := range uint16(2) {
			m := newPartition(number, 2)
			if err := m.Restore(bytes.NewReader(data)); err != nil {
				continue
			}
			again := newPartition(number, 2)
			if err := again.Restore(bytes.NewReader(image(m))); err != nil {
				t.Fatalf("a snapshot of what was restored: %v", err)
			}
			finishAll(m)
		}
	})
}
