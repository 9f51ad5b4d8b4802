package wallet

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"maru.example/money"
	"maru.example/rsm"
)

// consistency says how new the state that is read has to be.
type consistency uint8

const (
	linearizable consistency = iota // it has everything that was acknowledged before
	stale                           // as the replica knows it, and how old that may be
	asItIs                          // as the replica knows it, however old
)

// subject is what a query is about. The names are part of the format between nodes.
type subject string

const (
	aboutTenant   subject = "tenant"    // Name: its Number
	aboutTenants  subject = "tenants"   // the Names of all, by number
	aboutAccount  subject = "account"   // Name, Accounts[0]: Account
	aboutDecision subject = "decision"  // Tenant, Transaction: Code, Reversed
	aboutHandles  subject = "handles"   // Tenant, Accounts: Handles, 0 where there is none
	aboutHashes   subject = "hashes"    // Tenant, Handles: Hashes of the accounts, Handles as they are, 0 where there is none
	aboutNames    subject = "names"     // Name, Handles: Accounts, "" where there is none
	aboutTotals   subject = "totals"    // Tenant, Row: Sums of a slice of the accounts, Row and More, Changes
	aboutInFlight subject = "in_flight" // Name, Cursor: Transfers of a slice, Cursor and More
	aboutHold     subject = "hold"      // Tenant, Transaction: Code and the hold
	aboutHolds    subject = "holds"     // Name, Accounts[0], After, Limit: Code, Holds and More
	aboutAssets   subject = "assets"    // Name: Assets, Code
	aboutPosition subject = "position"  // Index of the entry that was decided last, 0 if that is not known
	aboutPast     subject = "past"      // Past: Past; asked of the history, not of the machine
)

// query asks something of a partition's machine, wherever a replica is.
type query struct {
	Subject     subject        `json:"subject"`
	Consistency consistency    `json:"consistency,omitzero"`
	Tenant      uint16         `json:"tenant,omitzero"`
	Name        Tenant         `json:"name,omitzero"`
	Transaction TransactionID  `json:"transaction,omitzero"`
	Accounts    []AccountID    `json:"accounts,omitempty"`
	Handles     []Handle       `json:"handles,omitempty"`
	Row         uint64         `json:"row,omitzero"`
	Cursor      inFlightCursor `json:"cursor,omitzero"`
	After       HoldCursor     `json:"after,omitzero"`
	Limit       int            `json:"limit,omitzero"`
	Past        *pastQuery     `json:"past,omitempty"`
}

// finding is the answer to a query.
type finding struct {
	Age       time.Duration  `json:"age,omitzero"`
	Code      Code           `json:"code,omitzero"`
	Number    int            `json:"number,omitzero"` // -1: no such tenant
	Names     []Tenant       `json:"names,omitempty"`
	Account   Account        `json:"account,omitzero"`
	Accounts  []AccountID    `json:"accounts,omitempty"`
	Handles   []Handle       `json:"handles,omitempty"`
	Hashes    []uint64       `json:"hashes,omitempty"`
	Sums      []currencySum  `json:"sums,omitempty"`
	Row       uint64         `json:"row,omitzero"`
	Changes   uint64         `json:"changes,omitzero"`
	Transfers []InFlight     `json:"transfers,omitempty"`
	Cursor    inFlightCursor `json:"cursor,omitzero"`
	Holds     []Hold         `json:"holds,omitempty"`
	More      bool           `json:"more,omitzero"`
	Assets    []Asset        `json:"assets,omitempty"`
	Index     rsm.Index      `json:"index,omitzero"`
	Past      *pastFinding   `json:"past,omitempty"`

	Reversed []money.Amount `json:"reversed,omitzero"` // nil: a program that did not know of it
}

// known says whether this program answers such a query: a newer one may have others.
func (q *query) known() bool {
	switch q.Subject {
	case aboutTenant, aboutTenants, aboutAccount, aboutDecision, aboutHandles, aboutHashes, aboutNames, aboutTotals, aboutInFlight,
		aboutHold, aboutHolds, aboutAssets, aboutPosition:
		return q.Consistency <= asItIs
	case aboutPast:
		return q.Past != nil
	}
	return false
}

// query answers a query from the state as it is.
func (m *Machine) query(q *query) *finding {
	f := &finding{}
	switch q.Subject {
	case aboutTenant:
		f.Number = m.tenantNumber(string(q.Name))
	case aboutTenants:
		for _, t := range m.tenants {
			f.Names = append(f.Names, Tenant(t.name))
		}
	case aboutAccount:
		m.findAccount(f, q)
	case aboutDecision:
		f.Code, f.Reversed = m.decision(q.Tenant, q.Transaction), m.reversed(q.Tenant, q.Transaction)
	case aboutHandles:
		f.Handles = make([]Handle, len(q.Accounts))
		for i, id := range q.Accounts {
			f.Handles[i] = m.lookup(q.Tenant, string(id))
		}
	case aboutHashes:
		f.Handles, f.Hashes = make([]Handle, len(q.Handles)), make([]uint64, len(q.Handles))
		for i, h := range q.Handles {
			if f.Hashes[i] = m.hashOf(q.Tenant, h); m.get(q.Tenant, h) != nil {
				f.Handles[i] = h
			}
		}
	case aboutNames:
		f.Accounts = make([]AccountID, len(q.Handles))
		tenant := m.tenantNumber(string(q.Name))
		for i, h := range q.Handles {
			if tenant >= 0 && m.get(uint16(tenant), h) != nil {
				f.Accounts[i] = m.account(h).ID
			}
		}
	case aboutTotals:
		m.findTotals(f, q)
	case aboutInFlight:
		m.findInFlight(f, q)
	case aboutHold:
		m.findHold(f, q)
	case aboutHolds:
		m.findHolds(f, q)
	case aboutAssets:
		f.Code = UnknownTenant
		if n := m.tenantNumber(string(q.Name)); n >= 0 {
			f.Assets, f.Code = m.tenants[n].assets, Applied
		}
	case aboutPosition:
		f.Index = m.index
	case aboutPast:
	}
	return f
}

