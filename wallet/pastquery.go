package wallet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"maru.example/money"
	"maru.example/rsm"
)

// historyPatience is how long a history is waited for that is behind of what was asked for.
const historyPatience = 2 * time.Second

// shortPatience is how long a history that is behind is waited for without a position: who asks right after a write finds
// it, and who asks a wallet under load hears soon that it is not there yet.
const shortPatience = time.Second

// HistoryRequest asks the wallet's history about an account.
type HistoryRequest struct {
	Tenant       Tenant
	Account      AccountID
	Counterparty AccountID        // "": any; for lines
	Lines        LineQuery        // without its accounts
	At           int64            // of balances, in nanoseconds since 1970 UTC; math.MaxInt64: the newest that the history has
	AtLeast      HistoryPositions // that the answer must reflect; those of other partitions do not matter
}

// pastKind says what a query asks the history about. The names are part of the format between nodes.
type pastKind string

const (
	pastLines     pastKind = "lines"
	pastBalances  pastKind = "balances"
	pastStatement pastKind = "statement"
	pastTurnover  pastKind = "turnover"
	pastEvents    pastKind = "events"

	pastTransactions pastKind = "transactions"
	pastReversals    pastKind = "reversals" // with a ReferenceQuery too: who does not know of them must not answer
	pastFind         pastKind = "find"
)

// pastQuery is the part of a query that is about history.
type pastQuery struct {
	Kind    pastKind  `json:"kind"`
	Lines   LineQuery `json:"lines,omitzero"`
	At      int64     `json:"at,omitzero"`
	AtLeast rsm.Index `json:"at_least,omitzero"`
	// Elsewhere says that a node whose history does not go back so far shall let another
	// one be asked.
	Elsewhere bool `json:"elsewhere,omitzero"`

	Events    EventQuery     `json:"events,omitzero"`
	Reference ReferenceQuery `json:"reference,omitzero"`
	ID        IDQuery        `json:"id,omitzero"`
}

// pastFinding is the part of a finding that the history gave: one of them, or the text
// of a refusal.
type pastFinding struct {
	Page        *LinePage     `json:"page,omitempty"`
	Balances    *PastBalances `json:"balances,omitempty"`
	Statement   *Statement    `json:"statement,omitempty"`
	Turnover    *Turnover     `json:"turnover,omitempty"`
	Events      *EventPage    `json:"events,omitempty"`
	Unavailable string        `json:"unavailable,omitzero"`
	Behind      string        `json:"behind,omitzero"`

	Transactions *TransactionPage `json:"transactions,omitempty"`
	Found        *FoundEvents     `json:"found,omitempty"`
}

// answers says whether a finding has what was asked for.
func (f *pastFinding) answers(k pastKind) bool {
	if f == nil {
		return false
	}
	if f.Unavailable != "" || f.Behind != "" {
		return true
	}
	switch k {
	case pastLines:
		return f.Page != nil
	case pastBalances:
		return f.Balances != nil
	case pastStatement:
		return f.Statement != nil
	case pastTurnover:
		return f.Turnover != nil
	case pastEvents:
		return f.Events != nil
	case pastTransactions, pastReversals:
		return f.Transactions != nil
	case pastFind:
		return f.Found != nil
	}
	return false
}

// refused is an error of the history that another node gave.
type refused struct {
	of   error
	text string
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.of }

// ask asks the history of this node. What it refuses is a finding.
func (p *Partition) askHistory(q *query) (*finding, error) {
	ctx, cancel := context.WithTimeout(context.Background(), historyPatience)
	defer cancel()
	found, err := p.findPast(ctx, q)
	switch {
	case errors.Is(err, ErrHistoryUnavailable):
		found = &pastFinding{Unavailable: err.Error()}
	case errors.Is(err, ErrHistoryBehind):
		found = &pastFinding{Behind: err.Error()}
	case err != nil:
		return nil, err
	}
	return &finding{Past: found}, nil
}

func (p *Partition) findPast(ctx context.Context, q *query) (*pastFinding, error) {
	h := p.history
	if h == nil {
		return nil, fmt.Errorf("%w: this node keeps none", ErrHistoryUnavailable)
	}
	if at := q.Past.AtLeast; at > 0 {
		if err := h.Wait(ctx, HistoryPosition{p.number, at}); err != nil {
			return nil, err
		}
	}
	switch q.Past.Kind {
	case pastLines:
		page, err := h.Lines(&q.Past.Lines)
		return &pastFinding{Page: &page}, err
	case pastBalances:
		return p.findBalances(ctx, h, q.Past)
	case pastStatement:
		return p.findStatement(ctx, h, &q.Past.Lines)
	case pastTurnover:
		turnover, err := h.Turnover(p.number, q.Tenant)
		return &pastFinding{Turnover: &turnover}, err
	case pastEvents:
		events, err := h.Events(&q.Past.Events)
		return &pastFinding{Events: &events}, err
	case pastFind:
		return p.findContent(ctx, h, &q.Past.ID)
	case pastTransactions, pastReversals:
		transactions, err := h.Transactions(&q.Past.Reference)
		return &pastFinding{Transactions: &transactions}, err
	}
	return nil, fmt.Errorf("%w: about the past: %q", errRequest, q.Past.Kind)
}

