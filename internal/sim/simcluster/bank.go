package simcluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"maru.example/internal/sim"
	"maru.example/money"
	"maru.example/wallet"
)

// usd is the currency of all accounts.
var usd = money.MustParseCurrency("USD")

// How many clients there are.
const (
	tellers = 6
	readers = 3 // that only read
)

// role says what an account is for: refusals then say by themselves which side
// refused.
type role int

const (
	source   role = iota // pays and is paid, without limit
	customer             // pays and is paid, and has no more than it has
	payer                // pays without limit, and is frozen at times
	payee                // is paid, and is frozen at times
	gone                 // is closed
	holder               // pays out of holds only, without limit, and is paid
	roles
)

func (r role) pays() bool    { return r != payee && r != gone && r != holder }
func (r role) isPaid() bool  { return r != payer }
func (r role) freezes() bool { return r == payer || r == payee }
func (r role) limited() bool { return r == customer || r == payee || r == gone }
func (r role) String() string {
	return [roles]string{"source", "customer", "payer", "payee", "gone", "holder"}[r]
}

// account is one of the bank's.
type account struct {
	tenant    wallet.Tenant
	id        wallet.AccountID
	role      role
	partition uint16
	handle    wallet.Handle
	history   history
}

func (a *account) min() money.Amount {
	if a.role.limited() {
		return 0
	}
	return wallet.Unlimited
}

// transfer is one that a teller makes, perhaps several times; or a transaction.
type transfer struct {
	number   uint64
	maybe    bool     // some try may have had an effect
	from, to *account // of a transaction the accounts of its first legs
	amount   money.Amount
	legs     []leg     // of a transaction
	reverses *transfer // what a transaction takes back
	byHandle bool
	protocol wallet.Protocol
	called   moment
	code     wallet.Code // Undecided as long as it is not known
	never    bool        // the wallet has never heard of it
	hold     *hold       // that it is paid out of; nil: it is no capture
	placed   bool        // the hold was, for certain, before the transfer was made
	final    bool        // of a capture: what is left then is released
}

func (t *transfer) id() (id wallet.TransactionID) {
	binary.BigEndian.PutUint64(id[8:], t.number)
	return id
}

// known says that a code is an answer that stays.
func known(c wallet.Code) bool { return c != wallet.Undecided && c != wallet.Pending }

// accountKey names an account.
type accountKey struct {
	tenant wallet.Tenant
	id     wallet.AccountID
}

// bank is the accounts, and the clients that work with them.
type bank struct {
	w         *world
	accounts  []*account
	tenants   []wallet.Tenant
	byID      map[accountKey]*account
	transfers []*transfer
	holds     []*hold
	changes   uint64 // of holds
	working   int    // clients
	reads     int
	unproven  int
}

func newBank(w *world) *bank {
	b := &bank{w: w, tenants: []wallet.Tenant{wallet.DefaultTenant, "acme"}[:1+w.Rand.IntN(2)], byID: map[accountKey]*account{}}
	want := [roles]int{source: 1, customer: 3 - len(b.tenants), payer: 1, payee: 1, holder: 1}
	for _, tenant := range b.tenants {
		b.add(tenant, "closed", gone)
		for p := range uint16(w.partitions) {
			i := 0
			for r, count := range want {
				for range count {
					for wallet.PartitionOf(tenant, accountID(i), uint16(w.partitions)) != p {
						i++
					}
					b.add(tenant, accountID(i), role(r))
					i++
				}
			}
		}
	}
	return b
}

func accountID(i int) wallet.AccountID { return wallet.AccountID(fmt.Sprintf("account-%d", i)) }

func (b *bank) add(tenant wallet.Tenant, id wallet.AccountID, r role) {
	a := &account{tenant: tenant, id: id, role: r, partition: wallet.PartitionOf(tenant, id, uint16(b.w.partitions))}
	b.accounts = append(b.accounts, a)
	b.byID[accountKey{tenant, id}] = a
}

// held notes what an account has.
func (b *bank) held(tenant wallet.Tenant, id wallet.AccountID, amount money.Amount) {
	h := &b.byID[accountKey{tenant, id}].history
	if n := len(h.versions); n == 0 || h.versions[n-1].amount != amount {
		h.versions = append(h.versions, version{b.w.Now(), amount})
	}
}

