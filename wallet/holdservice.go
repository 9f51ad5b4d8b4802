package wallet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"maru.example/money"
	"maru.example/rsm"
)

// PlaceHold reserves money of an account: Held, or why not. The same hold again has the
// first result again, whatever became of it since.
func (s *Service) PlaceHold(ctx context.Context, tenant Tenant, h NewHold) (Result, error) {
	if err := h.Validate(); err != nil {
		return 0, err
	}
	return s.holdCommand(ctx, tenant, h.command())
}

// Capture pays out of a hold. It is a transfer, with an id of its own: the same capture
// again has the first result again, and moves nothing. To an account of another
// partition money gets by the wallet's protocol, by TC/C if that is two-phase commit.
func (s *Service) Capture(ctx context.Context, tenant Tenant, c Capture) (Result, error) {
	if err := c.Validate(); err != nil {
		return 0, err
	}
	return s.holdCommand(ctx, tenant, c.command())
}

// Release gives back what a hold has left, or a part of it.
func (s *Service) Release(ctx context.Context, tenant Tenant, r Release) (Result, error) {
	if err := r.Validate(); err != nil {
		return 0, err
	}
	return s.holdCommand(ctx, tenant, r.command())
}

// Extend gives a hold another expiry.
func (s *Service) Extend(ctx context.Context, tenant Tenant, e Extend) (Result, error) {
	if err := e.Validate(); err != nil {
		return 0, err
	}
	return s.holdCommand(ctx, tenant, e.command())
}

func (s *Service) holdCommand(ctx context.Context, tenant Tenant, c holdCommand) (Result, error) {
	result, code, err := s.propose(ctx, tenant, NoProtocol, KindHolds, 1, 1, func(b []byte) []byte { return appendHold(b, &c) })
	if err != nil || result == nil {
		return Result(code), err
	}
	return Result(result[0]), nil
}

// SetDailyLimit changes how much may leave an account in a currency on one day; the zero
// limit removes it. What has left the account before there was a limit does not count.
func (s *Service) SetDailyLimit(ctx context.Context, tenant Tenant, id AccountID, c money.Currency, l DailyLimit) (Code, error) {
	if err := id.Validate(); err != nil {
		return Undecided, err
	}
	if !c.Valid() {
		return Undecided, ErrCurrency
	}
	if l.Amount < 0 {
		return Undecided, ErrDailyLimit
	}
	_, code, err := s.propose(ctx, tenant, NoProtocol, KindSetDailyLimits, 1, 1, func(b []byte) []byte { return appendDaily(b, id, c, l) })
	return code, err
}

// ErrDailyLimit says that a daily limit is less than zero.
var ErrDailyLimit = errors.New("wallet: a daily limit is not less than zero")

// Hold returns an open hold. The code is Applied; UnknownHold; HoldFinished, if it was
// captured, released or has expired, after which nothing more is known of it; or
// UnknownTenant.
func (s *Service) Hold(ctx context.Context, tenant Tenant, id TransactionID) (Hold, Code, error) {
	number, ok, err := s.Tenant(ctx, tenant)
	if err != nil {
		return Hold{}, Undecided, err
	}
	if !ok {
		return Hold{}, UnknownTenant, nil
	}
	// The id alone does not say in which partition it is: as in Decision.
	var missing error
	code := UnknownHold
	for _, p := range s.parts {
		f, err := s.query(ctx, p, &query{Subject: aboutHold, Tenant: number, Transaction: id})
		switch {
		case errors.Is(err, rsm.ErrNoLeader) && ctx.Err() == nil:
			missing = err
		case err != nil:
			return Hold{}, Undecided, err
		case f.Code == Applied && len(f.Holds) == 1:
			return f.Holds[0], Applied, nil
		case f.Code == HoldFinished:
			code = HoldFinished
		}
	}
	if missing != nil {
		return Hold{}, Undecided, missing
	}
	return Hold{}, code, nil
}

// HoldCursor is a place in the list of an account's holds. The zero value is the
// beginning.
type HoldCursor struct {
	Currency money.Currency `json:"currency,omitzero"`
	PlacedAt int64          `json:"placed_at,omitzero"`
	ID       TransactionID  `json:"id,omitzero"`
}