// findBalances asks a history for the balances at a moment. Those at the end of time are the newest that it has.
func (p *Partition) findBalances(ctx context.Context, h History, q *pastQuery) (*pastFinding, error) {
	before := int64(math.MinInt64)
	if q.At < math.MaxInt64 {
		before = q.At + 1 // entries of the moment itself count, and several can be of one time
	}
	var balances PastBalances
	err := p.complete(ctx, h, before, func() (_ *HistoryMark, _ rsm.Index, err error) {
		balances, err = h.BalancesAt(q.Lines.Account, q.At)
		return &balances.Mark, balances.Decided, err
	})
	return &pastFinding{Balances: &balances}, err
}

// findStatement asks a history for a statement. One without an end goes as far as the history, but its opening balance has to be right.
func (p *Partition) findStatement(ctx context.Context, h History, q *LineQuery) (*pastFinding, error) {
	var statement Statement
	err := p.complete(ctx, h, max(q.From, q.To), func() (_ *HistoryMark, _ rsm.Index, err error) {
		statement, err = h.Statement(q)
		return &statement.Mark, statement.Decided, err
	})
	return &pastFinding{Statement: &statement}, err
}

// complete asks a history for what has to have all entries with a time before a moment that were decided on this node when it was asked. If
// the answer may lack some it waits a while, and asks again. What ask returns is what the answer reflects, and what was
// decided here; 0: not known. The error is ErrHistoryBehind if that was in vain.
func (p *Partition) complete(ctx context.Context, h History, before int64, ask func() (*HistoryMark, rsm.Index, error)) error {
	mark, decided, err := ask()
	if err != nil || mark.covers(before, decided) {
		return err
	}
	near, cancel := context.WithTimeout(ctx, shortPatience)
	defer cancel()
	if err := h.Wait(near, HistoryPosition{p.number, decided}); err != nil && !errors.Is(err, ErrHistoryBehind) {
		return err
	}
	mark, _, err = ask() // also where it is still behind: it may have come to the moment
	if err == nil && !mark.covers(before, decided) {
		err = fmt.Errorf("%w: it is at %v, of %s, and may lack what was before the moment that was asked for; %d is decided",
			ErrHistoryBehind, mark.HistoryPosition, time.Unix(0, mark.Time).UTC().Format(time.RFC3339Nano), decided)
	}
	return err
}

// past asks a partition's history, wherever it is.
func (s *Service) past(ctx context.Context, p *Partition, q *query) (*pastFinding, error) {
	q.Subject = aboutPast
	f, err := s.pastAnywhere(ctx, p, q)
	if err != nil {
		return nil, err
	}
	switch {
	case f.Past.Unavailable != "":
		return nil, &refused{ErrHistoryUnavailable, f.Past.Unavailable}
	case f.Past.Behind != "":
		return nil, &refused{ErrHistoryBehind, f.Past.Behind}
	}
	return f.Past, nil
}

// pastAnywhere asks this node's history, and where that does not have what was asked
// for those of other nodes. If none has it, the finding says why not.
func (s *Service) pastAnywhere(ctx context.Context, p *Partition, q *query) (*finding, error) {
	var here *finding
	if p.here() {
		var err error
		if here, err = s.query(ctx, p, q); err != nil || here.Past.whole() {
			return here, err
		}
	}
	past := *q.Past
	past.Elsewhere = true
	other := *q
	other.Past = &past
	f, err := s.queryElsewhere(ctx, p, &other)
	switch {
	case err == nil:
		return f, nil
	case here != nil && errors.Is(err, rsm.ErrNoLeader):
		return here, nil
	case here == nil && errors.Is(err, rsm.ErrNoLeader) && !errors.Is(err, rsm.ErrNoMajority):
		return s.queryElsewhere(ctx, p, q) // what one can say that has not all of it
	}
	return nil, err
}

// whole says that the history had what was asked for.
func (f *pastFinding) whole() bool {
	return f.Unavailable == "" && (f.Balances == nil || !f.Balances.Partial)
}

