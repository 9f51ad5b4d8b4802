package simcluster

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"maru.example/internal/sim"
	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// pace is how long a teller rests at the most.
const pace = 40 * time.Millisecond

// largest is the most transfers that a teller makes at once.
const largest = 12

// Errors of clients.
var (
	errRefused = errors.New("simcluster: connection refused")
	errReset   = errors.New("simcluster: connection reset")
	errLost    = errors.New("simcluster: the answer was lost")
)

// expectable are the errors that a client may meet while things go wrong.
var expectable = []error{
	context.DeadlineExceeded, errLost, errReset, rsm.ErrBusy, rsm.ErrClosed, rsm.ErrDiskFull, rsm.ErrFailed, rsm.ErrNoLeader, rsm.ErrUnknown,
}

// teller is a client: it does one thing after the other, each on any node.
type teller struct {
	*bank
	r    *sim.Routine
	made []*transfer
}

// work works until nothing goes wrong any more.
func (t *teller) work() {
	w := t.w
	for !w.calm {
		t.r.Sleep(w.Between(0, pace))
		switch what := w.Rand.IntN(100); {
		case what < 70:
			if w.Chance(0.2) {
				t.make([]*transfer{t.drawTransaction()})
			} else {
				t.make(t.draw())
			}
		case what < 80:
			t.reserve()
		case what < 90:
			t.setStatus()
		case what < 96:
			if len(t.made) > 0 {
				t.ask(t.made[w.Rand.IntN(len(t.made))])
			}
		case what < 98:
			t.addUp()
		default:
			t.list()
		}
	}
}

// watch reads accounts until nothing goes wrong any more, most often those whose
// balance changes most.
func (t *teller) watch() {
	w := t.w
	for !w.calm {
		t.r.Sleep(w.Between(0, pace))
		a := t.accounts[w.Rand.IntN(len(t.accounts))]
		for a.role != source && w.Chance(0.5) {
			a = t.accounts[w.Rand.IntN(len(t.accounts))]
		}
		if w.Chance(0.3) {
			t.readStale(a)
		} else {
			t.balance(a)
		}
	}
}

// make makes transfers, and does not always insist on answers.
func (t *teller) make(batch []*transfer) {
	t.transfers, t.made = append(t.transfers, batch...), append(t.made, batch...)
	for !t.try(batch) {
		if t.w.calm || t.w.Chance(0.1) {
			return
		}
		t.r.Sleep(t.w.Between(0, 5*pace))
	}
}

// draw returns new transfers of one tenant, which are made in one way.
func (t *teller) draw() []*transfer {
	w := t.w
	batch := make([]*transfer, 1)
	if w.Chance(0.2) {
		batch = make([]*transfer, 1+w.Rand.IntN(largest))
	}
	byHandle, protocol, tenant := w.Chance(0.5), w.protocol(), t.tenants[w.Rand.IntN(len(t.tenants))]
	if !byHandle && w.Chance(0.2) {
		protocol = []wallet.Protocol{wallet.TCC, wallet.Saga, wallet.TwoPhase}[w.Rand.IntN(3)]
	}
	pick := func(fits func(*account) bool) *account {
		for {
			if a := t.accounts[w.Rand.IntN(len(t.accounts))]; a.tenant == tenant && fits(a) {
				return a
			}
		}
	}
	for i := range batch {
		tr := &transfer{
			number: uint64(len(t.transfers) + 1 + i), amount: money.Amount(1 + w.Rand.IntN(100)),
			byHandle: byHandle, protocol: protocol, called: w.Now(),
		}
		tr.from = pick(func(a *account) bool { return a.role.pays() })
		tr.to = pick(func(a *account) bool {
			return a.role.isPaid() && a != tr.from && (!a.role.freezes() || !tr.from.role.freezes())
		})
		batch[i] = tr
	}
	return batch
}