// open makes the tenants and opens the accounts.
func (b *bank) open() {
	made, open := 0, 0
	b.w.Go(func(r *sim.Routine) {
		t := &teller{bank: b, r: r}
		for made < len(b.tenants) {
			err := t.call(func(ctx context.Context, n *node) error {
				code, err := n.wallet.CreateTenant(ctx, b.tenants[made])
				return answered(code, err)
			})
			if err == nil {
				made++
			}
		}
	})
	b.w.until("tenants", func() bool { return made == len(b.tenants) })
	for _, a := range b.accounts {
		b.w.Go(func(r *sim.Routine) {
			t := &teller{bank: b, r: r}
			for !t.open(a) {
				r.Sleep(pace)
			}
			open++
		})
	}
	b.w.until("all accounts are open", func() bool { return open == len(b.accounts) })
}

// open opens an account, or closes it if it is to be.
func (t *teller) open(a *account) bool {
	if a.handle != 0 && a.role != gone {
		return true // the answer was lost
	}
	err := t.call(func(ctx context.Context, n *node) error {
		if a.handle == 0 {
			opened, err := n.wallet.OpenAccount(ctx, a.tenant, wallet.NewAccount{ID: a.id, Currency: usd, Min: a.min()})
			if a.handle = opened.Handle; err != nil || a.role != gone {
				return answered(opened.Code, err)
			}
		}
		code, err := n.wallet.SetStatus(ctx, a.tenant, a.id, wallet.Closed)
		return answered(code, err)
	})
	return err == nil
}

// start lets the clients work.
func (b *bank) start() {
	for i := range tellers + readers {
		b.working++
		b.w.Go(func(r *sim.Routine) {
			t := &teller{bank: b, r: r}
			if i < tellers {
				t.work()
			} else {
				t.watch()
			}
			b.working--
		})
	}
}

// longest is how long what was begun may take to have its effect, when nobody waits
// for it any more.
const longest = 15 * time.Second

// stop finds out what became of the transfers that nobody knows the outcome of:
// some are made again, others are asked for.
func (b *bank) stop() {
	b.working++
	b.w.Go(func(r *sim.Routine) {
		t := &teller{bank: b, r: r}
		for b.working > 1 {
			r.Sleep(pace)
		}
		r.Sleep(longest)
		for _, tr := range b.transfers {
			again := b.w.Chance(0.5) && tr.maybe
			for !known(tr.code) && !tr.never {
				if again {
					t.try([]*transfer{tr})
				} else if code, err := t.decision(tr); err == nil {
					tr.never = code == wallet.Undecided
					if !tr.maybe && !tr.never {
						b.w.failf("transfer %d by %v: each try was answered that nothing was done, and it is %v", tr.number, tr.protocol, code)
					}
					if known(code) {
						t.decided(tr, code)
					}
				}
				r.Sleep(pace)
			}
		}
		b.working--
	})
}

// idle says that no teller works.
func (b *bank) idle() bool { return b.working == 0 }

// check checks that each answer still holds, and that the balances are what the
// transfers make.
func (b *bank) check() {
	b.checkHolds()
	asked := 0
	want, back := map[*account]money.Amount{}, map[*transfer]money.Amount{}
	for _, tr := range b.transfers {
		if tr.code != wallet.Applied {
			continue
		}
		for _, l := range tr.effect() {
			want[l.account] += l.amount
		}
		if tr.reverses != nil {
			back[tr.reverses] += tr.amount
		}
	}
	for _, tr := range b.transfers {
		if back[tr] > tr.amount {
			b.w.failf("of transfer %d over %d, %d was taken back", tr.number, tr.amount, back[tr])
		}
	}
	for i := range tellers {
		b.w.Go(func(r *sim.Routine) {
			t := &teller{bank: b, r: r}
			for n := i; n < len(b.transfers); n += tellers {
				t.insist(b.transfers[n])
			}
			for n := i; n < len(b.accounts); n += tellers {
				a := b.accounts[n]
				has, ok := t.balance(a)
				for !ok {
					r.Sleep(pace)
					has, ok = t.balance(a)
				}
				if has != want[a] {
					b.w.failf("account %s has %d, and the transfers make %d", a.id, has, want[a])
				}
			}
			asked++
		})
	}
	b.w.until("all answers are given again", func() bool { return asked == tellers })
}

// insist asks for the answer to a transfer until it is there: it is the same.
func (t *teller) insist(tr *transfer) {
	for !tr.never && !t.ask(tr) {
		t.r.Sleep(pace)
	}
	for tr.never {
		code, err := t.decision(tr)
		switch {
		case err != nil:
			t.r.Sleep(pace)
		case code != wallet.Undecided:
			t.w.failf("transfer %d was never made, and is %v", tr.number, code)
		default:
			return
		}
	}
}
