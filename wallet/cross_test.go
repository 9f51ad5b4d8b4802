package wallet

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
)

// newPartition returns a machine that is one of several partitions.
func newPartition(number, of uint16) *Machine {
	return NewMachine(&MachineOptions{Partition: number, Partitions: of})
}

// local returns the n-th id, from 0, that belongs to a partition.
func local(partition, partitions uint16, n int) AccountID {
	for i := 0; ; i++ {
		id := AccountID(fmt.Sprintf("acct-%d", i))
		if PartitionOf(DefaultTenant, id, partitions) != partition {
			continue
		}
		if n--; n < 0 {
			return id
		}
	}
}

// couple is two partitions: payers in the first, payees in the second.
type couple struct {
	tb   testing.TB
	p, q *Machine
	next uint64 // transaction id
}

// newCouple opens, in both, accounts 1 (without limit) and 2 (from 0 on).
func newCouple(tb testing.TB) *couple {
	tb.Helper()
	c := &couple{tb: tb, p: newPartition(0, 2), q: newPartition(1, 2)}
	for _, m := range []*Machine{c.p, c.q} {
		openAccount(tb, m, local(m.options.Partition, 2, 0), usd, Unlimited)
		openAccount(tb, m, local(m.options.Partition, 2, 1), usd, 0)
	}
	return c
}

// inQ is the handle of an account of the second partition.
func inQ(n Handle) Handle { return 1<<partitionShift | n }

func (c *couple) record(from, to Handle, a money.Amount, p Protocol) crossHandleTransfer {
	c.next++
	return crossHandleTransfer{HandleTransfer{txid(c.next), from, to, a, usd}, c.q.hashOf(0, to), p}
}

// begin begins a transfer in the first partition.
func (c *couple) begin(from, to Handle, a money.Amount, p Protocol) Code {
	r := c.record(from, to, a, p)
	return do(c.tb, c.p, KindCrossTransfers, appendCrossHandleTransfer(nil, &r))
}

// ask brings a message to the second partition.
func (c *couple) ask(low uint64, v message) Code {
	return do(c.tb, c.q, KindParticipate, appendMessage(appendMessages(nil, 0, 1, low), &v))
}

// tell brings an answer to the first partition.
func (c *couple) tell(a action, code Code, seq uint64) Code {
	return do(c.tb, c.p, KindPhases, appendAnswer(appendAnswers(nil, 0, 1), answer{a, code, seq}))
}

// step brings what is due for a transfer to the second partition and the answer back.
func (c *couple) step(seq uint64) {
	c.tb.Helper()
	v, ok := c.p.message(1, seq)
	if !ok {
		c.tb.Fatalf("nothing is due for transfer %d", seq)
	}
	if got := c.tell(v.action, c.ask(c.p.low(1), v), seq); got != Applied {
		c.tb.Fatalf("the answer to action %d of transfer %d: %v", v.action, seq, got)
	}
	checkInvariant(c.tb, c.p)
	checkInvariant(c.tb, c.q)
}

func (c *couple) phase(seq uint64) Phase {
	if seq < c.p.low(1) {
		return Finished
	}
	return c.p.crossing.peers[1].out.at(seq).phase
}

func (c *couple) code(n uint64) Code { return decision(c.p, txid(n)) }

func decision(m *Machine, id TransactionID) Code {
	ids, k := &m.tenants[0].ids, makeKey(id[:])
	if e, _ := ids.find(k, ids.hash(k)); e != nil {
		return e.code()
	}
	return Undecided
}

// balances are those of accounts 1 and 2 of both partitions.
func (c *couple) balances() (b [4]money.Amount) {
	for i, m := range []*Machine{c.p, c.p, c.q, c.q} {
		b[i] = m.accounts.at(uint64(i % 2)).amount
	}
	return b
}

