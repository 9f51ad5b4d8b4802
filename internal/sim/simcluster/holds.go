package simcluster

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"maru.example/money"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// hold is money of a holder that a teller reserves, and pays with later.
type hold struct {
	number  uint64
	from    *account
	amount  money.Amount
	expires wallet.Millis
	code    wallet.Code // Undecided as long as it is not known
}

// firstHold is the number of the first hold: transfers have lower ones.
const firstHold = 1 << 40

func (h *hold) id() (id wallet.TransactionID) {
	binary.BigEndian.PutUint64(id[8:], h.number)
	return id
}

// reserve places a hold, pays with it, to whoever is paid, perhaps more than it has, and
// at times releases or extends it. The clocks of nodes jump, so that it may expire at any time.
func (t *teller) reserve() {
	w := t.w
	h := &hold{number: firstHold + uint64(len(t.holds)), amount: money.Amount(1 + w.Rand.IntN(100))}
	for h.from == nil || h.from.role != holder {
		h.from = t.accounts[w.Rand.IntN(len(t.accounts))]
	}
	t.holds = append(t.holds, h)
	for !t.place(h) {
		if w.calm || w.Chance(0.1) {
			break // and pay with it all the same
		}
		t.r.Sleep(w.Between(0, 5*pace))
	}
	for range w.Rand.IntN(4) {
		switch {
		case w.calm:
			return
		case w.Chance(0.1):
			t.change(h)
		default:
			t.make([]*transfer{t.capture(h)})
		}
		if w.Chance(0.2) {
			t.place(h)
		}
	}
}

// place places a hold once, and says whether it has an answer, which stays.
func (t *teller) place(h *hold) bool {
	var result wallet.Result
	err := t.call(func(ctx context.Context, n *node) (err error) {
		if h.expires == 0 {
			soon := []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, 3 * time.Hour}[t.w.Rand.IntN(4)]
			h.expires = wallet.Millis(n.Process.Now().Add(soon).UnixMilli())
		}
		result, err = n.wallet.PlaceHold(ctx, h.from.tenant, wallet.NewHold{ID: h.id(), Account: h.from.id, Amount: h.amount, Currency: usd, Expires: h.expires})
		return err
	})
	if err != nil {
		return false
	}
	code := result.Code()
	if h.code == wallet.Undecided && code == wallet.AccountLocked {
		return false // by a transfer that is under way: it is not remembered
	}
	if h.code != wallet.Undecided && (code != h.code || !result.Repeated()) || code != wallet.Held && code != wallet.ExpiryOutOfRange {
		t.w.failf("hold %d was %v, and is %v (repeated: %v)", h.number, h.code, code, result.Repeated())
	}
	h.code = code
	return true
}

// capture returns a payment out of a hold.
func (t *teller) capture(h *hold) *transfer {
	w := t.w
	tr := &transfer{
		number: uint64(len(t.transfers) + 1), hold: h, from: h.from, amount: money.Amount(1 + w.Rand.IntN(int(h.amount)+10)),
		protocol: w.protocol(), called: w.Now(), final: w.Chance(0.2), placed: h.code == wallet.Held,
	}
	if tr.protocol == wallet.TwoPhase {
		tr.protocol = wallet.TCC // as the wallet makes them
	}
	for tr.to == nil || tr.to.tenant != h.from.tenant || !tr.to.role.isPaid() || tr.to == h.from {
		tr.to = t.accounts[w.Rand.IntN(len(t.accounts))]
	}
	return tr
}

// change releases or extends a hold, and does not insist.
func (t *teller) change(h *hold) {
	t.changes++
	var id wallet.TransactionID
	binary.BigEndian.PutUint64(id[8:], 2*firstHold+t.changes)
	var result wallet.Result
	err := t.call(func(ctx context.Context, n *node) (err error) {
		if t.w.Chance(0.5) {
			result, err = n.wallet.Extend(ctx, h.from.tenant, wallet.Extend{ID: id, Hold: h.id(), Account: h.from.id, Expires: h.expires + wallet.Millis(t.w.Rand.IntN(2000)-500)})
			return err
		}
		result, err = n.wallet.Release(ctx, h.from.tenant, wallet.Release{ID: id, Hold: h.id(), Account: h.from.id, Amount: money.Amount(t.w.Rand.IntN(int(h.amount))), Currency: usd})
		return err
	})
	if err == nil && result.Code() != wallet.Applied && result.Code() != wallet.ExpiryOutOfRange && !slices.Contains(refusals(h.code == wallet.Held), result.Code()) {
		t.w.failf("hold %d is not changed: %v", h.number, result.Code())
	}
}

// refusals returns the codes with which the wallet may refuse to take from a hold. Only
// one that was placed before is known for certain: what is learned later need not have
// been so when it was asked for.
func refusals(placed bool) []wallet.Code {
	codes := []wallet.Code{wallet.HoldFinished, wallet.HoldExceeded}
	if !placed {
		codes = append(codes, wallet.UnknownHold)
	}
	return codes
}

// checkHolds checks that no hold paid more than it had.
func (b *bank) checkHolds() {
	paid := map[*hold]money.Amount{}
	for _, tr := range b.transfers {
		if tr.hold == nil || tr.code != wallet.Applied {
			continue
		}
		if paid[tr.hold] += tr.amount; paid[tr.hold] > tr.hold.amount || tr.hold.code == wallet.ExpiryOutOfRange {
			b.w.failf("hold %d of %d (%v) paid %d", tr.hold.number, tr.hold.amount, tr.hold.code, paid[tr.hold])
		}
	}
}

// expired says that no hold is open whose time has come by the clock of the node that
// leads its partition.
func (w *world) expired() bool {
	for _, n := range w.nodes {
		if n.ended() {
			continue
		}
		for p := range w.partitions {
			g := n.host.Group(rsmraft.GroupID(p + 1))
			if g == nil || !g.Status().Leads {
				continue
			}
			if at, some := n.parts[p].Machine.NextExpiry(); some && int64(at) <= n.Process.Now().UnixMilli() {
				return false
			}
		}
	}
	return true
}
