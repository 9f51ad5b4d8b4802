package simcluster

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"maru.example/money"
	"maru.example/wallet"
)

// moment is a time of the world.
type moment = time.Duration

const forever moment = math.MaxInt64

// deed is what a client saw of the balance of an account, or did to it.
type deed struct {
	kind   deedKind
	amount money.Amount
}

type deedKind int

const (
	saw      deedKind = iota // the balance
	debited                  // it, by an amount that there was
	credited                 // it
	lacked                   // an amount for a transfer, which was refused
	tried                    // it, perhaps, by what came back: of a transaction that was refused
)

// history is all that clients saw of an account and did to it, and all that it was.
type history struct {
	deeds    []porcupine.Operation
	versions []version
}

// version is a balance that an account had, from the moment on at which the first
// replica knew it.
type version struct {
	from   moment
	amount money.Amount
}

// add adds a deed that was done between two moments.
func (h *history) add(kind deedKind, amount money.Amount, called, done moment) {
	h.deeds = append(h.deeds, porcupine.Operation{
		ClientId: len(h.deeds), Input: deed{kind, amount}, Call: int64(called), Return: int64(done),
	})
}

// note adds what a transfer did to the accounts, when its outcome is known. The
// payer of one that the other partition refused had paid, and got its money back,
// but for two-phase commit.
func (t *teller) note(tr *transfer) {
	now := t.w.Now()
	if tr.legs != nil {
		tr.note(now)
		return
	}
	from, to := &tr.from.history, &tr.to.history
	switch paid := tr.crosses() && tr.protocol != wallet.TwoPhase; {
	case tr.code == wallet.Applied:
		from.add(debited, tr.amount, tr.called, now)
		to.add(credited, tr.amount, tr.called, now)
	case tr.code == wallet.InsufficientFunds:
		from.add(lacked, tr.amount, tr.called, now)
	case tr.hold != nil && slices.Contains(refusals(tr.placed), tr.code):
		// Nothing moved.
	case paid && (tr.code != wallet.AccountFrozen || tr.to.role.freezes()):
		from.add(debited, tr.amount, tr.called, now)
		from.add(credited, tr.amount, tr.called, now)
	}
}

// model is an account with a balance that may not go below zero, if it is limited.
func model(limited bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return money.Amount(0) },
		Step: func(state, input, _ any) (bool, any) {
			has, d := state.(money.Amount), input.(deed)
			switch d.kind {
			case saw:
				return has == d.amount, has
			case debited:
				return !limited || has >= d.amount, has - d.amount
			case tried:
				return true, has - d.amount
			case credited:
				return true, has + d.amount
			case lacked:
				return limited && has < d.amount, has
			}
			panic("unreachable")
		},
	}
}

// was says whether the account had a balance at some moment between two.
func (h *history) was(amount money.Amount, from, to moment) bool {
	held := len(h.versions) == 0 || h.versions[0].from > from
	if held && amount == 0 { // as it is opened
		return true
	}
	for i, v := range h.versions {
		until := forever
		if i+1 < len(h.versions) {
			until = h.versions[i+1].from
		}
		if v.amount == amount && v.from <= to && until > from {
			return true
		}
	}
	return false
}

// last returns the newest versions, for people.
func (h *history) last() string {
	return fmt.Sprint(h.versions[max(0, len(h.versions)-10):])
}

// proofTime is how long the history of an account may take to be proved
// linearizable.
const proofTime = 300 * time.Millisecond

// prove checks that the history of each account is linearizable.
func (b *bank) prove() {
	for _, a := range b.accounts {
		switch porcupine.CheckOperationsTimeout(model(a.role.limited()), a.history.deeds, proofTime) {
		case porcupine.Illegal:
			b.w.failf("what was seen of account %s (%v) is not linearizable: %+v", a.id, a.role, a.history.deeds)
		case porcupine.Unknown:
			b.unproven++
		case porcupine.Ok:
		}
	}
}