// HoldList is a page of an account's open holds.
type HoldList struct {
	Holds []Hold
	Next  HoldCursor // of the page after this one, if there are more
	More  bool
}

// Holds lists open holds of an account from a place on, at most limit, which is
// MaxHoldsListed at the most: by currency, the oldest first. The code is Applied,
// UnknownAccount or UnknownTenant.
func (s *Service) Holds(ctx context.Context, tenant Tenant, id AccountID, after HoldCursor, limit int) (HoldList, Code, error) {
	if err := id.Validate(); err != nil {
		return HoldList{}, Undecided, err
	}
	_, ok, err := s.Tenant(ctx, tenant)
	if err != nil {
		return HoldList{}, Undecided, err
	}
	if !ok {
		return HoldList{}, UnknownTenant, nil
	}
	q := query{Subject: aboutHolds, Name: tenant, Accounts: []AccountID{id}, After: after, Limit: min(max(limit, 1), MaxHoldsListed)}
	f, err := s.query(ctx, s.partition(tenant, id), &q)
	switch {
	case err != nil:
		return HoldList{}, Undecided, err
	case f.Code == UnknownTenant: // nothing of it has come there yet
		return HoldList{}, UnknownAccount, nil
	case f.More && len(f.Holds) == 0:
		return HoldList{}, Undecided, fmt.Errorf("wallet: a page of holds without any")
	}
	list := HoldList{Holds: f.Holds, More: f.More}
	if f.More {
		list.Next = cursorOf(&f.Holds[len(f.Holds)-1])
	}
	return list, f.Code, nil
}

func cursorOf(h *Hold) HoldCursor { return HoldCursor{h.Currency, h.PlacedAt, h.ID} }

// viewHold returns what an open hold's row says.
func (m *Machine) viewHold(h *holdRow) Hold {
	a := m.accounts.at(uint64(h.account))
	return Hold{
		ID: h.key.id(), Account: AccountID(m.arena.get(a.name, a.nameLen)), Payee: AccountID(h.payee[:h.payeeLen]), Currency: h.currency,
		Amount: h.amount, Left: h.left, Captured: h.captured, InFlight: h.flying, PlacedAt: h.placed, Expires: h.expires,
	}
}

func (m *Machine) findHold(f *finding, q *query) {
	f.Code = UnknownHold
	if int(q.Tenant) >= len(m.tenants) {
		return // nothing of it has come here yet
	}
	k := holdKey{makeKey(q.Transaction[:]), q.Tenant}
	if row, ok := m.holds.index[k]; ok {
		if h := m.holds.rows.at(uint64(row)); !h.expires.reached(m.holds.now) {
			f.Code, f.Holds = Applied, []Hold{m.viewHold(h)}
			return
		}
	}
	if m.decision(q.Tenant, q.Transaction) == Held {
		f.Code = HoldFinished
	}
}

// findHolds finds a page of an account's holds. It looks at all of a currency: that
// there are few is what MaxBalanceHolds is for.
func (m *Machine) findHolds(f *finding, q *query) {
	f.Code = UnknownTenant
	n := m.tenantNumber(string(q.Name))
	if n < 0 || len(q.Accounts) == 0 {
		return
	}
	h := m.lookup(uint16(n), string(q.Accounts[0]))
	f.Code = UnknownAccount
	if h == 0 {
		return
	}
	f.Code = Applied
	var all []Hold
	for b, more := m.first(h, m.get(uint16(n), h)); more; b, more = m.following(b) {
		for i := m.holds.sums[b.ref()].first; i != 0; {
			row := m.holds.rows.at(uint64(i - 1))
			if v := m.viewHold(row); !row.expires.reached(m.holds.now) && cursorOf(&v).compare(q.After) > 0 {
				all = append(all, v)
			}
			i = row.next
		}
	}
	slices.SortFunc(all, func(a, b Hold) int { return cursorOf(&a).compare(cursorOf(&b)) })
	limit := min(max(q.Limit, 1), MaxHoldsListed)
	f.Holds, f.More = all[:min(limit, len(all))], len(all) > limit
}

func (c HoldCursor) compare(o HoldCursor) int {
	return cmp.Or(cmp.Compare(c.Currency, o.Currency), cmp.Compare(c.PlacedAt, o.PlacedAt), slices.Compare(c.ID[:], o.ID[:]))
}
