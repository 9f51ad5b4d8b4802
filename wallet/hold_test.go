package wallet

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/rsm"
)

// ms is a time of the tests: milliseconds, in nanoseconds.
func ms(n Millis) int64 { return int64(n) * 1_000_000 }

// holdAt applies a command about a hold at a time.
func holdAt(m *Machine, now int64, c holdCommand) Result {
	return Result(m.Apply(nil, rsm.Batch{Time: now, Data: appendHold(AppendHeader(nil, Header{Kind: KindHolds, Count: 1}), &c)})[0])
}

// payAt applies a transfer at a time.
func payAt(m *Machine, now int64, t Transfer) Code {
	return Code(m.Apply(nil, rsm.Batch{Time: now, Data: AppendTransfer(AppendHeader(nil, Header{Kind: KindTransfersByName, Count: 1}), &t)})[0])
}

// holdsMachine has alice with 5,000, bob and carol with nothing, and the bank.
func holdsMachine(tb testing.TB) *Machine {
	tb.Helper()
	m := NewMachine(nil)
	openAccount(tb, m, "bank", usd, Unlimited)
	for _, id := range []AccountID{"alice", "bob", "carol"} {
		openAccount(tb, m, id, usd, 0)
	}
	if got := payAt(m, 0, Transfer{txid(1), "bank", "alice", 5000, usd}); got != Applied {
		tb.Fatalf("fund alice: %v", got)
	}
	return m
}

func balanceNow(tb testing.TB, m *Machine, id AccountID) Balance {
	tb.Helper()
	a, ok := m.Find(DefaultTenant, id)
	if !ok {
		tb.Fatalf("no account %s", id)
	}
	if _, err := m.Audit(); err != nil {
		tb.Fatal(err)
	}
	return a.Balances[0]
}

func hold(n uint64, a money.Amount, expires Millis) holdCommand {
	return (&NewHold{ID: txid(n), Account: "alice", Amount: a, Currency: usd, Expires: expires}).command()
}

func capture(n, of uint64, to AccountID, a money.Amount) holdCommand {
	return (&Capture{Transfer: Transfer{txid(n), "alice", to, a, usd}, Hold: txid(of)}).command()
}

// TestSixHolds is what other wallets were seen to do wrong: a sixth hold of 1,000 on
// 5,000, a hold that was refused and is captured, a capture twice.
func TestSixHolds(t *testing.T) {
	m := holdsMachine(t)
	for n := range uint64(6) {
		want := Held
		if n == 5 {
			want = InsufficientFunds
		}
		for _, again := range []bool{false, true} {
			if got := holdAt(m, ms(1), hold(10+n, 1000, 50)); got.Code() != want || got.Repeated() != again {
				t.Errorf("hold %d: got %v, repeated %v", n+1, got.Code(), got.Repeated())
			}
		}
	}
	if got := payAt(m, ms(1), Transfer{txid(2), "alice", "bob", 1, usd}); got != InsufficientFunds {
		t.Errorf("pay what is held: got %v", got)
	}
	if got := holdAt(m, ms(2), (&Release{ID: txid(20), Hold: txid(10), Account: "alice", Currency: usd}).command()); got.Code() != Applied {
		t.Errorf("release: got %v", got.Code())
	}
	if got := holdAt(m, ms(2), hold(15, 1000, 50)); got != Repeat(InsufficientFunds) {
		t.Errorf("the refused hold again, with money there: got %v, repeated %v", got.Code(), got.Repeated())
	}
	if got := holdAt(m, ms(2), capture(21, 15, "bob", 1000)); got.Code() != UnknownHold {
		t.Errorf("capture the refused hold: got %v", got.Code())
	}
	for _, want := range []Result{Result(Applied), Repeat(Applied)} {
		if got := holdAt(m, ms(3), capture(22, 11, "bob", 600)); got != want {
			t.Errorf("capture: got %v, want %v", got, want)
		}
	}
	if got := holdAt(m, ms(3), capture(23, 11, "bob", 401)); got.Code() != HoldExceeded {
		t.Errorf("capture more than is left: got %v", got.Code())
	}
	want := Balance{Currency: usd, Amount: 4400, Held: 3400}
	if diff := cmp.Diff(want, balanceNow(t, m, "alice")); diff != "" {
		t.Errorf("alice (-want +got):\n%s", diff)
	}
	if got := balanceNow(t, m, "bob"); got.Amount != 600 {
		t.Errorf("bob has %d, want 600", got.Amount)
	}
}