// TestBegin has one line for each way a transfer between partitions can begin.
func TestBegin(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to Handle
		amount   money.Amount
		change   func(c *couple, r *crossHandleTransfer)
		want     Code
		forgot   bool // the refusal is not remembered
	}{
		{"from the bank", 1, inQ(2), 5, nil, Pending, false},
		{"one that cannot pay", 2, inQ(2), 5, nil, InsufficientFunds, false},
		{"zero", 1, inQ(2), 0, nil, AmountNotPositive, false},
		{"unknown payer", 3, inQ(2), 5, nil, UnknownAccount, false},
		{"payer elsewhere", inQ(1), inQ(2), 5, nil, WrongPartition, true},
		{"payee here", 1, 2, 5, nil, WrongPartition, true},
		{"payee in a partition that is not", 1, 2<<partitionShift | 1, 5, nil, UnknownAccount, false},
		{"no handle", 1, inQ(0), 5, nil, UnknownAccount, false},
		{"payee not looked at", 1, inQ(99), 5, nil, Pending, false},
		{"currency", 1, inQ(2), 5, func(_ *couple, r *crossHandleTransfer) { r.Currency = jpy }, CurrencyNotHeld, false},
		{"no protocol", 1, inQ(2), 5, func(_ *couple, r *crossHandleTransfer) { r.protocol = NoProtocol }, Malformed, true},
		{"unknown protocol", 1, inQ(2), 5, func(_ *couple, r *crossHandleTransfer) { r.protocol = 9 }, Malformed, true},
		{"no id", 1, inQ(2), 5, func(_ *couple, r *crossHandleTransfer) { r.ID = TransactionID{} }, Malformed, true},
		{"frozen", 1, inQ(2), 5, func(c *couple, _ *crossHandleTransfer) { c.p.accounts.at(0).status = Frozen }, AccountFrozen, false},
		{"closed", 1, inQ(2), 5, func(c *couple, _ *crossHandleTransfer) { c.p.accounts.at(0).status = Closed }, AccountClosed, false},
		{"locked", 1, inQ(2), 5, func(c *couple, _ *crossHandleTransfer) { c.p.accounts.at(0).status = locked }, AccountLocked, true},
		{"frozen and locked", 1, inQ(2), 5, func(c *couple, _ *crossHandleTransfer) { c.p.accounts.at(0).status = Frozen | locked }, AccountFrozen, false},
		{"payer's last", 1, inQ(2), math.MaxInt64, func(c *couple, _ *crossHandleTransfer) { c.p.accounts.at(0).amount = -2 }, Overflow, false},
		{"more in flight than fits", 1, inQ(2), 5, func(c *couple, _ *crossHandleTransfer) { c.p.accounts.at(0).pending = math.MaxInt64 - 4 }, Overflow, false},
		{"table of ids full", 1, inQ(2), 5, func(c *couple, _ *crossHandleTransfer) { c.p.tenants[0].ids.len = maxIDs }, LimitReached, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCouple(t)
			r := c.record(tt.from, tt.to, tt.amount, TCC)
			if tt.change != nil {
				tt.change(c, &r)
			}
			before := describeAccounts(c.p)
			if got := do(t, c.p, KindCrossTransfers, appendCrossHandleTransfer(nil, &r)); got != tt.want {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			if after := describeAccounts(c.p); tt.want != Pending && after != before {
				t.Errorf("a refused transfer changed accounts: %s", cmp.Diff(before, after))
			}
			want := tt.want
			if tt.forgot {
				want = Undecided
			}
			if got := decision(c.p, r.ID); got != want {
				t.Errorf("remembered %v, want %v", got, want)
			}
		})
	}
}

func TestReservedBytesOfACrossTransfer(t *testing.T) {
	c := newCouple(t)
	r := c.record(1, inQ(2), 5, TCC)
	good := appendCrossHandleTransfer(nil, &r)
	for at := 43; at < RecordBytes; at++ {
		bad := bytes.Clone(good)
		bad[at]++
		if got := do(t, c.p, KindCrossTransfers, bad); (got == Malformed) != (at < 48 || at >= 56) {
			t.Errorf("byte %d: got %v", at, got)
		}
		c = newCouple(t)
	}
}

