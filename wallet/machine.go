package wallet

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"

	"maru.example/money"
	"maru.example/rsm"
)

// Machine holds the accounts of one partition and decides commands. It is an
// [rsm.Machine]: one goroutine at a time may use it. It does not look into the
// table of currencies, which may change from one version to the next: what it
// decided stays decided.
type Machine struct {
	options   MachineOptions
	base      Handle // the handle of row n is base + n + 1
	crossing  crossing
	holds     holdTable
	spends    spendTable
	reversals reversals
	tenants   []*tenant
	old       oldIDs
	accounts  table[account]
	balances  table[balance] // of the second and later currencies of accounts
	arena     arena
	names     nameIndex
	open      *snapshot
	changes   uint64 // batches applied, from a random number on: so that a reader can tell whether the state changed, or is another replica's
	decided   [len(codeNames)]uint64
	repeated  uint64
	window    [window]prefetched
	command   uint32    // the number of the command, in its batch, that is being decided
	effects   []byte    // of the batch that was applied last: see Effects
	index     rsm.Index // of the batch that was applied last; 0 before the first since it was made or restored
	onHolds   []byte    // the part of them that is about holds, while the batch is applied
}

// tenant is one of the worlds apart.
type tenant struct {
	name string
	hash uint64 // nameHash of the name
	ids  idTable
	old  uint64 // ids that are remembered and not in the table

	assets []Asset // of partition 0; by number
}

// account is 64 bytes, a cache line: with its first currency, which for most is the only one.
type account struct {
	funds
	opened   int64 // nanoseconds since 1970
	hash     uint64
	name     nameRef
	next     uint32 // 1 + row of the balance of the next currency; 0: none
	openSum  uint32
	currency money.Currency
	tenant   uint16
	status   Status // with the bits locked and limited
	nameLen  uint8
	_        [2]byte
}

// funds is what an account holds of a currency.
type funds struct {
	amount  money.Amount
	floor   money.Amount // debits may not bring amount below it: the smallest balance, and what is held, or Unlimited
	pending money.Amount // what transfers under way may still add; amount + pending fits 64 bits
}

// balance is what an account holds of another currency.
type balance struct {
	funds
	next     uint32
	currency money.Currency
	_        uint16
}

var _ rsm.Machine = (*Machine)(nil)

// NewMachine returns a machine with one tenant, DefaultTenant, and no accounts.
// It panics if the options name a partition that there is not.
func NewMachine(o *MachineOptions) *Machine {
	m := &Machine{options: o.withDefaults()}
	m.base = Handle(m.options.Partition) << partitionShift
	m.crossing = newCrossing(m.options.Partitions)
	m.holds, m.spends = newHoldTable(), newSpendTable()
	m.reversals.rows = map[transactionKey]uint32{}
	m.changes = m.options.Random()
	m.names.seed = maphash.MakeSeed()
	m.old.seed = [2]uint64{m.options.Random(), m.options.Random()}
	m.addTenant(string(DefaultTenant))
	return m
}

func (m *Machine) addTenant(name string) {
	t := &tenant{name: name, hash: nameHash(name)}
	t.ids.seed = tenantSeed(m.old.seed, len(m.tenants))
	m.tenants = append(m.tenants, t)
}

// Apply decides a batch and appends the results, of the size that its Kind
// says. A batch that breaks the format has one byte as its result: Malformed.
func (m *Machine) Apply(dst []byte, b rsm.Batch) []byte {
	m.changes++
	m.index = b.Index
	m.command, m.effects, m.onHolds = 0, m.effects[:0], m.onHolds[:0]
	m.age()
	m.expire(b.Time)
	dst = m.applyBatch(dst, &b)
	m.effects = append(m.effects, m.onHolds...)
	return dst
}