// TestHoldCodes has one line for each way in which a command about holds can end.
func TestHoldCodes(t *testing.T) {
	const now = 1000
	command := func(c holdCommand, change func(*holdCommand)) holdCommand {
		change(&c)
		return c
	}
	open := hold(10, 100, now+50)
	forBob := command(hold(11, 100, now+50), func(c *holdCommand) { c.to = []byte("bob") })
	release := (&Release{ID: txid(90), Hold: txid(10), Account: "alice", Amount: 40, Currency: usd}).command()
	extend := (&Extend{ID: txid(90), Hold: txid(10), Account: "alice", Expires: now + 60}).command()
	for _, tt := range []struct {
		name    string
		command holdCommand
		want    Code
	}{
		{"hold", hold(90, 1, now+1), Held},
		{"hold all", hold(90, 4800, now+1), Held},
		{"hold more", hold(90, 4801, now+1), InsufficientFunds},
		{"hold nothing", hold(90, 0, now+1), AmountNotPositive},
		{"hold until now", hold(90, 1, now), ExpiryOutOfRange},
		{"hold as long as can be", hold(90, 1, now+MaxHoldFor), Held},
		{"hold longer", hold(90, 1, now+MaxHoldFor+1), ExpiryOutOfRange},
		{"hold for ever", hold(90, 1, math.MaxInt64), ExpiryOutOfRange},
		{"hold for oneself", command(hold(90, 1, now+1), func(c *holdCommand) { c.to = c.from }), SameAccount},
		{"hold of nobody", command(hold(90, 1, now+1), func(c *holdCommand) { c.from = []byte("nobody") }), UnknownAccount},
		{"hold yen", command(hold(90, 1, now+1), func(c *holdCommand) { c.currency = jpy }), CurrencyNotHeld},
		{"hold of the frozen", command(hold(90, 1, now+1), func(c *holdCommand) { c.from = []byte("frozen") }), AccountFrozen},
		{"another hold with the id", hold(10, 99, now+50), IDReused},
		{"hold with a transfer's id", hold(1, 5000, now+50), IDReused},
		{"hold as a capture", command(open, func(c *holdCommand) { c.action = holdCapture }), Malformed},
		{"capture a part", capture(90, 10, "bob", 40), Applied},
		{"capture all", capture(90, 10, "bob", 100), Applied},
		{"capture more", capture(90, 10, "bob", 101), HoldExceeded},
		{"capture nothing", capture(90, 10, "bob", 0), AmountNotPositive},
		{"capture for oneself", capture(90, 10, "alice", 1), SameAccount},
		{"capture of no hold", capture(90, 12, "bob", 1), UnknownHold},
		{"capture of a transfer", capture(90, 1, "bob", 1), UnknownHold},
		{"capture of a finished hold", capture(90, 13, "bob", 1), HoldFinished},
		{"capture in yen", command(capture(90, 10, "bob", 1), func(c *holdCommand) { c.currency = jpy }), HoldMismatch},
		{"capture of another's", command(capture(90, 10, "bob", 1), func(c *holdCommand) { c.from = []byte("carol") }), HoldMismatch},
		{"capture for the payee", capture(90, 11, "bob", 1), Applied},
		{"capture for another", capture(90, 11, "carol", 1), HoldMismatch},
		{"capture for nobody", capture(90, 10, "nobody", 1), UnknownAccount},
		{"capture for the frozen", capture(90, 10, "frozen", 1), AccountFrozen},
		{"capture for one without dollars", capture(90, 10, "yen", 1), CurrencyNotHeld},
		{"release a part", release, Applied},
		{"release all", command(release, func(c *holdCommand) { c.amount = 0 }), Applied},
		{"release more", command(release, func(c *holdCommand) { c.amount = 101 }), HoldExceeded},
		{"release less than nothing", command(release, func(c *holdCommand) { c.amount = -1 }), AmountNotPositive},
		{"release a finished hold", command(release, func(c *holdCommand) { c.hold = txid(13) }), HoldFinished},
		{"extend", extend, Applied},
		{"expire earlier", command(extend, func(c *holdCommand) { c.expires = now + 1 }), Applied},
		{"extend until now", command(extend, func(c *holdCommand) { c.expires = now }), ExpiryOutOfRange},
		{"extend a finished hold", command(extend, func(c *holdCommand) { c.hold = txid(13) }), HoldFinished},
		{"extend by an amount", command(extend, func(c *holdCommand) { c.amount = 1 }), Malformed},
		{"no command", command(extend, func(c *holdCommand) { c.action = endHoldAction }), Malformed},
		{"no id", command(extend, func(c *holdCommand) { c.id = TransactionID{} }), Malformed},
		{"from nobody", command(extend, func(c *holdCommand) { c.from = []byte("/") }), Malformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := holdsMachine(t)
			openAccount(t, m, "frozen", usd, 0)
			openAccount(t, m, "yen", jpy, 0)
			do(t, m, KindSetStatus, AppendStatus(nil, "frozen", Frozen))
			for _, c := range []holdCommand{open, forBob, hold(13, 1, now-1)} {
				if got := holdAt(m, 7, c); got.Code() != Held {
					t.Fatalf("hold: %v", got.Code())
				}
			}
			got := holdAt(m, ms(now), tt.command)
			if got.Code() != tt.want || got.Repeated() {
				t.Fatalf("got %v, repeated %v, want %v", got.Code(), got.Repeated(), tt.want)
			}
			balanceNow(t, m, "alice") // looks at the books
			again := holdAt(m, ms(now), tt.command)
			if tt.want != Malformed && tt.want != IDReused && again != Repeat(tt.want) {
				t.Errorf("again: got %v, repeated %v", again.Code(), again.Repeated())
			}
		})
	}
}

