package wallet

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"

	"maru.example/money"
	"maru.example/rsm"
)

// Machine holds the accounts and decides commands. It is an [rsm.Machine]: one
// goroutine at a time may use it. It does not look into the table of currencies,
// which may change from one version to the next: what it decided stays decided.
type Machine struct {
	tenants  []*tenant
	accounts table[account]
	balances table[balance] // of the second and later currencies of accounts
	arena    arena
	names    nameIndex
	open     *snapshot
	changes  uint64 // batches applied, so that a reader can tell whether the state changed
	decided  [len(codeNames)]uint64
	repeated uint64
	window   [window]prefetched
}

// tenant is one of the worlds apart.
type tenant struct {
	name string
	ids  idTable
}

// account is 64 bytes, a cache line: with its first currency, which for most is the only one.
type account struct {
	amount   money.Amount
	min      money.Amount
	opened   int64 // nanoseconds since 1970
	hash     uint64
	name     nameRef
	next     uint32 // 1 + row of the balance of the next currency; 0: none
	openSum  uint32
	currency money.Currency
	tenant   uint16
	status   Status
	nameLen  uint8
	_        [10]byte
}

// balance is what an account holds of another currency.
type balance struct {
	amount   money.Amount
	min      money.Amount
	next     uint32
	currency money.Currency
	_        uint16
}

var _ rsm.Machine = (*Machine)(nil)

// NewMachine returns a machine with one tenant, DefaultTenant, and no accounts.
func NewMachine() *Machine {
	m := &Machine{}
	m.names.seed = maphash.MakeSeed()
	m.addTenant(string(DefaultTenant))
	return m
}

func (m *Machine) addTenant(name string) {
	t := &tenant{name: name}
	for i := range t.ids.seed {
		t.ids.seed[i] = maphash.String(maphash.MakeSeed(), name)
	}
	m.tenants = append(m.tenants, t)
}

// Apply decides a batch and appends the results, of the size that its Kind
// says. A batch that breaks the format has one byte as its result: Malformed.
func (m *Machine) Apply(dst []byte, b rsm.Batch) []byte {
	m.changes++
	h, err := Validate(b.Data)
	switch {
	case err != nil, h.Kind == KindLookup:
		return append(dst, byte(Malformed))
	case int(h.Tenant) >= len(m.tenants):
		return append(dst, byte(UnknownTenant))
	}
	body := b.Data[HeaderBytes:]
	if h.Kind == KindTransfers {
		return m.applyTransfers(dst, h.Tenant, body)
	}
	size := commandSize(h.Kind)
	for range h.Count {
		n := size(body)
		dst = m.applyCommand(dst, h, b.Time, body[:n])
		body = body[n:]
	}
	return dst
}

func (m *Machine) applyCommand(dst []byte, h Header, now int64, cmd []byte) []byte {
	switch h.Kind {
	case KindTransfersByName:
		return append(dst, byte(m.transferByName(h.Tenant, cmd)))
	case KindOpenAccounts:
		return AppendOpened(dst, m.openAccount(h.Tenant, now, cmd))
	case KindAddCurrency:
		return append(dst, byte(m.addCurrency(h.Tenant, cmd)))
	case KindSetLimit:
		return append(dst, byte(m.setLimit(h.Tenant, cmd)))
	case KindSetStatus:
		return append(dst, byte(m.setStatus(h.Tenant, cmd)))
	case KindCreateTenants:
		return m.createTenant(dst, cmd)
	case KindNone, KindTransfers, KindLookup:
	}
	panic(fmt.Sprintf("wallet: %v batch in applyCommand", h.Kind))
}

// lookup returns the handle of an account, or 0.
func (m *Machine) lookup(tenant uint16, name string) Handle {
	return m.find(tenant, name, m.names.hash(tenant, name))
}

func (m *Machine) find(tenant uint16, name string, hash uint64) Handle {
	return m.names.find(hash, func(h Handle) bool {
		a := m.accounts.at(uint64(h - 1))
		return a.tenant == tenant && string(m.arena.get(a.name, a.nameLen)) == name
	})
}

// get returns the account of a handle, or nil if the tenant has none.
func (m *Machine) get(tenant uint16, h Handle) *account {
	if h-1 >= Handle(m.accounts.len) { // 0 wraps around to the largest
		return nil
	}
	if a := m.accounts.at(uint64(h - 1)); a.tenant == tenant {
		return a
	}
	return nil
}

func (m *Machine) openAccount(tenant uint16, now int64, cmd []byte) Opened {
	name, c, smallest := parseAccount(cmd)
	if c == 0 || !validName(string(name)) {
		return Opened{Code: Malformed}
	}
	hash := m.names.hash(tenant, string(name))
	if h := m.find(tenant, string(name), hash); h != 0 {
		switch a := m.accounts.at(uint64(h - 1)); {
		case a.status == Closed:
			return Opened{Code: AccountClosed}
		case a.openSum != openSum(c, smallest):
			return Opened{Code: AccountExists}
		}
		return Opened{Handle: h, Code: Applied, Before: true}
	}
	if m.accounts.len >= MaxAccounts {
		return Opened{Code: LimitReached}
	}
	row := m.accounts.add(account{
		min: smallest, opened: now, currency: c, openSum: openSum(c, smallest), tenant: tenant,
		hash: nameHash(name), name: m.arena.add(string(name)), nameLen: uint8(len(name)),
	})
	m.names.add(hash, Handle(row+1))
	return Opened{Handle: Handle(row + 1), Code: Applied}
}