// TestSameTransferAcross checks that a transfer is the same by names and by
// handles, whatever its protocol and while it is under way and after; that the
// same id with other content is refused; and that ids are of the paying partition.
func TestSameTransferAcross(t *testing.T) {
	c := newCouple(t)
	r := c.record(1, inQ(2), 5, TCC)
	named := crossTransfer{Transfer{r.ID, local(0, 2, 0), local(1, 2, 1), 5, usd}, inQ(2), Saga}
	again := func() Result {
		return Result(do(t, c.p, KindCrossTransfersByName, appendCrossTransfer(nil, &named)))
	}
	if got := do(t, c.p, KindCrossTransfers, appendCrossHandleTransfer(nil, &r)); got != Pending {
		t.Fatalf("got %v", got)
	}
	if got := again(); got != Repeat(Pending) {
		t.Errorf("by name, while under way: got %v", got)
	}
	c.step(1)
	c.step(1)
	if got := again(); got != Repeat(Applied) {
		t.Errorf("by name, after: got %v", got)
	}
	if named.Amount++; again() != Result(IDReused) {
		t.Errorf("other amount: got %v", again())
	}
	if got := do(t, c.p, KindTransfers, AppendHandleTransfer(nil, &HandleTransfer{r.ID, 1, 2, 5, usd})); got != IDReused {
		t.Errorf("a transfer within the partition with the same id: got %v", got)
	}
	back := crossHandleTransfer{HandleTransfer{r.ID, inQ(1), 2, 5, usd}, c.p.hashOf(0, 2), TCC}
	if got := do(t, c.q, KindCrossTransfers, appendCrossHandleTransfer(nil, &back)); got != Pending {
		t.Errorf("the same id paid from the other partition: got %v", got)
	}
	if got, want := c.balances(), [4]money.Amount{-5, 0, -5, 5}; got != want {
		t.Errorf("balances: got %v, want %v", got, want)
	}
}

// TestParticipant has the answers to messages that come twice, late, out of
// order, or that no paying partition sends.
func TestParticipant(t *testing.T) {
	try := func(seq uint64) message { return message{actTry, seq, 0, usd, inQ(2), 5, key{}, 1, nil} }
	as := func(v message, change func(v *message)) message { change(&v); return v }
	type ask struct {
		low  uint64
		v    message
		want Code
	}
	for _, tt := range []struct {
		name string
		asks []ask
		got  money.Amount // of account 2 in the end
	}{
		{"try and confirm, each twice", []ask{
			{1, try(1), Applied},
			{1, try(1), Applied},
			{1, message{action: actConfirm, seq: 1}, Applied},
			{1, message{action: actConfirm, seq: 1}, Applied},
			{1, try(1), Applied},
		}, 5},
		{"a cancel before its try", []ask{
			{1, message{action: actCancel, seq: 1}, Applied}, {1, try(1), Canceled}, {1, message{action: actCancel, seq: 1}, Applied}, {1, try(1), Canceled},
		}, 0},
		{"a cancel after its try", []ask{{1, try(1), Applied}, {1, message{action: actCancel, seq: 1}, Applied}, {1, try(1), Canceled}}, 0},
		{"a confirm without a try", []ask{{1, message{action: actConfirm, seq: 1}, Malformed}, {1, try(1), Applied}}, 0},
		{"a confirm after a cancel", []ask{{1, message{action: actCancel, seq: 1}, Applied}, {1, message{action: actConfirm, seq: 1}, Malformed}}, 0},
		{"a cancel after a confirm", []ask{
			{1, try(1), Applied}, {1, message{action: actConfirm, seq: 1}, Applied}, {1, message{action: actCancel, seq: 1}, Malformed},
		}, 5},
		{"a credit, twice", []ask{
			{1, as(try(1), func(v *message) { v.action = actCredit }), Applied}, {1, as(try(1), func(v *message) { v.action = actCredit }), Applied},
		}, 5},
		{"what was finished", []ask{
			{1, as(try(1), func(v *message) { v.action = actCredit }), Applied}, {2, try(2), Applied}, {1, try(1), Forgotten}, {1, message{action: actConfirm, seq: 1}, Forgotten},
		}, 5},
		{"a refusal stays when its reason is gone", []ask{
			{1, as(try(1), func(v *message) { v.tenant = 1 }), UnknownTenant}, {1, try(1), UnknownTenant}, {1, message{action: actCancel, seq: 1}, Applied}, {1, try(1), UnknownTenant},
		}, 0},
		{"unknown account", []ask{{1, as(try(1), func(v *message) { v.to = inQ(3) }), UnknownAccount}}, 0},
		{"an account of another partition", []ask{{1, as(try(1), func(v *message) { v.to = 2 }), UnknownAccount}}, 0},
		{"no amount", []ask{{1, as(try(1), func(v *message) { v.amount = 0 }), AmountNotPositive}}, 0},
		{"currency", []ask{{1, as(try(1), func(v *message) { v.currency = jpy }), CurrencyNotHeld}}, 0},
		{"two tries that do not fit together", []ask{
			{1, as(try(1), func(v *message) { v.amount = math.MaxInt64 - 4 }), Applied}, {1, try(2), Overflow},
		}, 0},
		{"a credit into the room of a try", []ask{
			{1, as(try(1), func(v *message) { v.amount = math.MaxInt64 - 4 }), Applied}, {1, as(try(2), func(v *message) { v.action = actCredit }), Overflow},
		}, 0},
		{"a prepare locks", []ask{
			{1, as(try(1), func(v *message) { v.action = actPrepare }), Applied},
			{1, as(try(2), func(v *message) { v.action = actPrepare }), AccountLocked},
			{1, message{action: actConfirm, seq: 1}, Applied},
			{1, as(try(3), func(v *message) { v.action = actPrepare }), Applied},
		}, 5},
		{"a confirm goes through a lock", []ask{
			{1, try(1), Applied},
			{1, as(try(2), func(v *message) { v.action = actPrepare }), Applied},
			{1, message{action: actConfirm, seq: 1}, Applied},
			{1, message{action: actCancel, seq: 2}, Applied},
		}, 5},
		{"too far ahead", []ask{{1, try(MaxInFlight + 1), Malformed}, {1, try(MaxInFlight), Applied}}, 0},
		{"number zero", []ask{{1, try(0), Forgotten}}, 0},
		{"nothing is below zero", []ask{{0, try(1), Malformed}}, 0},
		{"a low above what was not settled", []ask{{1, try(1), Applied}, {2, try(2), Malformed}, {1, try(2), Applied}}, 0},
		{"a low above what was not seen", []ask{{1, try(2), Applied}, {2, try(2), Malformed}, {4, try(4), Malformed}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCouple(t)
			for i, a := range tt.asks {
				if got := c.ask(a.low, a.v); got != a.want {
					t.Fatalf("message %d: got %v, want %v", i+1, got, a.want)
				}
				restored := newPartition(1, 2)
				if err := restored.Restore(bytes.NewReader(image(c.q))); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(describe(c.q), describe(restored)); diff != "" {
					t.Fatalf("after message %d the restored state differs (-want +got):\n%s", i+1, diff)
				}
				c.q = restored
			}
			if got := c.balances()[3]; got != tt.got {
				t.Errorf("the payee has %d, want %d", got, tt.got)
			}
			checkInvariant(t, c.q)
		})
	}
}