// TestExpiry pays with what was held, in the millisecond before the expiry and in that
// of the expiry.
func TestExpiry(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   int64
		want Code
	}{
		{"a nanosecond before", ms(100) - 1, InsufficientFunds},
		{"at the time", ms(100), Applied},
		{"later", ms(100) + 1, Applied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := holdsMachine(t)
			holdAt(m, ms(1), hold(10, 5000, 100))
			if got := payAt(m, tt.at, Transfer{txid(2), "alice", "bob", 5000, usd}); got != tt.want {
				t.Errorf("pay: got %v, want %v", got, tt.want)
			}
			code := HoldFinished
			if tt.want != Applied {
				code = Applied
			}
			if got := holdAt(m, tt.at, capture(20, 10, "bob", 1)); got.Code() != code {
				t.Errorf("capture: got %v, want %v", got.Code(), code)
			}
			balanceNow(t, m, "alice")
		})
	}
}

// TestManyExpire lets more holds expire at once than a batch ends: none of them holds
// anything for the first command.
func TestManyExpire(t *testing.T) {
	m := NewMachine(&MachineOptions{expired: 10})
	openAccount(t, m, "bank", usd, Unlimited)
	openAccount(t, m, "alice", usd, 0)
	payAt(m, 0, Transfer{txid(1), "bank", "alice", 100, usd})
	for n := range uint64(100) {
		if got := holdAt(m, 1, hold(10+n, 1, 5)); got.Code() != Held {
			t.Fatalf("hold: %v", got.Code())
		}
	}
	m.Apply(nil, rsm.Batch{Time: ms(5), Data: appendExpire(AppendHeader(nil, Header{Kind: KindExpire, Count: 1}), 5)})
	if left, some := m.untilExpiry(); !some || left != 0 || len(m.holds.due) != 90 {
		t.Fatalf("%d holds are left, the next expires in %d", len(m.holds.due), left)
	}
	if got := balanceNow(t, m, "alice"); got.Held != 0 {
		t.Errorf("%d are held", got.Held)
	}
	if f := m.query(&query{Subject: aboutHold, Transaction: txid(109)}); f.Code != HoldFinished {
		t.Errorf("a hold that has expired: %v", f.Code)
	}
	if f := m.query(&query{Subject: aboutHolds, Name: DefaultTenant, Accounts: []AccountID{"alice"}, Limit: 10}); len(f.Holds) != 0 {
		t.Errorf("%d are listed", len(f.Holds))
	}
	if got := payAt(m, ms(5), Transfer{txid(2), "alice", "bank", 100, usd}); got != Applied {
		t.Errorf("pay: %v", got)
	}
	if len(m.holds.due) != 0 {
		t.Errorf("%d holds are left", len(m.holds.due))
	}
}

