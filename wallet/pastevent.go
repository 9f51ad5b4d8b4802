package wallet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"maru.example/rsm"
)

// MaxEvents is the most events in a page.
const MaxEvents = 1000

// PastEvent is an event, and its place.
type PastEvent struct {
	LineKey
	Event

	AccountID AccountID `json:"account_id,omitzero"` // "" where it is not known
	OtherID   AccountID `json:"other_id,omitzero"`
}

// EventQuery asks for what happened, oldest first: to an account, or else to all that
// a tenant has in a partition. There are no refusals among it.
type EventQuery struct {
	Account   Handle  `json:"account,omitzero"`
	Partition uint16  `json:"partition,omitzero"` // of the tenant's events
	Tenant    uint16  `json:"tenant,omitzero"`
	From      int64   `json:"from,omitzero"`  // the first time, in nanoseconds since 1970 UTC
	After     LineKey `json:"after,omitzero"` // where to go on; zero: at the beginning
	Limit     int     `json:"limit"`          // from 1 to MaxEvents
	// End says that the answer shall have the place where the log ends. Programs of before do not know of it.
	End bool `json:"end,omitzero"`
}

// EventPage is an answer to an EventQuery.
type EventPage struct {
	Events []PastEvent `json:"events,omitempty"`
	Next   LineKey     `json:"next,omitzero"` // zero: there is no more so far
	Mark   HistoryMark `json:"mark"`
	End    LineKey     `json:"end,omitzero"` // behind the newest entry that is decided on the node, which may not be taken up yet; zero: not asked for, or not known
}

// ReferenceQuery asks for a tenant's transactions with a reference, or for the reversals
// of one, that were begun in a partition, oldest first.
type ReferenceQuery struct {
	Partition uint16        `json:"partition,omitzero"`
	Tenant    uint16        `json:"tenant,omitzero"`
	Reference string        `json:"reference"`
	Reverses  TransactionID `json:"reverses,omitzero"` // instead of a reference
	From      int64         `json:"from,omitzero"`     // the first time, in nanoseconds since 1970 UTC
	After     LineKey       `json:"after,omitzero"`    // where to go on; zero: at the beginning
	Limit     int           `json:"limit"`             // from 1 to MaxEvents
}

// PastTransaction is a transaction that was made, or begun.
type PastTransaction struct {
	LineKey
	Partition uint16 `json:"partition,omitzero"` // that decided it
	Content   []byte `json:"content"`            // ParseTransaction reads it
	Code      Code   `json:"code,omitzero"`      // Applied, Pending, or what became of it
}

// TransactionPage is an answer to a ReferenceQuery.
type TransactionPage struct {
	Transactions []PastTransaction `json:"transactions,omitempty"`
	Next         LineKey           `json:"next,omitzero"` // zero: there is no more so far
	Mark         HistoryMark       `json:"mark"`
}

// EventsRequest asks a wallet's history for events.
type EventsRequest struct {
	Tenant    Tenant
	Account   AccountID        // "": all of the tenant's in Partition
	Partition uint16           // where there is no account
	From      int64            // the first time, in nanoseconds since 1970 UTC
	After     LineKey          // where to go on
	Limit     int              // from 1 to MaxEvents
	AtLeast   HistoryPositions // that the answer must reflect; those of other partitions do not matter
	End       bool             // where the log ends is wanted too
}

// HistoryEvents returns a page of events. The code is Applied, UnknownAccount or UnknownTenant.
func (s *Service) HistoryEvents(ctx context.Context, r *EventsRequest) (EventPage, Code, error) {
	q := &query{Past: &pastQuery{Kind: pastEvents, Events: EventQuery{Partition: r.Partition, From: r.From, After: r.After, Limit: r.Limit, End: r.End}}}
	number, ok, err := s.Tenant(ctx, r.Tenant)
	switch {
	case err != nil:
		return EventPage{}, Undecided, err
	case !ok:
		return EventPage{}, UnknownTenant, nil
	case int(r.Partition) >= len(s.parts):
		return EventPage{}, Undecided, ErrPosition
	}
	q.Past.Events.Tenant = number
	p := s.parts[r.Partition]
	if r.Account != "" {
		if err := r.Account.Validate(); err != nil {
			return EventPage{}, Undecided, err
		}
		if q.Past.Events.Account, err = s.handleOf(ctx, r.Tenant, number, r.Account); err != nil || q.Past.Events.Account == 0 {
			return EventPage{}, UnknownAccount, err
		}
		p = s.partition(r.Tenant, r.Account)
	}
	if err := r.AtLeast.within(len(s.parts)); err != nil {
		return EventPage{}, Undecided, err
	}
	q.Past.AtLeast = r.AtLeast.of(p.number)
	f, err := s.past(ctx, p, q)
	if err != nil {
		return EventPage{}, Undecided, err
	}
	return *f.Events, Applied, s.nameEvents(ctx, r, f.Events.Events)
}