// TestStrayMessages checks that batches for another partition, or from one that
// there is not, change nothing.
func TestStrayMessages(t *testing.T) {
	c := newCouple(t)
	before := describe(c.q)
	v := message{actTry, 1, 0, usd, inQ(2), 5, key{}, 1, nil}
	for name, tt := range map[string]struct {
		tenant, from, to uint16
		want             Code
	}{
		"for another":                 {0, 0, 0, Malformed},
		"from a partition that isn't": {0, 2, 1, WrongPartition},
		"from itself":                 {0, 1, 1, WrongPartition},
		"of a tenant":                 {1, 0, 1, Malformed},
	} {
		do(t, c.q, KindCreateTenants, AppendName(nil, "default"))
		batch := AppendHeader(nil, Header{KindParticipate, tt.tenant, 2})
		batch = appendMessage(appendMessage(appendMessages(batch, tt.from, tt.to, 1), &v), &v)
		want := []byte{byte(tt.want), byte(tt.want)}
		if tt.tenant != 0 { // which does not exist here
			want = []byte{byte(UnknownTenant)}
		}
		if got := c.q.Apply(nil, rsm.Batch{Data: batch}); !bytes.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	for name, pair := range map[string][2]uint16{"for another": {1, 0}, "from itself": {0, 0}, "from a partition that isn't": {0, 2}} {
		if got := do(t, c.p, KindPhases, appendAnswer(appendAnswers(nil, pair[0], pair[1]), answer{actTry, Applied, 1})); got != WrongPartition {
			t.Errorf("answers %s: got %v", name, got)
		}
	}
	if after := describe(c.q); after != before {
		t.Errorf("the state changed: %s", cmp.Diff(before, after))
	}
}

// TestAnswersThatAreNone checks that what is not an answer leaves a transfer as it is.
func TestAnswersThatAreNone(t *testing.T) {
	c := newCouple(t)
	c.begin(1, inQ(2), 5, TCC)
	for _, tt := range []struct {
		action action
		code   Code
		seq    uint64
		want   Code
	}{
		{actTry, Undecided, 1, Malformed},
		{actTry, Malformed, 1, Malformed},
		{actTry, Forgotten, 1, Malformed},
		{actTry, Pending, 1, Malformed},
		{actTry, 200, 1, Malformed},
		{actTry, Applied, 2, Malformed},
		{actTry, Applied, 0, Forgotten},
		{actConfirm, Applied, 1, Forgotten},
		{actCancel, Applied, 1, Forgotten},
		{actPrepare, Applied, 1, Forgotten},
		{noAction, Applied, 1, Forgotten},
		{99, Applied, 1, Forgotten},
	} {
		if got := c.tell(tt.action, tt.code, tt.seq); got != tt.want || c.phase(1) != Trying {
			t.Errorf("action %d, code %v, number %d: got %v in phase %v, want %v", tt.action, tt.code, tt.seq, got, c.phase(1), tt.want)
		}
	}
	c.step(1)
	if got := c.tell(actConfirm, UnknownAccount, 1); got != Malformed || c.phase(1) != Confirming {
		t.Errorf("a refusal of a Confirm: got %v in phase %v", got, c.phase(1))
	}
	if got := c.tell(actGiveUp, Undecided, 1); got != Pending {
		t.Errorf("giving up what was agreed: got %v", got)
	}
}

// TestEveryPhase brings a transfer of each protocol into each of its phases,
// each by way of a snapshot, and to its end.
func TestEveryPhase(t *testing.T) {
	giveUp := func(c *couple) { c.tell(actGiveUp, Undecided, 1) }
	step := func(c *couple) { c.step(1) }
	freeze := func(c *couple) { c.q.accounts.at(1).status |= Frozen }
	for _, tt := range []struct {
		name     string
		protocol Protocol
		steps    []func(*couple)
		phases   []Phase
		moved    []money.Amount // out of the payer, after each
		want     Code
	}{
		{"tcc", TCC, []func(*couple){step, step}, []Phase{Trying, Confirming, Finished}, []money.Amount{5, 5, 5}, Applied},
		{"tcc refused", TCC, []func(*couple){freeze, step}, []Phase{Trying, Trying, Finished}, []money.Amount{5, 5, 0}, AccountFrozen},
		{"tcc given up", TCC, []func(*couple){giveUp, step}, []Phase{Trying, Canceling, Finished}, []money.Amount{5, 0, 0}, Canceled},
		{"tcc confirmed to a frozen account", TCC, []func(*couple){step, freeze, step}, []Phase{Trying, Confirming, Confirming, Finished}, []money.Amount{5, 5, 5, 5}, Applied},
		{"saga", Saga, []func(*couple){step}, []Phase{Crediting, Finished}, []money.Amount{5, 5}, Applied},
		{"saga refused", Saga, []func(*couple){freeze, step}, []Phase{Crediting, Crediting, Finished}, []money.Amount{5, 5, 0}, AccountFrozen},
		{"saga cannot be given up", Saga, []func(*couple){giveUp, step}, []Phase{Crediting, Crediting, Finished}, []money.Amount{5, 5, 5}, Applied},
		{"2pc", TwoPhase, []func(*couple){step, step}, []Phase{Preparing, Confirming, Finished}, []money.Amount{0, 5, 5}, Applied},
		{"2pc refused", TwoPhase, []func(*couple){freeze, step}, []Phase{Preparing, Preparing, Finished}, []money.Amount{0, 0, 0}, AccountFrozen},
		{"2pc given up", TwoPhase, []func(*couple){giveUp, step}, []Phase{Preparing, Canceling, Finished}, []money.Amount{0, 0, 0}, Canceled},
		{"2pc committed to a frozen account", TwoPhase, []func(*couple){step, freeze, step}, []Phase{Preparing, Confirming, Confirming, Finished}, []money.Amount{0, 5, 5, 5}, Applied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCouple(t)
			if got := c.begin(1, inQ(2), 5, tt.protocol); got != Pending {
				t.Fatalf("begin: %v", got)
			}
			for i := range tt.phases {
				if i > 0 {
					tt.steps[i-1](c)
				}
				c.restart(i)
				if got, moved := c.phase(1), -c.balances()[0]; got != tt.phases[i] || moved != tt.moved[i] {
					t.Fatalf("after step %d: %v with %d moved, want %v with %d", i, got, moved, tt.phases[i], tt.moved[i])
				}
			}
			credited := money.Amount(0)
			if tt.want == Applied {
				credited = 5
			}
			if got := c.balances()[3]; got != credited || c.code(1) != tt.want {
				t.Errorf("the payee has %d, code %v, want %d, %v", got, c.code(1), credited, tt.want)
			}
			for _, m := range []*Machine{c.p, c.q} {
				for row := range uint64(2) {
					if a := m.accounts.at(row); a.pending != 0 || a.status&locked != 0 {
						t.Errorf("account %d of partition %d: %d pending, status %x", row, m.options.Partition, a.pending, uint8(a.status))
					}
				}
			}
		})
	}
}