// TestHoldLimits fills an account with holds, and lists them in pages.
func TestHoldLimits(t *testing.T) {
	m := holdsMachine(t)
	for n := range uint64(MaxBalanceHolds) {
		if got := holdAt(m, int64(n), hold(10+n, 1, 50)); got.Code() != Held {
			t.Fatalf("hold %d: %v", n, got.Code())
		}
	}
	if got := holdAt(m, MaxBalanceHolds, hold(9, 1, 50)); got != Result(LimitReached) {
		t.Errorf("one more: got %v", got.Code())
	}
	seen := map[TransactionID]bool{}
	q := query{Subject: aboutHolds, Name: DefaultTenant, Accounts: []AccountID{"alice"}, Limit: MaxHoldsListed + 1}
	for more := true; more; {
		f := m.query(&q)
		if len(f.Holds) == 0 || len(f.Holds) > MaxHoldsListed || !slices.IsSortedFunc(f.Holds, func(a, b Hold) int { return int(a.PlacedAt - b.PlacedAt) }) {
			t.Fatalf("a page of %d", len(f.Holds))
		}
		for _, h := range f.Holds {
			seen[h.ID] = true
		}
		q.After, more = cursorOf(&f.Holds[len(f.Holds)-1]), f.More
	}
	if len(seen) != MaxBalanceHolds {
		t.Errorf("%d of %d holds were listed", len(seen), MaxBalanceHolds)
	}
	if got := holdAt(m, ms(50), hold(9, 1, 60)); got.Code() != Held {
		t.Errorf("one more when the others have expired: got %v", got.Code())
	}
}

// TestLimitKeepsHolds changes the smallest balance of an account with a hold.
func TestLimitKeepsHolds(t *testing.T) {
	m := holdsMachine(t)
	holdAt(m, 1, hold(10, 1000, 50))
	limit := func(smallest money.Amount) Code {
		return do(t, m, KindSetLimit, AppendAccount(nil, &NewAccount{"alice", usd, smallest}))
	}
	for _, tt := range []struct {
		smallest, most money.Amount // that can be paid
		want           Code
	}{
		{500, 3500, Applied},
		{-200, 4200, Applied},
		{math.MaxInt64 - 1000, 0, Applied},
		{math.MaxInt64 - 999, 0, Overflow},
		{Unlimited, 9000, Applied},
		{0, 4000, Applied},
	} {
		if got := limit(tt.smallest); got != tt.want {
			t.Errorf("limit %d: got %v, want %v", tt.smallest, got, tt.want)
			continue
		}
		b := balanceNow(t, m, "alice")
		if tt.want == Applied && b.Min != tt.smallest || b.Held != 1000 {
			t.Errorf("limit %d: %+v", tt.smallest, b)
		}
		row := m.accounts.at(1)
		if got := affordable(&row.funds, row.amount-tt.most-1); tt.most < 9000 && got != InsufficientFunds {
			t.Errorf("limit %d: pay %d: %v", tt.smallest, tt.most+1, got)
		}
		if got := affordable(&row.funds, row.amount-tt.most); tt.most > 0 && got != Applied {
			t.Errorf("limit %d: pay %d: %v", tt.smallest, tt.most, got)
		}
	}
	if got := holdAt(m, 9, capture(20, 10, "bob", 1000)); got.Code() != Applied {
		t.Errorf("capture: %v", got.Code())
	}
}