// pastOf asks the history of an account's partition. The code is Applied, UnknownAccount or UnknownTenant.
func (s *Service) pastOf(ctx context.Context, r *HistoryRequest, kind pastKind) (*pastFinding, Code, error) {
	if err := r.Account.Validate(); err != nil {
		return nil, Undecided, err
	}
	number, ok, err := s.Tenant(ctx, r.Tenant)
	if err != nil {
		return nil, Undecided, err
	}
	if !ok {
		return nil, UnknownTenant, nil
	}
	h, err := s.handleOf(ctx, r.Tenant, number, r.Account)
	if err != nil || h == 0 {
		return nil, UnknownAccount, err
	}
	q := &query{Past: &pastQuery{Kind: kind, Lines: r.Lines, At: r.At}}
	q.Past.Lines.Account = h
	if r.Counterparty != "" {
		if err := r.Counterparty.Validate(); err != nil {
			return nil, Undecided, err
		}
		if q.Past.Lines.Other, err = s.handleOf(ctx, r.Tenant, number, r.Counterparty); err != nil || q.Past.Lines.Other == 0 {
			return nil, UnknownAccount, err
		}
	}
	if err := r.AtLeast.within(len(s.parts)); err != nil {
		return nil, Undecided, err
	}
	q.Past.AtLeast = r.AtLeast.of(h.Partition())
	f, err := s.past(ctx, s.partition(r.Tenant, r.Account), q)
	if err != nil {
		return nil, Undecided, err
	}
	return f, Applied, nil
}

// HistoryLines returns a page of an account's lines.
func (s *Service) HistoryLines(ctx context.Context, r *HistoryRequest) (LinePage, Code, error) {
	f, code, err := s.pastOf(ctx, r, pastLines)
	if err != nil || code != Applied {
		return LinePage{}, code, err
	}
	return *f.Page, code, s.nameOthers(ctx, r.Tenant, f.Page.Lines)
}

// HistoryBalances returns what an account held at a time, in all currencies or not at all.
func (s *Service) HistoryBalances(ctx context.Context, r *HistoryRequest) (PastBalances, Code, error) {
	f, code, err := s.pastOf(ctx, r, pastBalances)
	if err != nil || code != Applied {
		return PastBalances{}, code, err
	}
	past := f.Balances
	if !past.Partial {
		return *past, code, nil
	}
	now, code, err := s.Account(ctx, r.Tenant, r.Account)
	if err != nil || code != Applied {
		return PastBalances{}, code, err
	}
	for _, b := range now.Balances { // which grow only in number
		if !slices.ContainsFunc(past.Balances, func(p PastBalance) bool { return p.Currency == b.Currency }) {
			return PastBalances{}, Undecided, fmt.Errorf("%w: nothing has changed what the account holds of %v since it begins", ErrHistoryUnavailable, b.Currency)
		}
	}
	past.Partial = false
	return *past, code, nil
}

// HistoryStatement returns a page of a statement, oldest first. The currency must be given.
func (s *Service) HistoryStatement(ctx context.Context, r *HistoryRequest) (Statement, Code, error) {
	if !r.Lines.Currency.Valid() {
		return Statement{}, Undecided, ErrCurrency
	}
	f, code, err := s.pastOf(ctx, r, pastStatement)
	if err != nil || code != Applied {
		return Statement{}, code, err
	}
	return *f.Statement, code, s.nameOthers(ctx, r.Tenant, f.Statement.Lines)
}

// HistoryTotals returns what the transfers of a tenant add up to, by currency, and
// what that reflects: a position of each partition.
func (s *Service) HistoryTotals(ctx context.Context, tenant Tenant, atLeast HistoryPositions) ([]CurrencyTurnover, HistoryPositions, Code, error) {
	number, ok, err := s.Tenant(ctx, tenant)
	if err != nil || !ok {
		return nil, nil, UnknownTenant, err
	}
	if err := atLeast.within(len(s.parts)); err != nil {
		return nil, nil, Undecided, err
	}
	all := map[money.Currency]*CurrencyTurnover{}
	var reflects HistoryPositions
	for _, p := range s.parts {
		q := &query{Tenant: number, Past: &pastQuery{Kind: pastTurnover, AtLeast: atLeast.of(p.number)}}
		f, err := s.past(ctx, p, q)
		if err != nil {
			return nil, nil, Undecided, err
		}
		reflects = append(reflects, HistoryPosition{p.number, f.Turnover.Mark.Index})
		for i := range f.Turnover.Currencies {
			one := &f.Turnover.Currencies[i]
			if sum := all[one.Currency]; sum != nil {
				sum.Plus(one)
			} else {
				all[one.Currency] = one
			}
		}
	}
	var totals []CurrencyTurnover
	for _, c := range slices.Sorted(maps.Keys(all)) {
		totals = append(totals, *all[c])
	}
	return totals, reflects, Applied, nil
}