// applyBatch decides the commands of a batch.
func (m *Machine) applyBatch(dst []byte, b *rsm.Batch) []byte {
	h, err := Validate(b.Data)
	switch {
	case err != nil, h.Kind == KindLookup:
		return append(dst, byte(Malformed))
	case int(h.Tenant) >= len(m.tenants):
		return append(dst, byte(UnknownTenant))
	}
	body := b.Data[HeaderBytes:]
	switch h.Kind { //nolint:exhaustive // the rest is decided command by command
	case KindTransfers:
		return m.applyTransfers(dst, h.Tenant, body)
	case KindCrossTransfers:
		return m.applyCrossTransfers(dst, h.Tenant, b.Time, body)
	case KindParticipate:
		return m.participate(dst, h, body)
	case KindPhases:
		return m.applyAnswers(dst, h, body)
	}
	size := commandSize(h.Kind)
	for range h.Count {
		n := size(body)
		dst = m.applyCommand(dst, h, b.Time, body[:n])
		m.command++
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
	case KindCreateAssets:
		return m.createAsset(dst, h.Tenant, cmd)
	case KindCrossTransfersByName:
		return append(dst, byte(m.crossByName(h.Tenant, now, cmd)))
	case KindHolds, KindCrossCaptures:
		return append(dst, byte(m.holdCommand(h.Tenant, h.Kind, cmd)))
	case KindSetDailyLimits:
		return append(dst, byte(m.setDaily(h.Tenant, cmd)))
	case KindExpire:
		return append(dst, byte(Applied)) // what it is for was done before
	case KindTransactions, KindCrossTransactions:
		return append(dst, byte(m.transaction(h.Tenant, now, h.Kind, cmd)))
	case KindNone, KindTransfers, KindLookup, KindCrossTransfers, KindParticipate, KindPhases:
	}
	panic(fmt.Sprintf("wallet: %v batch in applyCommand", h.Kind))
}

// lookup returns the handle of an account, or 0.
func (m *Machine) lookup(tenant uint16, name string) Handle {
	return m.find(tenant, name, m.names.hash(tenant, name))
}

func (m *Machine) find(tenant uint16, name string, hash uint64) Handle {
	row := m.names.find(hash, func(row uint32) bool {
		a := m.accounts.at(uint64(row - 1))
		return a.tenant == tenant && string(m.arena.get(a.name, a.nameLen)) == name
	})
	if row == 0 {
		return 0
	}
	return m.base + Handle(row)
}

// get returns the account of a handle, or nil if the tenant has none here.
func (m *Machine) get(tenant uint16, h Handle) *account {
	row := m.row(h)
	if row >= m.accounts.len {
		return nil
	}
	if a := m.accounts.at(row); a.tenant == tenant {
		return a
	}
	return nil
}

// row returns the row of a handle, a very large number for one that names no
// account of this partition.
func (m *Machine) row(h Handle) uint64 { return uint64(h-m.base) - 1 }

func (m *Machine) openAccount(tenant uint16, now int64, cmd []byte) Opened {
	name, c, smallest := parseAccount(cmd)
	if c == 0 || !validName(string(name)) {
		return Opened{Code: Malformed}
	}
	hash := m.names.hash(tenant, string(name))
	if h := m.find(tenant, string(name), hash); h != 0 {
		switch a := m.accounts.at(m.row(h)); {
		case a.status&Closed != 0:
			return Opened{Code: AccountClosed}
		case a.openSum != openSum(c, smallest):
			return Opened{Code: AccountExists}
		}
		return Opened{Handle: h, Code: Applied, Before: true}
	}
	switch {
	case m.foreignName(tenant, nameHash(name)):
		return Opened{Code: WrongPartition}
	case m.accounts.len >= MaxAccounts:
		return Opened{Code: LimitReached}
	}
	row := m.accounts.add(account{
		funds: funds{floor: smallest}, opened: now, currency: c, openSum: openSum(c, smallest), tenant: tenant,
		hash: nameHash(name), name: m.arena.add(string(name)), nameLen: uint8(len(name)),
	})
	m.names.add(hash, uint32(row+1))
	return Opened{Handle: m.base + Handle(row+1), Code: Applied}
}