// TestClosingAnAccountWithHolds needs them to be released first.
func TestClosingAnAccountWithHolds(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "alice", usd, -100)
	holdAt(m, 1, hold(10, 100, 50))
	if got := do(t, m, KindSetStatus, AppendStatus(nil, "alice", Closed)); got != HoldsOpen {
		t.Errorf("close: got %v", got)
	}
	do(t, m, KindSetStatus, AppendStatus(nil, "alice", Frozen))
	if got := holdAt(m, 8, (&Release{ID: txid(20), Hold: txid(10), Account: "alice", Currency: usd}).command()); got.Code() != Applied {
		t.Errorf("release of a frozen account: %v", got.Code())
	}
	if got := do(t, m, KindSetStatus, AppendStatus(nil, "alice", Closed)); got != Applied {
		t.Errorf("close: got %v", got)
	}
}

// TestDailyLimit pays around the change of a day.
func TestDailyLimit(t *testing.T) {
	m := holdsMachine(t)
	const midnight = 3 * dayNanos
	set := func(now int64, l DailyLimit) {
		t.Helper()
		if got := Code(m.Apply(nil, rsm.Batch{Time: now, Data: appendDaily(AppendHeader(nil, Header{Kind: KindSetDailyLimits, Count: 1}), "alice", usd, l)})[0]); got != Applied {
			t.Fatalf("set a limit: %v", got)
		}
	}
	set(midnight-10, DailyLimit{Amount: 100, Count: 3})
	for i, tt := range []struct {
		now    int64
		amount money.Amount
		want   Code
	}{
		{midnight - 9, 60, Applied},
		{midnight - 8, 41, DailyLimitExceeded},
		{midnight - 7, 40, Applied},
		{midnight - 1, 1, DailyLimitExceeded},
		{midnight, 100, Applied},
		{midnight + dayNanos, 1, Applied},
		{midnight + dayNanos, 1, Applied},
		{midnight + dayNanos, 1, Applied},
		{midnight + dayNanos, 1, DailyLimitExceeded},
	} {
		if got := payAt(m, tt.now, Transfer{txid(uint64(10 + i)), "alice", "bob", tt.amount, usd}); got != tt.want {
			t.Errorf("payment %d of %d: got %v, want %v", i, tt.amount, got, tt.want)
		}
	}
	if got := payAt(m, midnight+dayNanos, Transfer{txid(30), "bob", "alice", 5, usd}); got != Applied {
		t.Errorf("to alice: %v", got)
	}
	set(midnight+dayNanos+1, DailyLimit{Amount: 100})
	now := int64(midnight + dayNanos + 2)
	if got := holdAt(m, now, hold(40, 97, 86_400_000*5)); got.Code() != Held {
		t.Errorf("hold: %v", got.Code())
	}
	if got := payAt(m, now, Transfer{txid(41), "alice", "bob", 1, usd}); got != DailyLimitExceeded {
		t.Errorf("with a hold: got %v", got)
	}
	if got := holdAt(m, now, capture(42, 40, "bob", 50)); got.Code() != Applied {
		t.Errorf("capture: %v", got.Code())
	}
	holdAt(m, now, (&Release{ID: txid(43), Hold: txid(40), Account: "alice", Currency: usd}).command())
	if diff := cmp.Diff(Daily{DailyLimit{Amount: 100}, 53, 4}, balanceNow(t, m, "alice").Daily); diff != "" {
		t.Errorf("after the release (-want +got):\n%s", diff)
	}
	set(now+1, DailyLimit{})
	if got := payAt(m, now+1, Transfer{txid(44), "alice", "bob", 1000, usd}); got != Applied {
		t.Errorf("without a limit: %v", got)
	}
}