// try makes transfers once, and says whether all have answers.
func (t *teller) try(batch []*transfer) bool {
	var results []wallet.Result
	if err := t.call(func(ctx context.Context, n *node) (err error) {
		results, err = n.transfers(ctx, batch)
		return err
	}); err != nil {
		for _, tr := range batch {
			tr.maybe = tr.maybe || !nothingDone(err)
		}
		return false
	}
	all := true
	for _, tr := range batch {
		tr.maybe = true
	}
	for i, tr := range batch {
		all = t.answer(tr, results[i]) && all
	}
	return all
}

// nothingDone says that an error promises that.
func nothingDone(err error) bool {
	for _, e := range []error{rsm.ErrUnknown, rsm.ErrFailed} {
		if errors.Is(err, e) {
			return false
		}
	}
	for _, e := range []error{errRefused, rsm.ErrNoLeader, rsm.ErrBusy, rsm.ErrDiskFull, rsm.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// transfers makes transfers on a node, as HTTP or the stream does.
func (n *node) transfers(ctx context.Context, batch []*transfer) (results []wallet.Result, err error) {
	tenant, protocol := batch[0].from.tenant, batch[0].protocol
	if batch[0].legs != nil {
		result, err := n.wallet.TransactBy(ctx, tenant, protocol, batch[0].transaction())
		return []wallet.Result{result}, err
	}
	if batch[0].byHandle {
		number, ok, err := n.wallet.Tenant(ctx, tenant)
		if err != nil || !ok {
			return nil, cmp.Or(err, errLost)
		}
		data := wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindTransfers, Tenant: number, Count: len(batch)})
		for _, tr := range batch {
			data = wallet.AppendHandleTransfer(data, &wallet.HandleTransfer{ID: tr.id(), From: tr.from.handle, To: tr.to.handle, Amount: tr.amount, Currency: usd})
		}
		answers, err := n.submit(ctx, data)
		for _, answer := range answers {
			results = append(results, wallet.Result(answer))
		}
		return results, err
	}
	if tr := batch[0]; tr.hold != nil {
		t := wallet.Transfer{ID: tr.id(), From: tr.from.id, To: tr.to.id, Amount: tr.amount, Currency: usd}
		result, err := n.wallet.Capture(ctx, tenant, wallet.Capture{Transfer: t, Hold: tr.hold.id(), Final: tr.final})
		return []wallet.Result{result}, err
	}
	all := make([]wallet.Transfer, len(batch))
	for i, tr := range batch {
		all[i] = wallet.Transfer{ID: tr.id(), From: tr.from.id, To: tr.to.id, Amount: tr.amount, Currency: usd}
	}
	if len(all) > 1 {
		return n.wallet.TransfersBy(ctx, tenant, protocol, all)
	}
	result, err := n.wallet.TransferBy(ctx, tenant, protocol, all[0])
	return []wallet.Result{result}, err
}

// submit commits a batch on a node, as the stream does.
func (n *node) submit(ctx context.Context, data []byte) (result []byte, err error) {
	err = n.wait(ctx, func(end func(error)) {
		if refused := n.wallet.Submit(ctx, &rsm.Proposal{Data: data, Done: func(answer []byte, _ rsm.Position, failed error) {
			result = slices.Clone(answer)
			end(failed)
		}}); refused != nil {
			end(refused)
		}
	})
	return result, err
}

// answer takes an answer to a transfer, and says whether it stays. It is the one
// that was given before, if there is one.
func (t *teller) answer(tr *transfer, result wallet.Result) bool {
	code := result.Code()
	switch {
	case known(tr.code) && (code != tr.code || !result.Repeated()):
		t.w.failf("transfer %d was %v, and is %v (repeated: %v) when it is made again", tr.number, tr.code, code, result.Repeated())
	case code == wallet.AccountLocked && !result.Repeated(), code == wallet.TooManyInFlight:
		return false // nothing was done, nor remembered; or it was, as making it again will tell
	case code != wallet.Pending:
		t.decided(tr, code)
	}
	return known(tr.code)
}