// held is one balance of an account: a view of it to be changed in place.
type held struct {
	*funds
	row   uint64 // in accounts, or in balances if extra
	extra bool
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
		return held{&a.funds, m.row(h), false}, true
	}
	for next := a.next; next != 0; {
		b := m.balances.at(uint64(next - 1))
		if b.currency == c {
			return held{&b.funds, uint64(next - 1), true}, true
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
		return m.missing(tenant, name)
	case a.status&Closed != 0:
		return AccountClosed
	}
	if b, ok := m.hold(h, a, c); ok {
		if m.smallest(b) != smallest {
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
	row := uint32(m.balances.add(balance{funds: funds{floor: smallest}, currency: c}))
	if last != 0 {
		m.balances.touch(uint64(last - 1))
		m.balances.at(uint64(last - 1)).next = row + 1
	} else {
		m.accounts.touch(m.row(h))
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
		return m.missing(tenant, name)
	case a.status&Closed != 0:
		return AccountClosed
	}
	b, ok := m.hold(h, a, c)
	if !ok {
		return CurrencyNotHeld
	}
	m.expireOf(b)
	s := m.holds.sums[b.ref()]
	if smallest > 0 && s.held+s.flying > math.MaxInt64-smallest {
		return Overflow
	}
	m.touch(b)
	if b.floor = smallest; smallest != Unlimited {
		b.floor += s.held
	}
	return Applied
}

func (m *Machine) setStatus(tenant uint16, cmd []byte) Code {
	to, name := Status(cmd[0]), cmd[statusBytes:]
	h := m.lookup(tenant, string(name))
	a := m.get(tenant, h)
	switch {
	case to > Closed:
		return Malformed
	case a == nil:
		return m.missing(tenant, name)
	case a.status&^marks == to:
		return Applied
	case a.status&Closed != 0:
		return AccountClosed
	case to == Closed && a.status&locked != 0:
		return AccountLocked
	case to == Closed && m.hasHolds(h, a):
		return HoldsOpen
	case to == Closed && !m.empty(a):
		return BalanceNotZero
	}
	m.accounts.touch(m.row(h))
	a.status = a.status&marks | to
	return Applied
}

// empty says that an account has no money and can get none from transfers under way.
func (m *Machine) empty(a *account) bool {
	if a.amount != 0 || a.pending != 0 {
		return false
	}
	for next := a.next; next != 0; {
		b := m.balances.at(uint64(next - 1))
		if b.amount != 0 || b.pending != 0 {
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
	a := m.accounts.at(m.row(h))
	out := Account{
		ID: AccountID(m.arena.get(a.name, a.nameLen)), Handle: h, Status: a.status &^ marks, OpenedAt: a.opened,
	}
	c := a.currency
	for b, more := m.first(h, a); more; {
		out.Balances = append(out.Balances, Balance{c, b.amount, m.smallest(b), m.holds.sum(b.ref()).held, m.daily(b)})
		if b, more = m.following(b); more {
			c = m.balances.at(b.row).currency
		}
	}
	return out
}

// Metrics returns what the machine holds and has decided, as it is between two batches.
func (m *Machine) Metrics() Metrics {
	out := Metrics{
		InFlight: m.crossing.phases,
		Accounts: m.accounts.len, Balances: m.accounts.len + m.balances.len,
		Tenants: uint64(len(m.tenants)), Repeated: m.repeated,
		TableBytes: m.names.bytes() + uint64(len(m.arena.chunks))*arenaChunk +
			uint64(len(m.accounts.chunks))*chunkRows*64 + uint64(len(m.balances.chunks))*chunkRows*32 +
			m.holds.bytes() + m.spends.bytes() + uint64(len(m.reversals.chunks))*chunkRows*32,
		Holds: uint64(len(m.holds.index)),
	}
	copy(out.Decided[:], m.decided[:])
	for _, t := range m.tenants {
		out.Transactions += t.ids.len + t.old
		out.TableBytes += t.ids.bytes()
	}
	out.TableBytes += m.old.frozen.bytes()
	out.Old = m.old.metrics()
	out.TableBytes += out.Old.Bytes
	return out
}
