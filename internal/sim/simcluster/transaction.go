package simcluster

import (
	"fmt"

	"maru.example/money"
	"maru.example/wallet"
)

// leg is what a transaction adds to the balance of an account.
type leg struct {
	account *account
	amount  money.Amount
}

// crosses says that accounts of several partitions take part.
func (t *transfer) crosses() bool { return len(t.peers()) > 0 }

// peers are the partitions that take part, but for the one that decides.
func (t *transfer) peers() map[uint16]bool {
	home := t.from.partition
	if t.reverses != nil {
		home = t.reverses.from.partition
	}
	peers := map[uint16]bool{}
	for _, l := range t.effect() {
		peers[l.account.partition] = true
	}
	delete(peers, home)
	return peers
}

// effect is what a transfer or transaction does to each account.
func (t *transfer) effect() []leg {
	if t.legs != nil {
		return t.legs
	}
	return []leg{{t.from, -t.amount}, {t.to, t.amount}}
}

// drawTransaction returns a new transaction, of which at most one account that is
// debited has a limit, so that a refusal says whose money did not suffice.
func (t *teller) drawTransaction() *transfer {
	w := t.w
	if len(t.made) > 0 && w.Chance(0.4) {
		if tr := t.made[w.Rand.IntN(len(t.made))]; tr.code == wallet.Applied && tr.legs == nil && tr.hold == nil {
			return t.reversal(tr)
		}
	}
	tenant := t.tenants[w.Rand.IntN(len(t.tenants))]
	tr := &transfer{number: uint64(len(t.transfers) + 1), protocol: t.legProtocol(), called: w.Now()}
	drawn := map[*account]bool{}
	customers := 0
	pick := func(fits func(role) bool) *account { // nil if all that fit are drawn
		var all []*account
		for _, a := range t.accounts {
			if a.tenant == tenant && !drawn[a] && a.role != gone && fits(a.role) && (a.role != customer || customers == 0) {
				all = append(all, a)
			}
		}
		if len(all) == 0 {
			return nil
		}
		a := all[w.Rand.IntN(len(all))]
		drawn[a] = true
		return a
	}
	left := money.Amount(0)
	for range 1 + w.Rand.IntN(2) {
		a := pick(role.pays)
		if a == nil {
			break
		}
		if a.role == customer {
			customers++
		}
		amount := money.Amount(1 + w.Rand.IntN(100))
		tr.legs = append(tr.legs, leg{a, -amount})
		left += amount
	}
	customers = 0
	part := 1 + money.Amount(w.Rand.IntN(int(left)))
	tr.legs = append(tr.legs, leg{pick(role.isPaid), part})
	if a := pick(role.isPaid); a != nil && part < left {
		tr.legs = append(tr.legs, leg{a, left - part})
	} else {
		tr.legs[len(tr.legs)-1].amount = left
	}
	tr.from, tr.to, tr.amount = tr.legs[0].account, tr.legs[1].account, -tr.legs[0].amount
	return tr
}

// legProtocol returns by what transactions between partitions are made.
func (t *teller) legProtocol() wallet.Protocol {
	if p := t.w.protocol(); p != wallet.TwoPhase && t.w.Chance(0.8) {
		return p
	}
	return []wallet.Protocol{wallet.TCC, wallet.Saga}[t.w.Rand.IntN(2)]
}

// reversal returns a transaction that takes a transfer back, or a part of it, however
// much was taken back before.
func (t *teller) reversal(of *transfer) *transfer {
	amount := of.amount
	if t.w.Chance(0.5) {
		amount = 1 + money.Amount(t.w.Rand.IntN(int(of.amount)))
	}
	return &transfer{
		number: uint64(len(t.transfers) + 1), protocol: t.legProtocol(), called: t.w.Now(), reverses: of,
		from: of.to, to: of.from, amount: amount, legs: []leg{{of.from, amount}, {of.to, -amount}},
	}
}

// transaction returns the wallet's.
func (t *transfer) transaction() *wallet.Transaction {
	out := &wallet.Transaction{ID: t.id(), Reference: fmt.Sprint(t.number)}
	for _, l := range t.legs {
		out.Postings = append(out.Postings, wallet.Posting{Account: l.account.id, Amount: l.amount, Currency: usd})
	}
	if o := t.reverses; o != nil {
		out.Reverses = wallet.OriginalTransfer(&wallet.Transfer{ID: o.id(), From: o.from.id, To: o.to.id, Amount: o.amount, Currency: usd})
	}
	return out
}

// expected returns the codes that a transaction may end with.
func (t *transfer) expected() []wallet.Code {
	codes := []wallet.Code{wallet.Applied}
	for _, l := range t.legs {
		if l.amount < 0 && l.account.role.limited() {
			codes = append(codes, wallet.InsufficientFunds)
		}
		if l.account.role.freezes() {
			codes = append(codes, wallet.AccountFrozen)
		}
		if l.account.role == gone {
			codes = append(codes, wallet.AccountClosed)
		}
	}
	if t.reverses != nil {
		codes = append(codes, wallet.OverReversed)
	}
	if n := len(t.peers()); n > 0 {
		codes = append(codes, wallet.AccountLocked)
		if n > 1 || t.protocol == wallet.TCC {
			codes = append(codes, wallet.Canceled)
		}
	}
	return codes
}

// note adds what a transaction did to the accounts, when its outcome is known. Of one
// that was refused, each account may have been debited and got its money back.
func (t *transfer) note(now moment) {
	for _, l := range t.legs {
		h := &l.account.history
		switch {
		case t.code == wallet.Applied && l.amount > 0:
			h.add(credited, l.amount, t.called, now)
		case t.code == wallet.Applied:
			h.add(debited, -l.amount, t.called, now)
		case l.amount > 0 || t.code == wallet.OverReversed:
		case t.code == wallet.InsufficientFunds && l.account.role.limited():
			h.add(lacked, -l.amount, t.called, now)
		default:
			h.add(tried, -l.amount, t.called, now)
			h.add(credited, -l.amount, t.called, now)
		}
	}
}
