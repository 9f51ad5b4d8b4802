package wallet

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"maru.example/money"
)

// describeHolds writes down holds and limits, in an order that a restart does not change.
func describeHolds(b *bytes.Buffer, m *Machine) {
	var lines []string
	for i := range m.holds.rows.len {
		if h := *m.holds.rows.at(i); h.state != holdFree {
			h.next, h.before = 0, 0
			lines = append(lines, fmt.Sprintf("hold %+v", h))
		}
	}
	for ref, s := range m.holds.sums {
		s.first = 0
		lines = append(lines, fmt.Sprintf("held %d %+v", ref, s))
	}
	for i := range m.spends.rows.len {
		if s := m.spends.rows.at(i); s.used {
			lines = append(lines, fmt.Sprintf("limit %+v", *s))
		}
	}
	if m.timed() {
		lines = append(lines, fmt.Sprint("time ", m.holds.now))
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(b, line)
	}
}

// seldom is true once in a while: small numbers come often.
func seldom(t *rapid.T, label string) bool { return rapid.IntRange(0, 19).Draw(t, label) == 13 }

// drawHold draws a hold that was placed in a partition, mostly one that is open; nil if
// there is none.
func (w *world) drawHold(t *rapid.T, at, tenant uint16) *modelHold {
	var all, open []*modelHold
	for _, h := range w.model.holds {
		if h.payer.Partition == at && h.tenant == tenant {
			all = append(all, h)
			if w.model.open(h) {
				open = append(open, h)
			}
		}
	}
	if len(open) > 0 && !seldom(t, "finished") {
		all = open
	}
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1-rapid.IntRange(0, len(all)-1).Draw(t, "hold")]
}

// newID draws an id, which seldom is an old one.
func (w *world) newID(t *rapid.T) TransactionID {
	if seldom(t, "old id") {
		return txid(uint64(rapid.IntRange(1, 1000+w.ids).Draw(t, "id")))
	}
	w.ids++
	return txid(uint64(1000 + w.ids))
}

func (w *world) expiry(t *rapid.T) Millis {
	now := millisOf(w.now)
	if seldom(t, "odd expiry") {
		return now + rapid.SampledFrom([]Millis{0, -1, MaxHoldFor, MaxHoldFor + 1, math.MinInt64, math.MaxInt64}).Draw(t, "expires")
	}
	return now + rapid.SampledFrom([]Millis{10, 3, 3, 5, 10, 20, 50, 1, 2, 100}).Draw(t, "expires")
}

// holdCommands makes a batch of commands about holds.
func (w *world) holdCommands(t *rapid.T) {
	tenant := uint16(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "tenant"))
	at := w.partition(t, "at")
	kind := rapid.SampledFrom([]Kind{KindHolds, KindHolds, KindHolds, KindCrossCaptures, KindCrossCaptures}).Draw(t, "kind")
	if w.drawHold(t, at, tenant) == nil && !seldom(t, "no holds") {
		kind = KindHolds
	}
	n := rapid.IntRange(1, 5).Draw(t, "n")
	var body, want []byte
	for range n {
		c := w.drawHoldCommand(t, at, tenant, kind)
		body = appendHold(body, &c)
		want = append(want, byte(w.model.holdCommand(at, tenant, kind, &c)))
	}
	same(t, w.apply(at, kind, tenant, n, body), want)
}

func (w *world) drawHoldCommand(t *rapid.T, at, tenant uint16, kind Kind) holdCommand {
	pick := func(label string, here bool) []byte {
		var fit []AccountID
		anywhere := seldom(t, "anywhere")
		for _, id := range w.names[tenant] {
			if anywhere || (w.model.account(tenant, id).Partition == at) == here {
				fit = append(fit, id)
			}
		}
		if seldom(t, "nobody") || len(fit) == 0 {
			return []byte("nobody")
		}
		return []byte(rapid.SampledFrom(fit).Draw(t, label))
	}
	c := holdCommand{
		action: holdCapture, id: w.newID(t), hold: txid(uint64(rapid.IntRange(1, 2000).Draw(t, "no hold"))), from: pick("from", true),
		amount:   money.Amount(rapid.SampledFrom([]int64{3, 1, 2, 5, 8, 20, 100}).Draw(t, "amount")),
		currency: rapid.SampledFrom([]money.Currency{usd, usd, usd, jpy}).Draw(t, "currency"),
	}
	if seldom(t, "odd amount") {
		c.amount = money.Amount(rapid.SampledFrom([]int64{0, -1, math.MaxInt64 - 30, math.MaxInt64}).Draw(t, "amount"))
	}
	h := w.drawHold(t, at, tenant)
	if h != nil && !seldom(t, "unknown") {
		if c.hold = h.id; !seldom(t, "another's") {
			c.from, c.currency = []byte(h.name), h.currency
		}
	}
	if kind == KindHolds {
		c.action = rapid.SampledFrom([]holdAction{holdPlace, holdPlace, holdPlace, holdCapture, holdCapture, holdRelease, holdExtend}).Draw(t, "action")
		if h == nil && !seldom(t, "of no hold") {
			c.action = holdPlace
		}
	}
	switch c.action {
	case holdPlace:
		c.hold, c.expires = TransactionID{}, w.expiry(t)
		if rapid.IntRange(0, 3).Draw(t, "for somebody") == 3 {
			c.to = pick("to", rapid.Bool().Draw(t, "here"))
		}
	case holdCapture:
		c.final, c.to = rapid.IntRange(0, 3).Draw(t, "final") == 3, pick("to", kind == KindHolds)
		if bytes.Equal(c.from, c.to) {
			c.to = pick("to", kind == KindHolds)
		}
		if kind == KindCrossCaptures {
			c.protocol = rapid.SampledFrom([]Protocol{TCC, Saga}).Draw(t, "protocol")
			if a := w.model.account(tenant, AccountID(c.to)); a != nil {
				c.handle = a.Handle
			}
		}
	case holdRelease:
		if rapid.Bool().Draw(t, "all") {
			c.amount = 0
		}
	case holdExtend:
		c.amount, c.currency, c.expires = 0, 0, w.expiry(t)
	case noHoldAction, endHoldAction:
	}
	return c
}