// maxNames is how many names of accounts a Service remembers.
const maxNames = 1 << 16

// accountNames remembers names and handles of accounts, which never change.
type accountNames struct {
	mu      sync.Mutex
	names   map[Handle]AccountID
	handles map[tenantName]Handle
}

type tenantName struct {
	tenant uint16
	name   AccountID
}

// learnName remembers an account. When there are too many, it begins anew.
func (n *accountNames) learnName(h Handle, id AccountID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names == nil || len(n.names) >= maxNames {
		n.names = map[Handle]AccountID{}
	}
	n.names[h] = id
}

func (n *accountNames) learnHandle(tenant uint16, id AccountID, h Handle) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handles == nil || len(n.handles) >= maxNames {
		n.handles = map[tenantName]Handle{}
	}
	n.handles[tenantName{tenant, id}] = h
}

// handleOf returns an account's handle, 0 if there is no such account: as it is known
// to a replica, or else for certain.
func (s *Service) handleOf(ctx context.Context, tenant Tenant, number uint16, id AccountID) (Handle, error) {
	s.accounts.mu.Lock()
	h := s.accounts.handles[tenantName{number, id}]
	s.accounts.mu.Unlock()
	if h != 0 {
		return h, nil
	}
	for _, c := range []consistency{asItIs, linearizable} {
		f, err := s.query(ctx, s.partition(tenant, id), &query{Subject: aboutHandles, Consistency: c, Tenant: number, Accounts: []AccountID{id}})
		if err != nil {
			return 0, err
		}
		if h := f.Handles[0]; h != 0 {
			s.accounts.learnHandle(number, id, h)
			return h, nil
		}
	}
	return 0, nil
}

// nameOthers fills in the names of the other sides, as far as they can be had now.
func (s *Service) nameOthers(ctx context.Context, tenant Tenant, lines []Line) error {
	sides := make([]namedSide, len(lines))
	for i := range lines {
		sides[i] = namedSide{lines[i].Other, &lines[i].OtherAccount}
	}
	return s.nameSides(ctx, tenant, sides)
}

// namedSide is an account, and where its name goes.
type namedSide struct {
	account Handle
	name    *AccountID
}

// nameSides fills in names, as far as they can be had now.
func (s *Service) nameSides(ctx context.Context, tenant Tenant, sides []namedSide) error {
	unknown := make([][]Handle, len(s.parts))
	asked := map[Handle]bool{}
	s.accounts.mu.Lock()
	for _, v := range sides {
		h := v.account
		*v.name = s.accounts.names[h]
		if n := int(h.Partition()); *v.name == "" && h != 0 && n < len(unknown) && !asked[h] {
			asked[h] = true
			unknown[n] = append(unknown[n], h)
		}
	}
	s.accounts.mu.Unlock()
	names := map[Handle]AccountID{}
	for n, handles := range unknown {
		if len(handles) == 0 {
			continue
		}
		f, err := s.query(ctx, s.parts[n], &query{Subject: aboutNames, Consistency: asItIs, Name: tenant, Handles: handles})
		if errors.Is(err, rsm.ErrNoLeader) {
			continue // it cannot be reached
		}
		if err != nil {
			return err
		}
		for i, id := range f.Accounts {
			if id != "" {
				names[handles[i]] = id
				s.accounts.learnName(handles[i], id)
			}
		}
	}
	for _, v := range sides {
		if *v.name == "" {
			*v.name = names[v.account]
		}
	}
	return nil
}

// AccountNames returns the names of accounts of a tenant by their handles, as far as
// they can be had now.
func (s *Service) AccountNames(ctx context.Context, tenant Tenant, handles ...Handle) (map[Handle]AccountID, error) {
	found := make([]AccountID, len(handles))
	sides := make([]namedSide, len(handles))
	for i, h := range handles {
		sides[i] = namedSide{h, &found[i]}
	}
	err := s.nameSides(ctx, tenant, sides)
	names := map[Handle]AccountID{}
	for i, h := range handles {
		if found[i] != "" {
			names[h] = found[i]
		}
	}
	return names, err
}

// AccountHandle returns an account's handle, 0 if there is no such account or tenant.
func (s *Service) AccountHandle(ctx context.Context, tenant Tenant, id AccountID) (Handle, error) {
	number, ok, err := s.Tenant(ctx, tenant)
	if err != nil || !ok {
		return 0, err
	}
	return s.handleOf(ctx, tenant, number, id)
}
