package wallet

import (
	"context"
	"errors"
	"fmt"

	"maru.example/money"
	"maru.example/rsm"
)

// IDQuery asks what was done under a transaction id in the partition that decided it.
type IDQuery struct {
	Partition uint16        `json:"partition,omitzero"`
	Tenant    uint16        `json:"tenant,omitzero"`
	ID        TransactionID `json:"id"`
}

// FoundEvents is an answer to an IDQuery: the events of the command, as they were when
// it was decided or begun; none if the history has nothing of it.
type FoundEvents struct {
	Events  []PastEvent `json:"events,omitempty"`
	Mark    HistoryMark `json:"mark"`
	Decided rsm.Index   `json:"decided,omitzero"` // what is decided on the node, and may not be taken up yet; 0: not known
}

// ContentKind says what a transaction id is the id of.
type ContentKind uint8

// The kinds of content.
const (
	NoContent ContentKind = iota
	TransferContent
	TransactionContent
	ReversalContent // a transaction that takes another one back
	CaptureContent
	HoldContent
	ReleaseContent
	ExtensionContent
	endContent
)

// String returns the name that the API shows.
func (k ContentKind) String() string {
	names := [endContent]string{"none", "transfer", "transaction", "reversal", "capture", "hold", "release", "extension"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("content(%d)", uint8(k))
}

// ParseContentKind returns the kind with a name, and whether there is one.
func ParseContentKind(name string) (ContentKind, bool) {
	for k := range endContent {
		if k.String() == name {
			return k, true
		}
	}
	return NoContent, false
}

// Content is what was said of a transaction id, and when.
type Content struct {
	LineKey // of its first event

	Kind      ContentKind
	Postings  []Posting // of a transfer and a capture two, the payer's first; none of what is about a hold
	Reference string
	Metadata  Metadata
	Reverses  TransactionID // what a reversal takes back

	Hold     TransactionID // of a capture, a release and an extension
	Account  AccountID     // of the hold, as the rest
	Payee    AccountID     // the only one that it can be paid to, "" for any
	Amount   money.Amount  // held, or released
	Currency money.Currency
	Expires  Millis
}

// Found is what is known of a transaction id.
type Found struct {
	Code      Code // Undecided, if it was never seen; UnknownTenant
	Partition uint16
	// Content is nil if it was refused and did nothing, or, if Missing says why, if the history does not have it.
	Content  *Content
	Missing  error          // wraps ErrHistoryUnavailable or ErrHistoryBehind
	Reversed []money.Amount // by leg of the content, how much was taken back, or is about to be; nil: not known
	Mark     HistoryMark    // what the content reflects
}

// FindRequest asks for what is known of a transaction id.
type FindRequest struct {
	Tenant  Tenant
	ID      TransactionID
	AtLeast HistoryPositions // that the content must reflect; those of other partitions do not matter
}

// findContent asks a history for what was done under an id.
func (p *Partition) findContent(ctx context.Context, h History, q *IDQuery) (*pastFinding, error) {
	found, err := h.Find(q)
	if err == nil && len(found.Events) == 0 && found.Decided > found.Mark.Index {
		near, cancel := context.WithTimeout(ctx, shortPatience)
		defer cancel()
		if err = h.Wait(near, HistoryPosition{p.number, found.Decided}); err == nil {
			found, err = h.Find(q)
		}
	}
	return &pastFinding{Found: &found}, err
}

// HistoryFind returns what was decided for a transaction id, and what it was. If the history does not have that the
// answer says why, unless a position was asked for: then it is the error.
func (s *Service) HistoryFind(ctx context.Context, r *FindRequest) (found Found, err error) {
	number, ok, err := s.Tenant(ctx, r.Tenant)
	if err != nil || !ok {
		return Found{Code: UnknownTenant}, err
	}
	if err := r.AtLeast.within(len(s.parts)); err != nil {
		return found, err
	}
	p, f, err := s.decisionOf(ctx, number, r.ID)
	if err != nil || f.Code == Undecided {
		return found, err
	}
	found.Code, found.Partition, found.Reversed = f.Code, p.number, f.Reversed
	q := &query{Past: &pastQuery{Kind: pastFind, AtLeast: r.AtLeast.of(p.number), ID: IDQuery{p.number, number, r.ID}}}
	past, err := s.past(ctx, p, q)
	switch {
	case err == nil:
	case len(r.AtLeast) > 0 || ctx.Err() != nil:
		return found, err
	case errors.Is(err, ErrHistoryUnavailable), errors.Is(err, ErrHistoryBehind):
		found.Missing = err
		return found, nil
	case errors.Is(err, rsm.ErrNoLeader):
		found.Missing = fmt.Errorf("%w: no node that can be reached keeps it of partition %d", ErrHistoryUnavailable, p.number)
		return found, nil
	default:
		return found, err
	}
	found.Mark = past.Found.Mark
	if len(past.Found.Events) == 0 {
		if found.Code == Applied || found.Code == Pending || found.Code == Held {
			found.Missing = fmt.Errorf("%w: it has not come to it yet, it is at %v", ErrHistoryBehind, found.Mark.HistoryPosition)
		}
		return found, nil
	}
	return found, s.readContent(ctx, r.Tenant, &found, past.Found.Events)
}

// readContent makes the content of events.
func (s *Service) readContent(ctx context.Context, tenant Tenant, found *Found, events []PastEvent) error {
	first := &events[0]
	c := &Content{LineKey: first.LineKey}
	sides := []namedSide{{first.Account, &c.Account}}
	switch first.Kind { //nolint:exhaustive // the others are of no command, or not its first
	case Debit:
		c.Kind, c.Postings = TransferContent, []Posting{{Amount: first.Amount, Currency: first.Currency}, {Amount: -first.Amount, Currency: first.Currency}}
		sides = []namedSide{{first.Account, &c.Postings[0].Account}, {first.Other, &c.Postings[1].Account}}
		for i := range events {
			if events[i].Kind == HoldCaptured {
				c.Kind, c.Hold = CaptureContent, events[i].Hold
			}
		}
	case TransactionMade:
		t, ok := ParseTransaction(first.Content)
		if !ok {
			return fmt.Errorf("the transaction at %d:%d of the history cannot be read", found.Partition, first.Index)
		}
		c.Kind, c.Postings, c.Reference, c.Metadata = TransactionContent, t.Postings, t.Reference, t.Metadata
		if t.Reverses != nil {
			c.Kind, c.Reverses = ReversalContent, t.Reverses.ID
		}
		sides = nil
	case HoldPlaced:
		c.Kind, c.Payee, c.Amount, c.Currency, c.Expires = HoldContent, AccountID(first.Name), first.Amount, first.Currency, first.Expires
	case HoldReleased:
		c.Kind, c.Hold, c.Amount, c.Currency = ReleaseContent, first.Hold, first.Amount, first.Currency
	case HoldExtended:
		c.Kind, c.Hold, c.Expires = ExtensionContent, first.Hold, first.Expires
	default:
		return fmt.Errorf("an event of %v at %d:%d of the history is none of a transaction id", first.Kind, found.Partition, first.Index)
	}
	if err := s.nameSides(ctx, tenant, sides); err != nil {
		return err
	}
	for _, v := range sides {
		if *v.name == "" {
			found.Missing = fmt.Errorf("%w: the name of account %d is not to be had now", ErrHistoryUnavailable, v.account)
			return nil
		}
	}
	found.Content = c
	return nil
}

// Legs returns what the postings add up to, by account and currency, in the order in
// which these are named first: what a reversal takes back is counted so.
func (c *Content) Legs() (legs []Posting) {
next:
	for _, p := range c.Postings {
		for i := range legs {
			if legs[i].Account == p.Account && legs[i].Currency == p.Currency {
				legs[i].Amount += p.Amount
				continue next
			}
		}
		legs = append(legs, p)
	}
	return legs
}

// ReversedLegs returns what was taken back of what was found, or is about to be, as the postings
// of one reversal. It says whether that is known.
func (f *Found) ReversedLegs() (back []Posting, known bool) {
	if f.Content == nil || f.Reversed == nil {
		return nil, false
	}
	legs := f.Content.Legs()
	if len(f.Reversed) > 0 && len(f.Reversed) != len(legs) {
		return nil, false // another content
	}
	for i, a := range f.Reversed {
		if legs[i].Amount > 0 {
			a = -a
		}
		if a != 0 {
			back = append(back, Posting{legs[i].Account, a, legs[i].Currency})
		}
	}
	return back, true
}

// Original returns what was found as something to be reversed, nil if it is nothing of that kind.
func (f *Found) Original(id TransactionID) *Original {
	c := f.Content
	if c == nil {
		return nil
	}
	switch c.Kind {
	case TransferContent, CaptureContent:
		return &Original{ID: id, Transfer: true, Hold: c.Hold, Postings: c.Postings}
	case TransactionContent:
		return &Original{ID: id, Postings: c.Postings, Reference: c.Reference, Metadata: c.Metadata}
	case NoContent, ReversalContent, HoldContent, ReleaseContent, ExtensionContent, endContent:
	}
	return nil
}

// ReversalsRequest asks for the reversals of a transfer or transaction, oldest first.
type ReversalsRequest struct {
	Tenant  Tenant
	ID      TransactionID // of what they take back
	After   LineKey       // where to go on
	Limit   int           // from 1 to MaxEvents
	AtLeast HistoryPositions
}

// HistoryReversals returns a page of the reversals that were made, or begun, and what became of them. The code is
// Applied, UnknownTenant, or Undecided if there is nothing that they could be of.
func (s *Service) HistoryReversals(ctx context.Context, r *ReversalsRequest) (page TransactionPage, code Code, err error) {
	number, ok, err := s.Tenant(ctx, r.Tenant)
	if err != nil || !ok {
		return page, UnknownTenant, err
	}
	if err := r.AtLeast.within(len(s.parts)); err != nil {
		return page, Undecided, err
	}
	p, of, err := s.decisionOf(ctx, number, r.ID)
	if err != nil || of.Code == Undecided {
		return page, Undecided, err
	}
	q := &query{Past: &pastQuery{Kind: pastReversals, AtLeast: r.AtLeast.of(p.number), Reference: ReferenceQuery{
		Partition: p.number, Tenant: number, Reverses: r.ID, After: r.After, Limit: r.Limit,
	}}}
	f, err := s.past(ctx, p, q)
	if err != nil {
		return page, Undecided, err
	}
	for i := range f.Transactions.Transactions {
		f.Transactions.Transactions[i].Partition = p.number
	}
	return *f.Transactions, Applied, s.whatBecame(ctx, number, f.Transactions.Transactions)
}

// whatBecame asks what became of transactions that were pending.
func (s *Service) whatBecame(ctx context.Context, tenant uint16, of []PastTransaction) error {
	for i := range of {
		t := &of[i]
		if t.Code != Pending {
			continue
		}
		f, err := s.query(ctx, s.parts[t.Partition], &query{Subject: aboutDecision, Tenant: tenant, Transaction: TransactionID(t.Content)})
		if err != nil {
			return err
		}
		t.Code = f.Code
	}
	return nil
}