// restart replaces both machines by ones that are restored from snapshots of now.
func (c *couple) restart(step int) {
	c.tb.Helper()
	for _, m := range []**Machine{&c.p, &c.q} {
		restored := NewMachine(&(*m).options)
		if err := restored.Restore(bytes.NewReader(image(*m))); err != nil {
			c.tb.Fatal(err)
		}
		if diff := cmp.Diff(describe(*m), describe(restored)); diff != "" {
			c.tb.Fatalf("after step %d the restored state differs (-want +got):\n%s", step, diff)
		}
		*m = restored
	}
}

// TestLockedAccount checks what a lock of two-phase commit refuses, which is
// not remembered, and what goes on.
func TestLockedAccount(t *testing.T) {
	c := newCouple(t)
	c.begin(1, inQ(2), 5, TCC) // 1: in flight before the lock
	c.begin(1, inQ(2), 7, TwoPhase)
	transfer := AppendHandleTransfer(nil, &HandleTransfer{txid(9), 1, 2, 5, usd})
	if got := do(t, c.p, KindTransfers, transfer); got != AccountLocked {
		t.Errorf("a transfer within the partition: got %v", got)
	}
	if got := c.begin(1, inQ(2), 5, Saga); got != AccountLocked {
		t.Errorf("a transfer between partitions: got %v", got)
	}
	id := local(0, 2, 0)
	for _, tt := range []struct {
		name string
		kind Kind
		cmd  []byte
		want Code
	}{
		{"close", KindSetStatus, AppendStatus(nil, id, Closed), AccountLocked},
		{"freeze", KindSetStatus, AppendStatus(nil, id, Frozen), Applied},
		{"freeze again", KindSetStatus, AppendStatus(nil, id, Frozen), Applied},
		{"limit", KindSetLimit, AppendAccount(nil, &NewAccount{id, usd, 0}), Applied},
		{"currency", KindAddCurrency, AppendAccount(nil, &NewAccount{id, jpy, 0}), Applied},
	} {
		if got := do(t, c.p, tt.kind, tt.cmd); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := c.p.account(1).Status; got != Frozen {
		t.Errorf("the status is %v", got)
	}
	c.ask(1, message{action: actCancel, seq: 1})
	c.tell(actTry, Canceled, 1) // the money comes back
	c.step(2)
	c.step(2)
	if got, want := c.balances(), [4]money.Amount{-7, 0, 0, 7}; got != want {
		t.Errorf("balances: got %v, want %v", got, want)
	}
	do(t, c.p, KindSetStatus, AppendStatus(nil, id, Open))
	do(t, c.p, KindSetLimit, AppendAccount(nil, &NewAccount{id, usd, Unlimited}))
	if got := do(t, c.p, KindTransfers, transfer); got != Applied {
		t.Errorf("the refused transfer again: got %v", got)
	}
}

// TestRoomForMoneyInFlight checks that money that may come back, or be
// confirmed, always can: no other transfer takes its room, and the account stays.
func TestRoomForMoneyInFlight(t *testing.T) {
	c := newCouple(t)
	local2 := HandleTransfer{txid(100), 1, 2, math.MaxInt64 - 3, usd}
	do(t, c.p, KindTransfers, AppendHandleTransfer(nil, &HandleTransfer{txid(99), 1, 2, 5, usd}))
	c.begin(2, inQ(2), 5, TCC)
	if got := do(t, c.p, KindSetStatus, AppendStatus(nil, local(0, 2, 1), Closed)); got != BalanceNotZero {
		t.Errorf("closing a payer whose money is in flight: got %v", got)
	}
	c.p.accounts.at(0).amount = 0 // the bank can pay again
	if got := do(t, c.p, KindTransfers, AppendHandleTransfer(nil, &local2)); got != Overflow {
		t.Errorf("a transfer that takes the room: got %v", got)
	}
	c.p.accounts.at(0).amount = -5
	if got := c.ask(1, message{actTry, 1, 0, usd, inQ(2), 5, key{}, 1, nil}); got != Applied {
		t.Fatal(got)
	}
	if got := do(t, c.q, KindSetStatus, AppendStatus(nil, local(1, 2, 1), Closed)); got != BalanceNotZero {
		t.Errorf("closing a payee to which money is in flight: got %v", got)
	}
	c.tell(actTry, Overflow, 1)
	if got, want := c.balances(), [4]money.Amount{-5, 5, 0, 0}; got != want {
		t.Errorf("balances: got %v, want %v", got, want)
	}
	checkInvariant(t, c.p)
}

// TestTooManyInFlight fills the phase status table, and finishes all but the
// first, which keeps it full, and then the first.
func TestTooManyInFlight(t *testing.T) {
	c := newCouple(t)
	for n := 0; n < MaxInFlight; n += MaxBatch {
		batch := AppendHeader(nil, Header{Kind: KindCrossTransfers, Count: MaxBatch})
		for range MaxBatch {
			r := c.record(1, inQ(2), 1, Saga)
			batch = appendCrossHandleTransfer(batch, &r)
		}
		c.p.Apply(nil, rsm.Batch{Data: batch})
	}
	if got := c.begin(1, inQ(2), 1, Saga); got != TooManyInFlight || c.code(c.next) != Undecided {
		t.Fatalf("one more: got %v, remembered %v", got, c.code(c.next))
	}
	finish := func(first, last uint64) {
		var messages []message
		for next := first; next <= last; {
			messages, next = c.p.due(messages[:0], 1, next, MaxBatch)
			body := appendMessages(AppendHeader(nil, Header{Kind: KindParticipate, Count: len(messages)}), 0, 1, c.p.low(1))
			answers := appendAnswers(AppendHeader(nil, Header{Kind: KindPhases, Count: len(messages)}), 0, 1)
			for i := range messages {
				body = appendMessage(body, &messages[i])
			}
			for i, code := range c.q.Apply(nil, rsm.Batch{Data: body}) {
				answers = appendAnswer(answers, answer{messages[i].action, Code(code), messages[i].seq})
			}
			c.p.Apply(nil, rsm.Batch{Data: answers})
		}
	}
	finish(2, MaxInFlight)
	if got := c.begin(1, inQ(2), 1, Saga); got != TooManyInFlight {
		t.Fatalf("with the first unfinished: got %v", got)
	}
	c.restart(0)
	finish(1, 1)
	if got := c.begin(1, inQ(2), 1, Saga); got != Pending {
		t.Fatalf("with all finished: got %v", got)
	}
	finish(MaxInFlight+1, MaxInFlight+1)
	out, in := &c.p.crossing.peers[1].out, &c.q.crossing.peers[0].in
	if out.capacity() > 2*dequeRows || in.capacity() > 2*dequeRows {
		t.Errorf("with nothing in flight there is memory for %d and %d", out.capacity(), in.capacity())
	}
	if got := c.balances(); got != [4]money.Amount{-MaxInFlight - 1, 0, 0, MaxInFlight + 1} {
		t.Errorf("balances: %v", got)
	}
}

// TestDecidedWhileASnapshotIsOpen checks that a transfer is as it was when the
// snapshot was opened, though its id's row is written later.
func TestDecidedWhileASnapshotIsOpen(t *testing.T) {
	c := newCouple(t)
	for range 3 {
		c.begin(1, inQ(2), 5, TCC)
	}
	c.step(2)
	want := describe(c.p)
	s := c.p.Snapshot()
	c.step(2)
	c.tell(actGiveUp, Undecided, 3)
	var image []byte
	for more := true; more; {
		image, more = s.Next(image, 1)
	}
	s.Close()
	restored := newPartition(0, 2)
	if err := restored.Restore(bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, describe(restored)); diff != "" {
		t.Errorf("the restored state differs (-want +got):\n%s", diff)
	}
}

// TestReadSide checks the list of what is in flight, the cursors, and the hooks.
func TestReadSide(t *testing.T) {
	c := newCouple(t)
	var told []string
	c.p.options.Due = func(peer uint16, seq uint64) {
		v, _ := c.p.message(peer, seq)
		told = append(told, fmt.Sprintf("due %d to %d: %d", seq, peer, v.action))
	}
	c.p.options.Finished = func(tenant uint16, id TransactionID, code Code) {
		told = append(told, fmt.Sprintf("finished %d/%d: %v", tenant, id[15], code))
	}
	for range 3 {
		c.begin(1, inQ(2), 5, TCC)
	}
	c.step(2)
	c.step(2)
	want := []InFlight{
		{txid(1), DefaultTenant, local(0, 2, 0), inQ(2), "", 5, usd, 0, TCC, Trying, 7, 0, 1},
		{txid(3), DefaultTenant, local(0, 2, 0), inQ(2), "", 5, usd, 0, TCC, Trying, 7, 0, 3},
	}
	var got []InFlight
	for at, more := (inFlightCursor{}), true; more; {
		got, at, more = c.p.inFlight(got, at, 1)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in flight (-want +got):\n%s", diff)
	}
	messages, next := c.p.due(nil, 1, 2, 10)
	if diff := cmp.Diff([]message{{actTry, 3, 0, usd, inQ(2), 5, c.p.crossing.peers[1].out.at(3).key, 1, nil}}, messages, cmp.AllowUnexported(message{}, key{})); diff != "" || next != 4 {
		t.Errorf("due from number 2 on (-want +got), then %d:\n%s", next, diff)
	}
	if _, ok := c.p.message(1, 2); ok {
		t.Error("a finished transfer has a message due")
	}
	if diff := cmp.Diff([]string{"due 1 to 1: 1", "due 2 to 1: 1", "due 3 to 1: 1", "due 2 to 1: 4", "finished 0/2: applied"}, told); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	if m := c.p.Metrics(); m.InFlight[Trying] != 2 || m.Decided[Pending] != 3 || m.Decided[Applied] != 1 {
		t.Errorf("metrics: %v in flight, %v", m.InFlight, m.Decided)
	}
}

// TestPartitionOf holds the hash to what it was when accounts were placed by it.
func TestPartitionOf(t *testing.T) {
	for _, tt := range []struct {
		tenant Tenant
		id     AccountID
		want   [3]uint16
	}{
		{DefaultTenant, "alice", [3]uint16{0, 2, 36}},
		{DefaultTenant, "bob", [3]uint16{0, 1, 26}},
		{"acme", "alice", [3]uint16{0, 1, 16}},
		{DefaultTenant, "a-name-of-more-than-eight-bytes", [3]uint16{0, 0, 3}},
	} {
		got := [3]uint16{PartitionOf(tt.tenant, tt.id, 1), PartitionOf(tt.tenant, tt.id, 4), PartitionOf(tt.tenant, tt.id, 64)}
		if got != tt.want {
			t.Errorf("%s of %s: got %v, want %v", tt.id, tt.tenant, got, tt.want)
		}
	}
	var counts [7]int
	for i := range 70_000 {
		counts[PartitionOf("acme", AccountID(fmt.Sprintf("user-%d", i)), 7)]++
	}
	for p, n := range counts {
		if n < 9_500 || n > 10_500 {
			t.Errorf("partition %d has %d of 70000 accounts", p, n)
		}
	}
}

func TestSnapshotOfAnotherPartition(t *testing.T) {
	for name, b := range map[string][]byte{
		"another number": image(newPartition(0, 2)), "another count": image(newPartition(1, 3)), "one partition": image(NewMachine(nil)),
	} {
		if err := newPartition(1, 2).Restore(bytes.NewReader(b)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := newPartition(1, 2).Restore(bytes.NewReader(nil)); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

func TestDeque(t *testing.T) {
	for _, first := range []uint64{1, dequeRows - 1, dequeRows, 5*dequeRows + 7} {
		d, want := newDeque[int](first), []int(nil)
		for i := range 10 * dequeRows {
			d.push(i)
			want = append(want, i)
			if i%3 > 0 || i > 8*dequeRows {
				d.pop()
				want = want[1:]
			}
		}
		if diff := cmp.Diff(want, d.appendTo(nil)); diff != "" || *d.at(d.low) != want[0] || d.next-d.low != uint64(len(want)) {
			t.Errorf("first %d (-want +got):\n%s", first, diff)
		}
		if over := d.capacity() - len(want); over > 3*dequeRows {
			t.Errorf("first %d: memory for %d rows too many", first, over)
		}
		for d.low < d.next {
			d.pop()
		}
		if d.push(7); *d.at(d.low) != 7 || len(d.appendTo(nil)) != 1 {
			t.Errorf("first %d: not usable after it was empty", first)
		}
	}
}
