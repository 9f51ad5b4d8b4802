package wallet

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"

	"maru.example/money"
)

// modelHold is a hold as it was placed, and what became of it. What it has left is
// found by going through all transfers.
type modelHold struct {
	id       TransactionID
	tenant   uint16
	payer    *modelAccount
	name     AccountID // the payer's
	payee    AccountID
	currency money.Currency
	amount   money.Amount
	released money.Amount
	captured money.Amount
	placed   int64
	expires  Millis
	ended    bool // else its time has come or not
}

// modelLimit is a daily limit since some moment.
type modelLimit struct {
	DailyLimit
	since int64
}

func (n *crossModel) open(h *modelHold) bool {
	return !h.ended && int64(h.expires) > n.now/1_000_000
}

func (n *crossModel) inFlight(h *modelHold) (sum money.Amount) {
	for _, f := range n.flights {
		if f.hold == h && (f.phase == Trying || f.phase == Crediting) {
			sum += f.amount
		}
	}
	return sum
}

func (n *crossModel) left(h *modelHold) money.Amount {
	return h.amount - h.released - h.captured - n.inFlight(h)
}

// end ends a hold that has nothing left, or shall end.
func (n *crossModel) end(h *modelHold, final bool) {
	if n.open(h) && (final || n.left(h) == 0 && n.inFlight(h) == 0) {
		h.ended = true
	}
}

// held is what the open holds of a balance have left.
func (n *crossModel) held(a *modelAccount, c money.Currency) *big.Int {
	sum := new(big.Int)
	for _, h := range n.holds {
		if h.payer == a && h.currency == c && n.open(h) {
			sum.Add(sum, big.NewInt(int64(n.left(h))))
		}
	}
	return sum
}

func (n *crossModel) count(a *modelAccount, c money.Currency) (count int) {
	for _, h := range n.holds {
		if h.payer == a && h.currency == c && n.open(h) {
			count++
		}
	}
	return count
}

// reserved is held, and what may become held again.
func (n *crossModel) reserved(a *modelAccount, c money.Currency) *big.Int {
	sum := n.held(a, c)
	for _, h := range n.holds {
		if h.payer == a && h.currency == c {
			sum.Add(sum, big.NewInt(int64(n.inFlight(h))))
		}
	}
	return sum
}

// spent goes through all that left a balance since it has a limit, and today.
func (n *crossModel) spent(a *modelAccount, b *Balance) (spent *big.Int, count uint32) {
	const day = 24 * 3600 * 1_000_000_000
	spent, limit := new(big.Int), n.limits[b]
	if limit == nil {
		return spent, 0
	}
	counts := func(at int64) bool { return at > limit.since && at/day == n.now/day }
	for _, d := range n.decided {
		if n.account(d.tenant, d.t.From) == a && d.t.Currency == b.Currency && d.what == "" && counts(d.at) && (d.code == Applied || d.code == Pending) {
			spent.Add(spent, big.NewInt(int64(d.t.Amount)))
			count++
		}
	}
	for _, d := range n.debits {
		if d.leg.account == a && d.leg.currency == b.Currency && counts(d.at) && !d.back {
			spent.Add(spent, size(d.leg.amount))
			count++
		}
	}
	for _, h := range n.holds {
		if h.payer != a || h.currency != b.Currency || !counts(h.placed) {
			continue
		}
		if n.open(h) {
			spent.Add(spent, big.NewInt(int64(h.amount-h.released)))
			count++
		} else if used := h.captured + n.inFlight(h); used > 0 {
			spent.Add(spent, big.NewInt(int64(used)))
			count++
		}
	}
	return spent, count
}

func (n *crossModel) withinDay(a *modelAccount, b *Balance, amount money.Amount) bool {
	l := n.limits[b]
	if l == nil {
		return true
	}
	spent, count := n.spent(a, b)
	most := big.NewInt(int64(cmp.Or(l.Amount, math.MaxInt64)))
	return spent.Add(spent, big.NewInt(int64(amount))).Cmp(most) <= 0 && (l.Count == 0 || count < l.Count)
}

// show brings what an account's answers have of holds and limits up to date.
func (n *crossModel) show(a *modelAccount) {
	for i := range a.Balances {
		b := &a.Balances[i]
		b.Held, b.Daily = money.Amount(n.held(a, b.Currency).Int64()), Daily{}
		if l := n.limits[b]; l != nil {
			spent, count := n.spent(a, b)
			b.Daily = Daily{l.DailyLimit, money.Amount(spent.Int64()), count}
		}
	}
}

// holdCommand judges a command for a partition.
func (n *crossModel) holdCommand(at, tenant uint16, k Kind, c *holdCommand) Result {
	key := fmt.Sprint(at, tenant, c.id)
	content := fmt.Sprint("hold", c.action, c.final, c.hold, c.amount, c.currency, c.expires, string(c.from), "/", string(c.to))
	if d := n.decided[key]; d != nil {
		if d.content != content {
			return Result(IDReused)
		}
		return Repeat(d.code)
	}
	home := func(name []byte) uint16 { return PartitionOf(n.tenants[tenant], AccountID(name), n.partitions) }
	if home(c.from) != at || c.action == holdCapture && (home(c.to) != at) != (k == KindCrossCaptures) {
		return Result(WrongPartition)
	}
	d := &modelDecision{content: content, tenant: tenant, what: "hold", at: n.now}
	switch c.action {
	case holdPlace:
		d.code = n.place(tenant, c)
	case holdCapture:
		d.what, d.payee, d.hold = "capture", c.handle, c.hold
		d.t = Transfer{c.id, AccountID(c.from), AccountID(c.to), c.amount, c.currency}
		d.code = n.capture(at, tenant, c, d)
	case holdRelease:
		d.code = n.release(tenant, c)
	case holdExtend:
		d.code = n.extend(tenant, c)
	case noHoldAction, endHoldAction:
	}
	if d.code != AccountLocked {
		n.decided[key] = d
	}
	return Result(d.code)
}

