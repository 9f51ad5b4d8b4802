package wallet

import (
	"bytes"
	"fmt"
	"strings"

	"maru.example/rsm"
)

// Decision is what a machine decided on a batch: see [Machine.Apply] and [Machine.Effects].
type Decision struct{ Results, Effects []byte }

// SameDecision says whether a decision on record is that of now. Programs from before
// the events of holds put none into the effects, where they come last.
func SameDecision(batch []byte, was, is Decision) bool {
	if !bytes.Equal(was.Results, is.Results) || len(was.Effects) > len(is.Effects) || !bytes.Equal(was.Effects, is.Effects[:len(was.Effects)]) {
		return false
	}
	if len(was.Effects) == len(is.Effects) {
		return true
	}
	h, err := Validate(batch)
	if err != nil {
		h.Kind = KindNone
	}
	at, err := onHoldsAt(h.Kind, is.Results, is.Effects)
	return err == nil && at == len(was.Effects)
}

// decisionNotes is the number of what this program records of decisions: 1, all that docs/format/wallet.md says.
const decisionNotes = 1

var _ rsm.Reviewer = (*Machine)(nil)

// Notes implements rsm.Reviewer.
func (m *Machine) Notes() byte { return decisionNotes }

// SameDecision is the function, for a replica that decides again what is on record.
func (m *Machine) SameDecision(was, is rsm.DecidedBatch) bool {
	return SameDecision(is.Data, Decision{was.Results, was.Effects}, Decision{is.Results, is.Effects})
}

// Disagreement is a command that two decisions do not agree about.
type Disagreement struct {
	Command int  // its number in the batch, from 0
	Kind    Kind // of the batch
	// ID is that of the transfer, the zero value of other commands.
	ID TransactionID
	// Was and Is are the code, and what it did: each in words.
	Was, Is string
}

// Comparison compares decisions with those on record, in the order of the log. The zero value
// begins with the first of a record.
type Comparison struct {
	// Older is how many batches are on record without what became of holds: by programs that noted nothing
	// of them.
	Older uint64
	holds bool // such events were on record: from there on none may be missing
}

// Disagreements returns the commands of a batch that were decided in one way and are in
// another. The error wraps ErrFormat if a decision does not belong to the batch.
func (c *Comparison) Disagreements(batch []byte, was, is Decision) ([]Disagreement, error) {
	if c.same(batch, was, is) {
		return nil, nil
	}
	before, err := describeDecision(batch, was)
	if err != nil {
		return nil, fmt.Errorf("decided before: %w", err)
	}
	now, err := describeDecision(batch, is)
	if err != nil {
		return nil, fmt.Errorf("decided now: %w", err)
	}
	h, err := Validate(batch)
	if err != nil || len(before) != len(now) || len(now) != h.Count { // there is one answer
		one, two := strings.Join(before, "; "), strings.Join(now, "; ")
		if one == two {
			one, two = inBytes(was, is)
		}
		return []Disagreement{{Kind: h.Kind, Was: one, Is: two}}, nil
	}
	var all []Disagreement
	size := commandSize(h.Kind)
	body := batch[HeaderBytes+prefixSize(h.Kind):]
	for i := range before {
		n := size(body)
		if before[i] != now[i] {
			all = append(all, Disagreement{i, h.Kind, transferID(h.Kind, body[:n]), before[i], now[i]})
		}
		body = body[n:]
	}
	if len(all) == 0 { // what differs is not in the words
		one, two := inBytes(was, is)
		all = append(all, Disagreement{Kind: h.Kind, Was: one, Is: two})
	}
	return all, nil
}

// same says whether a decision on record is that of now, after those before it.
func (c *Comparison) same(batch []byte, was, is Decision) bool {
	if !SameDecision(batch, was, is) {
		return false
	}
	if len(was.Effects) < len(is.Effects) {
		c.Older++
		return !c.holds
	}
	if !c.holds && len(is.Effects) > 0 {
		h, err := Validate(batch)
		if err != nil {
			h.Kind = KindNone
		}
		at, err := onHoldsAt(h.Kind, is.Results, is.Effects)
		c.holds = err == nil && at < len(is.Effects)
	}
	return true
}

// inBytes says where two decisions differ.
func inBytes(was, is Decision) (before, now string) {
	what, one, two := "effects", was.Effects, is.Effects
	if !bytes.Equal(was.Results, is.Results) {
		what, one, two = "results", was.Results, is.Results
	}
	at := 0
	for at < len(one) && at < len(two) && one[at] == two[at] {
		at++
	}
	say := func(b []byte) string {
		return fmt.Sprintf("%d bytes of %s, from byte %d on %x", len(b), what, at, b[at:min(len(b), at+16)])
	}
	return say(one), say(two)
}

// transferID returns the id in a command that is a transfer.
func transferID(k Kind, cmd []byte) TransactionID {
	switch k { //nolint:exhaustive // the others have none
	case KindTransfers, KindTransfersByName, KindCrossTransfers, KindCrossTransfersByName:
		return TransactionID(cmd[:16])
	}
	return TransactionID{}
}

// describeDecision says in words what became of each command of a batch, or of all of
// them together if there is one answer for all.
func describeDecision(batch []byte, d Decision) ([]string, error) {
	h, err := Validate(batch)
	if size := resultSize(h.Kind); err != nil || len(d.Results) != h.Count*size {
		return []string{fmt.Sprintf("%x", d.Results)}, nil //nolint:nilerr // it was answered, and so it is described
	}
	out := make([]string, h.Count)
	for i := range out {
		r := Result(d.Results[i*resultSize(h.Kind)])
		out[i] = r.Code().String()
		if r.Repeated() {
			out[i] += ", as before"
		}
	}
	err = Events(batch, d.Results, d.Effects, func(e *Event) error {
		switch e.Kind {
		case Debit, Credit, Return:
			out[e.Command] += fmt.Sprintf(", %v of account %d by %s %v to %s", e.Kind, e.Account, e.Amount.Format(e.Currency), e.Currency, e.Balance.Format(e.Currency))
		case AccountOpened:
			out[e.Command] += fmt.Sprintf(", account %d", e.Account)
		case TenantMade:
			out[e.Command] += fmt.Sprintf(", tenant %d", e.Tenant)
		case AssetMade:
			out[e.Command] += fmt.Sprintf(", currency %v", e.Currency)
		case HoldPlaced, HoldCaptured, HoldReleased, HoldExtended, HoldExpired, HoldRestored:
			out[e.Command] += fmt.Sprintf(", %v of account %d by %s %v to %s, %s held", e.Kind, e.Account, e.Amount.Format(e.Currency), e.Currency, e.Left.Format(e.Currency), e.Held.Format(e.Currency))
		case NoEvent, CurrencyAdded, LimitChanged, StatusChanged, TransferFailed, DailyLimitSet, TransactionMade, endEvent:
		}
		return nil
	})
	return out, err
}