// later lets time pass, to just before, at, or after an expiry or the change of a day.
func (w *world) later(t *rapid.T) {
	at := (millisOf(w.now) + Millis(rapid.IntRange(0, 7).Draw(t, "ms"))) * 1_000_000
	if n := len(w.model.holds); n > 0 && rapid.Bool().Draw(t, "expiry") {
		at = w.model.holds[rapid.IntRange(max(0, n-6), n-1).Draw(t, "of")].expires * 1_000_000
	} else if rapid.IntRange(0, 5).Draw(t, "day") == 0 {
		at = Millis(dayOf(w.now)+1) * dayNanos
	}
	// The time of the next batch is one more.
	w.now = max(w.now, min(int64(at), w.now+2*dayNanos)-rapid.SampledFrom([]int64{2, 1, 1, 0}).Draw(t, "before"))
	w.model.now = w.now + 1
	if rapid.Bool().Draw(t, "tick") {
		same(t, w.apply(w.partition(t, "partition"), KindExpire, 0, 1, appendExpire(nil, 0)), []byte{byte(Applied)})
	}
}

func (w *world) setDaily(t *rapid.T) {
	tenant := uint16(rapid.IntRange(0, 1).Draw(t, "tenant"))
	id := rapid.SampledFrom(w.names[tenant]).Draw(t, "id")
	a := w.model.account(tenant, id)
	l := DailyLimit{money.Amount(rapid.SampledFrom([]int64{0, 0, 5, 20, 30, math.MaxInt64}).Draw(t, "amount")), uint32(rapid.SampledFrom([]int{0, 1, 3, 5}).Draw(t, "count"))}
	want := Applied
	switch b := a.hold(usd); {
	case a.Status == Closed:
		want = AccountClosed
	case l == (DailyLimit{}):
		delete(w.model.limits, b)
	case w.model.limits[b] != nil:
		w.model.limits[b].DailyLimit = l
	default:
		w.model.limits[b] = &modelLimit{l, w.model.now}
	}
	same(t, w.apply(a.Partition, KindSetDailyLimits, tenant, 1, appendDaily(nil, id, usd, l)), []byte{byte(want)})
}

// fund gives each account 100.
func (w *world) fund(t *rapid.T) {
	for tenant := range w.model.tenants {
		for _, to := range w.names[tenant] {
			for _, from := range w.names[tenant] {
				payer, payee := w.model.account(uint16(tenant), from), w.model.account(uint16(tenant), to)
				if payer.Partition == payee.Partition && payer.hold(usd).Min == Unlimited && from != to {
					v := modelTransfer{at: payer.Partition, tenant: uint16(tenant), t: Transfer{w.newID(t), from, to, 100, usd}}
					same(t, w.apply(v.at, KindTransfersByName, v.tenant, 1, AppendTransfer(nil, &v.t)), []byte{byte(w.model.transfer(v))})
				}
			}
		}
	}
}

// TestHoldsAgainstModel is TestPartitionsAgainstModel with holds and daily limits, whose
// time passes.
func TestHoldsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, 2)
		w.now = dayNanos - 20_000_000 + rapid.Int64Range(0, 10_000_000).Draw(t, "begin")
		w.model.now = w.now + 1
		w.fund(t)
		t.Repeat(map[string]func(*rapid.T){
			"":           w.check,
			"hold":       w.holdCommands,
			"hold 2":     w.holdCommands,
			"hold 3":     w.holdCommands,
			"later":      w.later,
			"later 2":    w.later,
			"transfers":  w.transfers,
			"transact":   w.transactions,
			"reversals":  w.reversals,
			"set daily":  w.setDaily,
			"set limit":  w.setLimit,
			"set status": w.setStatus,
			"send":       w.send,
			"deliver":    w.deliver,
			"deliver 2":  w.deliver,
			"flow":       w.flow,
			"flow 2":     w.flow,
			"drop":       w.drop,
			"give up":    w.giveUp,
			"snapshot":   w.snapshot,
			"crash":      w.crash,
			"disk":       w.disks,
		})
		w.heal(t)
	})
}
