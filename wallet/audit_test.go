package wallet

import (
	"strings"
	"testing"

	"maru.example/rsm"
)

// TestAudit changes one thing of a partition with a transfer of each protocol under
// way: the books do not balance any more, and the sum is another, but
// where what was changed follows from the rest.
func TestAudit(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m *Machine, payer *account)
		want   string
	}{
		{"nothing", func(*Machine, *account) {}, ""},
		{"a balance", func(_ *Machine, payer *account) { payer.amount++ }, "add up to 1"},
		{"what was paid", func(m *Machine, _ *account) { m.crossing.totals.of(1, 0, usd).out.add(7) }, "add up to 7"},
		{"what is pending", func(_ *Machine, payer *account) { payer.pending++ }, "is pending"},
		{"a lock", func(_ *Machine, payer *account) { payer.status ^= locked }, "locks"},
		{"a phase", func(m *Machine, _ *account) { m.crossing.peers[1].out.at(1).phase = Confirming }, "is pending"},
		{"a seat", func(m *Machine, _ *account) {
			m.crossing.peers[1].in.push(participant{state: stateTried, amount: 5, currency: usd})
		}, "is pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, payer := withFlights(t)
			before := m.Sum()
			tt.change(m, payer)
			_, err := m.Audit()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if derived := tt.want == "is pending" || tt.want == "locks"; !derived && (m.Sum() == before) != (tt.want == "") {
				t.Errorf("the sum was %x and is %x", before, m.Sum())
			}
		})
	}
}

// withFlights returns a partition with an account that pays into another one by
// each protocol.
func withFlights(t *testing.T) (*Machine, *account) {
	t.Helper()
	m := NewMachine(&MachineOptions{Partitions: 2})
	var name AccountID
	for _, id := range []AccountID{"a", "b", "c", "d"} {
		if PartitionOf(DefaultTenant, id, 2) == 0 {
			name = id
		}
	}
	opened := ParseOpened(m.Apply(nil, batchOf(KindOpenAccounts, AppendAccount(nil, &NewAccount{name, usd, Unlimited}))))
	for i, p := range []Protocol{TCC, Saga, TwoPhase} {
		c := crossHandleTransfer{HandleTransfer: HandleTransfer{ID: txid(uint64(i + 1)), From: opened.Handle, To: 1<<partitionShift | 1, Amount: 5, Currency: usd}, protocol: p}
		if got := Result(m.Apply(nil, batchOf(KindCrossTransfers, appendCrossHandleTransfer(nil, &c)))[0]); got.Code() != Pending {
			t.Fatalf("transfer by %v: %v", p, got.Code())
		}
	}
	if accounts := m.Accounts(DefaultTenant); len(accounts) != 1 || accounts[0].ID != name || accounts[0].Balances[0].Amount != -10 {
		t.Fatalf("accounts are %+v", accounts)
	}
	return m, m.accounts.at(0)
}

func batchOf(k Kind, command []byte) rsm.Batch {
	return rsm.Batch{Data: append(AppendHeader(nil, Header{Kind: k, Count: 1}), command...)}
}