// decided notes what was decided on a transfer. It does not change.
func (t *teller) decided(tr *transfer, code wallet.Code) {
	switch {
	case tr.code == code:
	case known(tr.code), !known(code), !slices.Contains(t.expected(tr), code):
		t.w.failf("transfer %d from %s to %s by %v was %v, and is %v", tr.number, tr.from.role, tr.to.role, tr.protocol, tr.code, code)
	default:
		tr.code = code
		t.note(tr)
	}
}

// expected returns the codes that a transfer may end with.
func (t *teller) expected(tr *transfer) []wallet.Code {
	if tr.legs != nil {
		return tr.expected()
	}
	codes := []wallet.Code{wallet.Applied}
	if tr.to.role == gone {
		codes[0] = wallet.AccountClosed
	}
	if tr.hold != nil {
		codes = append(codes, refusals(tr.placed)...)
	}
	if tr.from.role == customer {
		codes = append(codes, wallet.InsufficientFunds)
	}
	if tr.from.role.freezes() || tr.to.role.freezes() {
		codes = append(codes, wallet.AccountFrozen)
	}
	if tr.crosses() && tr.protocol != wallet.Saga {
		codes = append(codes, wallet.Canceled)
	}
	if tr.crosses() {
		codes = append(codes, wallet.AccountLocked)
	}
	return codes
}

// ask asks what was decided on a transfer, or makes it again.
func (t *teller) ask(tr *transfer) bool {
	if t.w.Chance(0.5) {
		return t.try([]*transfer{tr})
	}
	code, err := t.decision(tr)
	if err == nil && (code != wallet.Undecided || known(tr.code)) && code != wallet.Pending {
		t.decided(tr, code)
	}
	return err == nil && known(tr.code)
}

// decision asks what was decided on a transfer.
func (t *teller) decision(tr *transfer) (code wallet.Code, err error) {
	err = t.call(func(ctx context.Context, n *node) (err error) {
		code, err = n.wallet.Decision(ctx, tr.from.tenant, tr.id())
		return err
	})
	return code, err
}

// setStatus freezes or unfreezes an account.
func (t *teller) setStatus() {
	a := t.accounts[t.w.Rand.IntN(len(t.accounts))]
	if !a.role.freezes() {
		return
	}
	to := []wallet.Status{wallet.Open, wallet.Open, wallet.Frozen}[t.w.Rand.IntN(3)]
	var code wallet.Code
	err := t.call(func(ctx context.Context, n *node) (err error) {
		code, err = n.wallet.SetStatus(ctx, a.tenant, a.id, to)
		return err
	})
	if err == nil && code != wallet.Applied {
		t.w.failf("account %s: its status is not set to %v: %v", a.id, to, code)
	}
}

// balance reads the balance of an account: it is one that it had since the read began.
func (t *teller) balance(a *account) (money.Amount, bool) {
	called := t.w.Now()
	var got wallet.Account
	err := t.call(func(ctx context.Context, n *node) (err error) {
		var code wallet.Code
		got, code, err = n.wallet.Account(ctx, a.tenant, a.id)
		return answered(code, err)
	})
	if err != nil {
		return 0, false
	}
	t.reads++
	amount, now := got.Balances[0].Amount, t.w.Now()
	a.history.add(saw, amount, called, now)
	if !a.history.was(amount, called, now) {
		t.w.failf("account %s was read since %v and had %d, which it had not: %v", a.id, called, amount, a.history.last())
	}
	return amount, true
}

