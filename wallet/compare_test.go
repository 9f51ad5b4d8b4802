package wallet

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
)

func TestCompare(t *testing.T) {
	usd := money.MustParseCurrency("USD")
	made := func(more ...func(m *Machine)) *Machine {
		m := NewMachine(nil)
		for _, id := range []AccountID{"mint", "alice"} {
			m.Apply(nil, batchOf(KindOpenAccounts, AppendAccount(nil, &NewAccount{ID: id, Currency: usd, Min: Unlimited})))
		}
		for _, f := range more {
			f(m)
		}
		return m
	}
	pay := func(id byte, amount money.Amount) func(m *Machine) {
		return func(m *Machine) {
			m.Apply(nil, batchOf(KindTransfersByName, AppendTransfer(nil, &Transfer{TransactionID{id}, "mint", "alice", amount, usd})))
		}
	}
	open := func(id AccountID) func(m *Machine) {
		return func(m *Machine) {
			m.Apply(nil, batchOf(KindOpenAccounts, AppendAccount(nil, &NewAccount{ID: id, Currency: usd})))
		}
	}
	account := func(m *Machine, id AccountID) Account {
		a, ok := m.Find(DefaultTenant, id)
		if !ok {
			t.Fatalf("there is no %s", id)
		}
		return a
	}
	one, more, extra := made(pay(1, 5)), made(pay(1, 6)), made(pay(1, 5), open("bob"))
	for _, tt := range []struct {
		name       string
		one, other *Machine
		same       bool
		differ     []Difference
	}{
		{"the same", one, made(pay(1, 5)), true, nil},
		{"an amount", one, more, false, []Difference{
			{DefaultTenant, "mint", account(one, "mint"), account(more, "mint")},
			{DefaultTenant, "alice", account(one, "alice"), account(more, "alice")},
		}},
		{"an account more", one, extra, false, []Difference{{DefaultTenant, "bob", Account{}, account(extra, "bob")}}},
		{"an account less", extra, one, false, []Difference{{DefaultTenant, "bob", account(extra, "bob"), Account{}}}},
		{"an id alone", one, made(pay(1, 5), pay(2, -1)), false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same, differ := tt.one.Compare(tt.other, 10)
			if diff := cmp.Diff(tt.differ, differ); diff != "" || same != tt.same {
				t.Errorf("same %v, want %v; accounts (-want +got):\n%s", same, tt.same, diff)
			}
		})
	}
	if _, differ := one.Compare(more, 1); len(differ) != 1 {
		t.Errorf("%d accounts, want the first only", len(differ))
	}
	for _, tenant := range []Tenant{DefaultTenant, "shop"} {
		if a, ok := one.Find(tenant, "nobody"); ok {
			t.Errorf("found %+v", a)
		}
	}
}
