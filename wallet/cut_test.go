package wallet

import (
	"testing"

	"maru.example/money"
	"maru.example/rsm"
)

// TestExplains goes through a transfer between two partitions: each message follows once
// the paying side has come to it, each answer once the other side has given it.
func TestExplains(t *testing.T) {
	c := newCouple(t)
	messages := func(low uint64, v message) []byte {
		return appendMessage(appendMessages(AppendHeader(nil, Header{KindParticipate, 0, 1}), 0, 1, low), &v)
	}
	answers := func(a action) []byte {
		return appendAnswer(appendAnswers(AppendHeader(nil, Header{KindPhases, 0, 1}), 0, 1), answer{a, Applied, 1})
	}
	try := message{actTry, 1, 0, usd, inQ(2), 5, key{1, 1}, 1, nil}
	confirm, cancel := message{action: actConfirm, seq: 1}, message{action: actCancel, seq: 1}
	type expected struct{ try, confirm, cancel, low, tried, confirmed, canceled bool }
	check := func(when string, want expected) {
		t.Helper()
		got := expected{
			c.p.Explains(1, messages(1, try)), c.p.Explains(1, messages(1, confirm)), c.p.Explains(1, messages(1, cancel)), c.p.Explains(1, messages(2, try)),
			c.q.Explains(0, answers(actTry)), c.q.Explains(0, answers(actConfirm)), c.q.Explains(0, answers(actCancel)),
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", when, got, want)
		}
	}
	check("before", expected{})
	c.begin(1, inQ(2), 5, TCC)
	check("begun", expected{try: true})
	c.ask(1, try)
	check("tried", expected{try: true, tried: true})
	c.tell(actTry, Applied, 1)
	check("agreed", expected{try: true, confirm: true, tried: true})
	c.ask(1, confirm)
	check("confirmed", expected{try: true, confirm: true, tried: true, confirmed: true})
	c.tell(actConfirm, Applied, 1)
	if got := c.p.Explains(1, messages(2, try)); !got || c.phase(1) != Finished {
		t.Errorf("finished: %v, in %v", got, c.phase(1))
	}

	for name, tt := range map[string]struct {
		partition uint16
		data      []byte
		other     uint16
		presumes  bool
	}{
		"messages":                 {1, messages(1, try), 0, true},
		"messages for another":     {2, messages(1, try), 0, false},
		"answers":                  {0, answers(actTry), 1, true},
		"tenants":                  {1, append(AppendHeader(nil, Header{KindCreateTenants, 0, 1}), AppendName(nil, "acme")...), 0, true},
		"tenants where they begin": {0, append(AppendHeader(nil, Header{KindCreateTenants, 0, 1}), AppendName(nil, "acme")...), 0, false},
		"transfers":                {1, AppendHeader(nil, Header{KindTransfers, 0, 1}), 0, false},
		"no batch":                 {1, nil, 0, false},
		"messages cut short":       {1, messages(1, try)[:len(messages(1, try))-1], 0, false},
		"answers cut short":        {0, answers(actTry)[:len(answers(actTry))-1], 0, false},
		"a tenant cut short":       {1, append(AppendHeader(nil, Header{KindCreateTenants, 0, 1}), 9, 'a'), 0, false},
	} {
		if other, ok := Presumes(tt.partition, tt.data); ok != tt.presumes || ok && other != tt.other {
			t.Errorf("%s: presumes %d, %v", name, other, ok)
		}
	}
	tenants := append(AppendHeader(nil, Header{KindCreateTenants, 0, 1}), AppendName(nil, "acme")...)
	before := c.p.Explains(1, tenants)
	do(t, c.p, KindCreateTenants, AppendName(nil, "acme"))
	if before || !c.p.Explains(1, tenants) {
		t.Error("a tenant follows before the first partition has it, or not after")
	}
}

// TestNamedAssets names assets in another partition than the one that makes them.
func TestNamedAssets(t *testing.T) {
	shares, hours := money.Asset(0, 0), money.Asset(1, 2)
	open := func(c money.Currency) []byte { return AppendAccount(nil, &NewAccount{ID: "x", Currency: c}) }
	two := append(append(AppendHeader(nil, Header{KindOpenAccounts, 3, 2}), open(usd)...), open(hours)...)
	if tenant, all := NamedAssets(two); tenant != 3 || len(all) != 1 || all[0] != hours {
		t.Errorf("got %v of tenant %d", all, tenant)
	}
	if _, all := NamedAssets(two[:len(two)-1]); all != nil {
		t.Errorf("of a malformed batch: %v", all)
	}
	if _, all := NamedAssets(append(AppendHeader(nil, Header{KindAddCurrency, 0, 1}), open(shares)...)); len(all) != 1 {
		t.Errorf("of a currency that is added: %v", all)
	}
	m := NewMachine(&MachineOptions{Partitions: 2})
	making := append(AppendHeader(nil, Header{KindCreateAssets, 0, 2}), AppendAsset(AppendAsset(nil, "shares", 0), "hours", 2)...)
	results := m.Apply(nil, rsm.Batch{Data: making})
	if !m.HasAsset(0, shares) || !m.HasAsset(0, hours) || m.HasAsset(0, money.Asset(1, 0)) || m.HasAsset(0, money.Asset(2, 0)) || m.HasAsset(1, shares) || m.HasAsset(0, usd) {
		t.Error("it does not know its assets")
	}
	if tenant, all, sure := MadeAssets(making, results); tenant != 0 || len(all) != 2 || all[1] != hours || !sure {
		t.Errorf("made %v of tenant %d, %v", all, tenant, sure)
	}
	if _, all, sure := MadeAssets(making, nil); len(all) > 0 || sure {
		t.Errorf("without results: %v, %v", all, sure)
	}
	if _, all, sure := MadeAssets(two, nil); len(all) > 0 || !sure {
		t.Errorf("of accounts: %v, %v", all, sure)
	}
}