// held is one balance of an account: a view of it to be changed in place.
type held struct {
	amount *money.Amount
	min    *money.Amount
	row    uint64 // in accounts, or in balances if extra
	extra  bool
}

// touch must come before a change of a balance.
func (m *Machine) touch(b held) {
	if b.extra {
		m.balances.touch(b.row)
	} else {
		m.accounts.touch(b.row)
	}
}

// hold returns an account's balance in a currency.
func (m *Machine) hold(h Handle, a *account, c money.Currency) (held, bool) {
	if a.currency == c {
		return held{&a.amount, &a.min, uint64(h - 1), false}, true
	}
	for next := a.next; next != 0; {
		b := m.balances.at(uint64(next - 1))
		if b.currency == c {
			return held{&b.amount, &b.min, uint64(next - 1), true}, true
		}
		next = b.next
	}
	return held{}, false
}

func (m *Machine) addCurrency(tenant uint16, cmd []byte) Code {
	name, c, smallest := parseAccount(cmd)
	h := m.lookup(tenant, string(name))
	a := m.get(tenant, h)
	switch {
	case c == 0:
		return Malformed
	case a == nil:
		return UnknownAccount
	case a.status == Closed:
		return AccountClosed
	}
	if b, ok := m.hold(h, a, c); ok {
		if *b.min != smallest {
			return CurrencyExists
		}
		return Applied
	}
	count, last := 1, a.next
	for last != 0 && m.balances.at(uint64(last-1)).next != 0 {
		last = m.balances.at(uint64(last - 1)).next
		count++
	}
	if last != 0 {
		count++
	}
	if count >= MaxCurrencies || m.balances.len >= MaxAccounts {
		return LimitReached
	}
	row := uint32(m.balances.add(balance{min: smallest, currency: c}))
	if last != 0 {
		m.balances.touch(uint64(last - 1))
		m.balances.at(uint64(last - 1)).next = row + 1
	} else {
		m.accounts.touch(uint64(h - 1))
		a.next = row + 1
	}
	return Applied
}

func (m *Machine) setLimit(tenant uint16, cmd []byte) Code {
	name, c, smallest := parseAccount(cmd)
	h := m.lookup(tenant, string(name))
	a := m.get(tenant, h)
	switch {
	case a == nil:
		return UnknownAccount
	case a.status == Closed:
		return AccountClosed
	}
	b, ok := m.hold(h, a, c)
	if !ok {
		return CurrencyNotHeld
	}
	m.touch(b)
	*b.min = smallest
	return Applied
}

func (m *Machine) setStatus(tenant uint16, cmd []byte) Code {
	to := Status(cmd[0])
	h := m.lookup(tenant, string(cmd[statusBytes:]))
	a := m.get(tenant, h)
	switch {
	case to > Closed:
		return Malformed
	case a == nil:
		return UnknownAccount
	case a.status == to:
		return Applied
	case a.status == Closed:
		return AccountClosed
	case to == Closed && !m.empty(a):
		return BalanceNotZero
	}
	m.accounts.touch(uint64(h - 1))
	a.status = to
	return Applied
}

// empty says that an account has no money.
func (m *Machine) empty(a *account) bool {
	if a.amount != 0 {
		return false
	}
	for next := a.next; next != 0; {
		b := m.balances.at(uint64(next - 1))
		if b.amount != 0 {
			return false
		}
		next = b.next
	}
	return true
}

// createTenant answers with the code and the tenant's number.
func (m *Machine) createTenant(dst, cmd []byte) []byte {
	name := string(cmd[nameBytes:])
	if !validName(name) {
		return append(dst, byte(Malformed), 0, 0)
	}
	n := m.tenantNumber(name)
	if n < 0 {
		if len(m.tenants) == MaxTenants {
			return append(dst, byte(LimitReached), 0, 0)
		}
		n = len(m.tenants)
		m.addTenant(name)
	}
	return binary.LittleEndian.AppendUint16(append(dst, byte(Applied)), uint16(n))
}

// tenantNumber returns the number of a tenant, or -1.
func (m *Machine) tenantNumber(name string) int {
	for i, t := range m.tenants {
		if t.name == name {
			return i
		}
	}
	return -1
}

// account returns what a handle stands for.
func (m *Machine) account(h Handle) Account {
	a := m.accounts.at(uint64(h - 1))
	out := Account{
		ID: AccountID(m.arena.get(a.name, a.nameLen)), Handle: h, Status: a.status, OpenedAt: a.opened,
		Balances: []Balance{{a.currency, a.amount, a.min}},
	}
	for next := a.next; next != 0; {
		b := m.balances.at(uint64(next - 1))
		out.Balances = append(out.Balances, Balance{b.currency, b.amount, b.min})
		next = b.next
	}
	return out
}

// metrics returns the counters.
func (m *Machine) metrics() Metrics {
	out := Metrics{
		Accounts: m.accounts.len, Balances: m.accounts.len + m.balances.len,
		Tenants: uint64(len(m.tenants)), Repeated: m.repeated,
		TableBytes: m.names.bytes() + uint64(len(m.arena.chunks))*arenaChunk +
			uint64(len(m.accounts.chunks))*chunkRows*64 + uint64(len(m.balances.chunks))*chunkRows*24,
	}
	copy(out.Decided[:], m.decided[:])
	for _, t := range m.tenants {
		out.Transactions += t.ids.len
		out.TableBytes += t.ids.bytes()
	}
	return out
}