func (m *Machine) findAccount(f *finding, q *query) {
	f.Code = UnknownTenant
	if n := m.tenantNumber(string(q.Name)); n >= 0 && len(q.Accounts) > 0 {
		f.Code = UnknownAccount
		if h := m.lookup(uint16(n), string(q.Accounts[0])); h != 0 {
			f.Account, f.Code = m.account(h), Applied
		}
	}
}

// inFlightSlice is how many transfers are looked at before others go on.
const inFlightSlice = 1024

func (m *Machine) findInFlight(f *finding, q *query) {
	f.Transfers, f.Cursor, f.More = m.inFlight(nil, q.Cursor, inFlightSlice)
	f.Transfers = slices.DeleteFunc(f.Transfers, func(t InFlight) bool { return t.Tenant != q.Name })
}

// findTotals adds up a slice of the accounts, and, with the first one, what the
// partition has to say of the money in flight.
func (m *Machine) findTotals(f *finding, q *query) {
	all, flights := map[money.Currency]*sums{}, map[money.Currency]*int128{}
	if q.Row == 0 {
		m.inFlightSums(flights, q.Tenant)
	}
	f.Row, f.More = m.addUp(all, q.Tenant, q.Row)
	f.Changes = m.changes
	for c := range flights {
		if all[c] == nil {
			all[c] = new(sums)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(all)) {
		sum := currencySum{Currency: c, Balances: all[c].balances, Sum: all[c].sum, Issued: all[c].issued}
		if flights[c] != nil {
			sum.InFlight = *flights[c]
		}
		f.Sums = append(f.Sums, sum)
	}
}

// decision returns what was decided for a transaction id.
func (m *Machine) decision(tenant uint16, id TransactionID) Code {
	if int(tenant) >= len(m.tenants) {
		return Undecided // nothing of it has come here yet
	}
	if e, found := m.lookupID(tenant, makeKey(id[:])); found {
		return e.code()
	}
	return Undecided
}

// query asks something of the partition, and calls done once, on any loop.
func (p *Partition) query(q *query, done func(*finding, error)) {
	if !p.here() {
		p.queryAway(q, done)
		return
	}
	if q.Subject == aboutPast {
		go func() { done(p.askHistory(q)) }()
		return
	}
	read := func(age time.Duration, err error) {
		if errors.Is(err, rsm.ErrNoLeader) && !p.here() { // any more
			p.queryAway(q, done)
			return
		}
		if err != nil {
			done(nil, err)
			return
		}
		f := p.Machine.query(q)
		if err := p.Machine.Err(); err != nil {
			done(nil, fmt.Errorf("%w: %w", rsm.ErrFailed, err))
			return
		}
		f.Age = age
		done(f, nil)
	}
	switch q.Consistency {
	case stale:
		p.Log.StartReadStale(read)
	case asItIs:
		p.Log.StartPeek(func(err error) { read(0, err) })
	case linearizable:
		p.Log.StartRead(func(err error) { read(0, err) })
	}
}

// queryAway asks a node that has a replica.
func (p *Partition) queryAway(q *query, done func(*finding, error)) {
	body, err := json.Marshal(q)
	if err != nil {
		done(nil, fmt.Errorf("wallet: encode a query: %w", err))
		return
	}
	p.remote.Ask(p.number, appendRequest(request{requestQuery, NoProtocol, p.number, body}), true, func(answer []byte, took time.Duration, err error) {
		if err != nil {
			absent := rsm.ErrNoLeader
			if errors.Is(err, rsm.ErrNoMajority) {
				absent = rsm.ErrNoMajority
			}
			done(nil, fmt.Errorf("%w: partition %d: %v", absent, p.number, err)) //nolint:errorlint // nothing was to be done: no outcome is unknown
			return
		}
		var f finding
		if err := json.Unmarshal(answer, &f); err != nil || !f.answers(q) {
			done(nil, fmt.Errorf("%w: partition %d: malformed answer to a query about %s", rsm.ErrNoLeader, p.number, q.Subject))
			return
		}
		if q.Consistency == stale {
			f.Age += took
		}
		done(&f, nil)
	})
}

// answers says whether an answer that another node gave has what the query needs.
func (f *finding) answers(q *query) bool {
	switch q.Subject {
	case aboutHandles:
		return len(f.Handles) == len(q.Accounts)
	case aboutHashes:
		return len(f.Handles) == len(q.Handles) && len(f.Hashes) == len(q.Handles)
	case aboutNames:
		return len(f.Accounts) == len(q.Handles)
	case aboutPast:
		return f.Past.answers(q.Past.Kind)
	case aboutTenant, aboutTenants, aboutAccount, aboutDecision, aboutTotals, aboutInFlight, aboutHold, aboutHolds, aboutAssets, aboutPosition:
	}
	return true
}