// TestDueOrder ends holds in the order of their expiry, whatever is done to them.
func TestDueOrder(t *testing.T) {
	m := holdsMachine(t)
	state := uint64(1)
	draw := func(n uint64) uint64 {
		state = mix(state^hash2, hash3)
		return state % n
	}
	for n := range uint64(500) {
		holdAt(m, 1, hold(10+n, 1, Millis(10+draw(50))))
		switch draw(3) {
		case 0:
			holdAt(m, 1, (&Extend{ID: txid(10_000 + n), Hold: txid(10 + draw(n+1)), Account: "alice", Expires: Millis(10 + draw(50))}).command())
		case 1:
			holdAt(m, 1, (&Release{ID: txid(10_000 + n), Hold: txid(10 + draw(n+1)), Account: "alice", Currency: usd}).command())
		}
	}
	for at := Millis(10); at <= 60; at++ {
		m.Apply(nil, rsm.Batch{Time: ms(at), Data: appendExpire(AppendHeader(nil, Header{Kind: KindExpire, Count: 1}), at)})
		if err := m.auditHolds(); err != nil {
			t.Fatal(err)
		}
		for i := range m.holds.rows.len {
			if h := m.holds.rows.at(i); h.state == holdOpen && h.expires <= at {
				t.Fatalf("at %d a hold until %d is open", at, h.expires)
			}
		}
	}
	if n := m.holds.rows.used(); n != 0 {
		t.Errorf("%d holds are left", n)
	}
}

// TestRowSizes holds the rows to what is said of them.
func TestRowSizes(t *testing.T) {
	for name, tt := range map[string]struct{ got, want uintptr }{
		"account": {unsafe.Sizeof(account{}), 64},
		"flight":  {unsafe.Sizeof(flight{}), 56},
		"hold":    {unsafe.Sizeof(holdRow{}), 168},
		"limit":   {unsafe.Sizeof(spendRow{}), 64},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d bytes, want %d", name, tt.got, tt.want)
		}
	}
}

// TestCaptureComesBack refuses captures under way: the money is held again, unless the
// hold was finished meanwhile.
func TestCaptureComesBack(t *testing.T) {
	c := busyHolds(t)
	for n := range uint64(3) {
		f := c.p.crossing.peers[1].out.at(n + 1)
		batch := appendAnswers(AppendHeader(nil, Header{Kind: KindPhases, Count: 1}), 0, 1)
		got := Code(c.p.Apply(nil, rsm.Batch{Time: ms(30), Data: appendAnswer(batch, answer{f.phase.due(), AccountFrozen, n + 1})})[0])
		if got != Applied {
			t.Fatalf("answer %d: %v", n, got)
		}
		checkInvariant(t, c.p)
	}
	b := c.p.account(c.p.base + 1).Balances[0]
	if b.Held != 100 || b.Daily.Spent != 100 || b.Daily.SpentCount != 2 {
		t.Errorf("the payer has %+v", b)
	}
	if n := c.p.holds.rows.used(); n != 2 {
		t.Errorf("%d holds are left, want 2", n)
	}
}

// BenchmarkHold places holds and captures them in two parts.
func BenchmarkHold(b *testing.B) {
	const accounts = 100_000
	m := NewMachine(nil)
	openMany(b, m, accounts)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		id := func(k int) TransactionID { return txid(uint64(4*n + k + 1)) }
		from, to := AccountID(fmt.Sprintf("acct-%d", 1+n%accounts)), AccountID(fmt.Sprintf("acct-%d", 1+(n+1)%accounts))
		h := (&NewHold{ID: id(0), Account: from, Amount: 10, Currency: usd, Expires: 1000}).command()
		one := (&Capture{Transfer: Transfer{id(1), from, to, 4, usd}, Hold: id(0)}).command()
		two := (&Capture{Transfer: Transfer{id(2), from, to, 5, usd}, Hold: id(0), Final: true}).command()
		data := AppendHeader(nil, Header{Kind: KindHolds, Count: 3})
		for _, c := range []*holdCommand{&h, &one, &two} {
			data = appendHold(data, c)
		}
		if out := m.Apply(nil, rsm.Batch{Time: 1, Data: data}); Code(out[0]) != Held || Code(out[2]) != Applied {
			b.Fatal(out)
		}
	}
}