// nameEvents fills in the names of the accounts, as far as they can be had now.
func (s *Service) nameEvents(ctx context.Context, r *EventsRequest, events []PastEvent) error {
	sides := make([]namedSide, 0, 2*len(events))
	for i := range events {
		e := &events[i]
		switch {
		case r.Account != "":
			e.AccountID = r.Account
		case e.Kind == AccountOpened || e.Kind == CurrencyAdded || e.Kind == LimitChanged || e.Kind == StatusChanged || e.Kind == DailyLimitSet:
			e.AccountID = AccountID(e.Name)
		default:
			sides = append(sides, namedSide{e.Account, &e.AccountID})
		}
		sides = append(sides, namedSide{e.Other, &e.OtherID})
	}
	return s.nameSides(ctx, r.Tenant, sides)
}

// within returns ErrAtLeast if a position is of none of so many partitions.
func (ps HistoryPositions) within(partitions int) error {
	for _, p := range ps {
		if int(p.Partition) >= partitions {
			return fmt.Errorf("%w: %d of %d", ErrAtLeast, p.Partition, partitions)
		}
	}
	return nil
}

// of returns the largest index of a partition.
func (ps HistoryPositions) of(partition uint16) (at rsm.Index) {
	for _, p := range ps {
		if p.Partition == partition {
			at = max(at, p.Index)
		}
	}
	return at
}

// ReferenceRequest asks a wallet's history for a tenant's transactions with a reference.
type ReferenceRequest struct {
	Tenant    Tenant
	Reference string
	After     ReferenceCursor
	Limit     int // from 1 to MaxEvents
	AtLeast   HistoryPositions
}

// ReferenceCursor is the place of a transaction among those of all partitions: they
// are ordered by time, and then by partition.
type ReferenceCursor struct {
	LineKey
	Partition uint16
}

// compare returns -1, 0 or +1.
func (c ReferenceCursor) compare(other ReferenceCursor) int {
	if c.Time == other.Time && c.Partition != other.Partition {
		return order(c.Partition < other.Partition)
	}
	return c.Compare(other.LineKey)
}

// ReferencePage is an answer to a ReferenceRequest.
type ReferencePage struct {
	Transactions []PastTransaction
	Next         ReferenceCursor  // zero: there is no more so far
	Reflects     HistoryPositions // one of each partition
}

// ErrNoReference says that nothing was looked for.
var ErrNoReference = errors.New("wallet: a reference has 1 to 64 bytes of UTF-8")

// HistoryTransactions returns a page of transactions that were made, or begun, with a
// reference, oldest first. Of those that were pending, what has become of them is
// asked for. The code is Applied or UnknownTenant.
func (s *Service) HistoryTransactions(ctx context.Context, r *ReferenceRequest) (page ReferencePage, code Code, err error) {
	if r.Reference == "" || len(r.Reference) > MaxReference {
		return page, Undecided, ErrNoReference
	}
	if err := r.AtLeast.within(len(s.parts)); err != nil {
		return page, Undecided, err
	}
	number, ok, err := s.Tenant(ctx, r.Tenant)
	if err != nil || !ok {
		return page, UnknownTenant, err
	}
	more := false
	for _, p := range s.parts {
		q := &query{Past: &pastQuery{Kind: pastTransactions, AtLeast: r.AtLeast.of(p.number), Reference: ReferenceQuery{
			Partition: p.number, Tenant: number, Reference: r.Reference, Limit: r.Limit,
		}}}
		q.Past.Reference.begin(r.After)
		f, err := s.past(ctx, p, q)
		if err != nil {
			return page, Undecided, err
		}
		found := f.Transactions
		more = more || found.Next != LineKey{}
		page.Reflects = append(page.Reflects, HistoryPosition{p.number, found.Mark.Index})
		for i := range found.Transactions {
			found.Transactions[i].Partition = p.number
		}
		page.Transactions = append(page.Transactions, found.Transactions...)
		slices.SortFunc(page.Transactions, func(a, b PastTransaction) int { return a.cursor().compare(b.cursor()) })
		if len(page.Transactions) > r.Limit { // at once, as there may be many partitions
			clear(page.Transactions[r.Limit:])
			page.Transactions, more = page.Transactions[:r.Limit], true
		}
	}
	if err := s.whatBecame(ctx, number, page.Transactions); err != nil {
		return page, Undecided, err
	}
	if n := len(page.Transactions); more && n > 0 {
		page.Next = page.Transactions[n-1].cursor()
	}
	return page, Applied, nil
}

func (t *PastTransaction) cursor() ReferenceCursor { return ReferenceCursor{t.LineKey, t.Partition} }

// begin lets a query of a partition go on behind a place among those of all.
func (q *ReferenceQuery) begin(after ReferenceCursor) {
	switch {
	case after == ReferenceCursor{}:
	case q.Partition == after.Partition:
		q.After = after.LineKey
	case q.Partition < after.Partition:
		q.From = after.Time + 1
	default:
		q.From = after.Time
	}
}