// readStale reads an account as a node knows it: it has a balance that it had no
// longer ago than the answer says.
func (t *teller) readStale(a *account) {
	var got wallet.Account
	var at time.Duration
	err := t.call(func(ctx context.Context, n *node) error {
		account, code, age, err := n.wallet.AccountStale(ctx, a.tenant, a.id)
		got, at = account, t.w.Now()-age
		if code == wallet.UnknownAccount {
			return errLost // as it was before it was opened
		}
		return answered(code, err)
	})
	if err != nil {
		return
	}
	t.reads++
	if now := t.w.Now(); !a.history.was(got.Balances[0].Amount, at-slack, now) {
		t.w.failf("account %s is said to be as at %v or later, with %d, which it had not: %v", a.id, at, got.Balances[0].Amount, a.history.last())
	}
}

// slack is how long the way of an answer from one loop to another takes, while which
// a state gets older than was said.
const slack = time.Millisecond

// answered returns an error unless there is one already, or the code is Applied.
func answered(code wallet.Code, err error) error {
	if err == nil && code != wallet.Applied {
		panic(failure{fmt.Errorf("an account is %v", code)})
	}
	return err
}

// addUp adds up all balances and what is in flight.
func (t *teller) addUp() {
	tenant := t.tenants[t.w.Rand.IntN(len(t.tenants))]
	var totals []wallet.Total
	err := t.call(func(ctx context.Context, n *node) (err error) {
		totals, _, err = n.wallet.Totals(ctx, tenant)
		return err
	})
	for _, total := range totals {
		if err == nil && !total.Zero() {
			t.w.failf("all balances are %v, and %v is in flight", total.Sum, total.InFlight)
		}
	}
}

// list lists what is in flight.
func (t *teller) list() {
	tenant := t.tenants[t.w.Rand.IntN(len(t.tenants))]
	_ = t.call(func(ctx context.Context, n *node) error {
		list, err := n.wallet.InFlight(ctx, tenant, 10)
		for _, f := range list.Transfers {
			if number := binary.BigEndian.Uint64(f.ID[8:]); number == 0 || number > uint64(len(t.transfers)) || f.Legs == 0 && t.transfers[number-1].amount != f.Amount {
				t.w.failf("in flight is %+v, which nobody made", f)
			}
		}
		return err
	})
}

// call lets a node do something for a client. What it does not do in time, or does
// not live to say, has an unknown outcome.
func (t *teller) call(f func(ctx context.Context, n *node) error) error {
	w := t.w
	n := w.nodes[w.Rand.IntN(len(w.nodes))]
	for n.lost {
		n = w.nodes[w.Rand.IntN(len(w.nodes))]
	}
	t.r.Sleep(w.Between(0, time.Millisecond))
	if n.ended() {
		return errRefused
	}
	within := w.Between(0, []time.Duration{time.Second, 4 * time.Second, 12 * time.Second}[w.Rand.IntN(3)])
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), deadline{}, w.Now()+within))
	defer cancel()
	if err := n.wait(ctx, func(end func(error)) { n.Process.Run(func() { end(nil) }) }); err != nil {
		return err
	}
	if err := f(ctx, n); err != nil {
		if !slices.ContainsFunc(expectable, func(e error) bool { return errors.Is(err, e) }) {
			w.failf("a client of node %d is told: %w", n.ID, err)
		}
		return err
	}
	if w.Chance(0.02) {
		return errLost
	}
	t.r.Sleep(w.Between(0, time.Millisecond))
	return nil
}

// deadline is the key of a context's value: when a client gives up.
type deadline struct{}

// wait waits until end is called, the client gives up, or the process dies.
func (n *node) wait(ctx context.Context, start func(end func(error))) error {
	within := ctx.Value(deadline{}).(time.Duration) - n.w.Now()
	return n.w.Running().Wait(within, func(end func(error)) {
		n.Process.AtEnd(func() { end(errReset) })
		start(end)
	})
}

// await implements wallet.ServiceOptions.Await.
func (n *node) await(ctx context.Context, start func(done func())) error {
	return n.wait(ctx, func(end func(error)) { start(func() { end(nil) }) })
}