func (n *crossModel) mayExpire(at Millis) bool {
	now := n.now / 1_000_000
	return int64(at) > now && int64(at) <= now+int64(MaxHoldFor)
}

func (n *crossModel) place(tenant uint16, c *holdCommand) Code {
	a := n.account(tenant, AccountID(c.from))
	switch {
	case c.amount <= 0:
		return AmountNotPositive
	case !n.mayExpire(c.expires):
		return ExpiryOutOfRange
	case bytes.Equal(c.from, c.to):
		return SameAccount
	case a == nil:
		return UnknownAccount
	}
	if code := n.barred(a); code != Applied {
		return code
	}
	b := a.hold(c.currency)
	if b == nil {
		return CurrencyNotHeld
	}
	if code := n.debitCode(a, b, c.amount); code != Applied {
		return code
	}
	all := n.reserved(a, c.currency)
	all.Add(all, big.NewInt(int64(c.amount)))
	floor := new(big.Int).Add(all, big.NewInt(int64(b.Min)))
	if !all.IsInt64() || !floor.IsInt64() && b.Min != Unlimited {
		return Overflow
	}
	n.holds = append(n.holds, &modelHold{
		id: c.id, tenant: tenant, payer: a, name: AccountID(c.from), payee: AccountID(c.to), currency: c.currency,
		amount: c.amount, placed: n.now, expires: c.expires,
	})
	return Held
}

func (n *crossModel) find(tenant uint16, c *holdCommand) (*modelHold, Code) {
	i := slices.IndexFunc(n.holds, func(h *modelHold) bool {
		return h.id == c.hold && h.tenant == tenant && h.payer.Partition == PartitionOf(n.tenants[tenant], AccountID(c.from), n.partitions)
	})
	switch {
	case i < 0:
		return nil, UnknownHold
	case !n.open(n.holds[i]):
		return nil, HoldFinished
	case n.holds[i].name != AccountID(c.from), c.currency != 0 && c.currency != n.holds[i].currency:
		return nil, HoldMismatch
	}
	return n.holds[i], Applied
}

func (n *crossModel) capture(at, tenant uint16, c *holdCommand, d *modelDecision) Code {
	switch {
	case c.amount <= 0:
		return AmountNotPositive
	case bytes.Equal(c.from, c.to):
		return SameAccount
	}
	h, code := n.find(tenant, c)
	if code != Applied {
		return code
	}
	cross, payee := c.protocol != NoProtocol, n.account(tenant, AccountID(c.to))
	if h.payee != "" && h.payee != AccountID(c.to) {
		return HoldMismatch
	}
	if !cross && payee == nil || cross && c.handle == 0 {
		return UnknownAccount
	}
	switch {
	case h.payer.Status == Closed, !cross && payee.Status == Closed:
		return AccountClosed
	case h.payer.Status == Frozen, !cross && payee.Status == Frozen:
		return AccountFrozen
	case !cross && n.locked(payee):
		return AccountLocked
	case !cross && payee.hold(h.currency) == nil:
		return CurrencyNotHeld
	case c.amount > n.left(h):
		return HoldExceeded
	}
	debit := h.payer.hold(h.currency)
	pending := n.pending(h.payer, h.currency)
	switch {
	case debit.Amount < math.MinInt64+c.amount:
		return Overflow
	case cross && !pending.Add(pending, big.NewInt(int64(c.amount))).IsInt64():
		return Overflow
	case !cross && !n.room(payee, payee.hold(h.currency), c.amount):
		return Overflow
	}
	debit.Amount -= c.amount
	if !cross {
		payee.hold(h.currency).Amount += c.amount
		h.captured += c.amount
		n.end(h, c.final)
		return Applied
	}
	n.flights = append(n.flights, &modelFlight{
		from: at, to: c.handle.Partition(), seq: n.nextSeq(at, c.handle.Partition()), tenant: tenant, payer: h.payer,
		toHandle: c.handle, amount: c.amount, currency: h.currency, phase: map[Protocol]Phase{TCC: Trying, Saga: Crediting}[c.protocol],
		decision: d, paid: true, hold: h, final: c.final,
	})
	return Pending
}

func (n *crossModel) release(tenant uint16, c *holdCommand) Code {
	if c.amount < 0 {
		return AmountNotPositive
	}
	h, code := n.find(tenant, c)
	switch {
	case code != Applied:
		return code
	case c.amount > n.left(h):
		return HoldExceeded
	case c.amount == 0:
		h.ended = true
		return Applied
	}
	h.released += c.amount
	n.end(h, false)
	return Applied
}

func (n *crossModel) extend(tenant uint16, c *holdCommand) Code {
	h, code := n.find(tenant, c)
	switch {
	case code != Applied:
		return code
	case !n.mayExpire(c.expires):
		return ExpiryOutOfRange
	}
	h.expires = c.expires
	return Applied
}
