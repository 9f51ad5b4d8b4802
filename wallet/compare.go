package wallet

import "slices"

// Find returns the state of an account, and false if the partition has none with that
// id. It looks at the state as it is between two batches.
func (m *Machine) Find(tenant Tenant, id AccountID) (Account, bool) {
	n := m.tenantNumber(string(tenant))
	if n < 0 {
		return Account{}, false
	}
	h := m.lookup(uint16(n), string(id))
	if h == 0 {
		return Account{}, false
	}
	return m.account(h), true
}

// Difference is an account of which two states of a partition do not say the same.
// Where one has no such account, it has the zero Account.
type Difference struct {
	Tenant     Tenant
	ID         AccountID
	One, Other Account
}

// Compare says whether two states of one partition are the same, by Sum, and returns
// the first accounts that are not, at most so many. States that are not the same
// may have the same accounts: then they differ in transaction ids, tenants, or
// transfers under way.
func (m *Machine) Compare(other *Machine, most int) (same bool, accounts []Difference) {
	if m.Sum() == other.Sum() {
		return true, nil
	}
	for row := range max(m.accounts.len, other.accounts.len) {
		if len(accounts) == most {
			break
		}
		tenant, one := m.rowOf(row)
		otherTenant, two := other.rowOf(row)
		if one.ID == two.ID && tenant == otherTenant && one.Status == two.Status && one.OpenedAt == two.OpenedAt && slices.Equal(one.Balances, two.Balances) {
			continue
		}
		d := Difference{tenant, one.ID, one, two}
		if one.ID == "" {
			d.Tenant, d.ID = otherTenant, two.ID
		}
		accounts = append(accounts, d)
	}
	return false, accounts
}

// rowOf returns the account in a row and its tenant, zero where there is no such row.
func (m *Machine) rowOf(row uint64) (Tenant, Account) {
	if row >= m.accounts.len {
		return "", Account{}
	}
	t := m.accounts.at(row).tenant
	return Tenant(m.tenants[t].name), m.account(m.base + Handle(row) + 1)
}

// NameOf returns the tenant and the id of an account of the partition, by its handle, which must
// be one that the machine gave.
func (m *Machine) NameOf(h Handle) (Tenant, AccountID) {
	a := m.accounts.at(m.row(h))
	return Tenant(m.tenants[a.tenant].name), AccountID(m.arena.get(a.name, a.nameLen))
}

// TenantNumber returns the number of a tenant in the partition, and false if there is none yet.
func (m *Machine) TenantNumber(tenant Tenant) (uint16, bool) {
	n := m.tenantNumber(string(tenant))
	return uint16(max(n, 0)), n >= 0
}

// Assets returns those of a tenant, in the order in which they were made, if the partition is the
// first one, which has them. The caller must not change the slice.
func (m *Machine) Assets(tenant Tenant) []Asset {
	if n := m.tenantNumber(string(tenant)); n >= 0 {
		return m.tenants[n].assets
	}
	return nil
}
