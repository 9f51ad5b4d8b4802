package wallet

import (
	"cmp"

	"maru.example/money"
)

// holdTable has the open holds, and those that are finished but for captures under
// way. The rows are all that there is to know; the rest follows from them.
type holdTable struct {
	rows  pool[holdRow]
	index map[holdKey]uint32     // the rows of open holds
	due   []uint32               // the same, a heap by expiry
	place []uint32               // of each row in due
	sums  map[balanceRef]holdSum // by balance
	now   int64                  // the machine's time
}

// holdRow is a hold. 168 bytes.
type holdRow struct {
	holdKey
	account  uint32 // row
	balance  balanceRef
	amount   money.Amount // as it was placed
	left     money.Amount // held now
	captured money.Amount
	flying   money.Amount // captures under way to other partitions
	placed   int64
	expires  Millis
	next     uint32 // 1 + row of the next and the one before of the same balance; 0: none
	before   uint32
	currency money.Currency
	state    holdState
	payeeLen uint8
	payee    [MaxAccountIDBytes]byte
}

// holdState is part of the snapshot's format.
type holdState uint8

const (
	holdFree     holdState = iota // the row is not used
	holdOpen                      // it holds what is left
	holdFinished                  // it holds nothing; captures are under way
	endHoldState
)

type holdKey struct {
	key    key
	tenant uint16
}

func (k holdKey) compare(l holdKey) int {
	return cmp.Or(cmp.Compare(k.tenant, l.tenant), cmp.Compare(k.key.a, l.key.a), cmp.Compare(k.key.b, l.key.b))
}

// balanceRef is a balance: twice its row, and 1 more for one of the table of balances.
type balanceRef uint64

func (b held) ref() balanceRef {
	ref := balanceRef(b.row) << 1
	if b.extra {
		ref |= 1
	}
	return ref
}

// balanceAt is the reverse of ref.
func (m *Machine) balanceAt(r balanceRef) held {
	row := uint64(r >> 1)
	if r&1 != 0 {
		return held{&m.balances.at(row).funds, row, true}
	}
	return held{&m.accounts.at(row).funds, row, false}
}

// holdSum is what the holds of a balance add up to.
type holdSum struct {
	held   money.Amount // of those that are open
	flying money.Amount // may become held again
	first  uint32       // 1 + row of the newest open one
	count  uint32       // open ones
}

func newHoldTable() holdTable {
	return holdTable{index: make(map[holdKey]uint32), sums: make(map[balanceRef]holdSum)}
}

// setSum notes what the holds of a balance add up to.
func (t *holdTable) setSum(r balanceRef, s holdSum) {
	if s == (holdSum{}) {
		delete(t.sums, r)
		return
	}
	t.sums[r] = s
}

// enter puts an open hold's row into the index, the heap and the list of its balance.
func (t *holdTable) enter(i uint32) {
	h := t.rows.at(uint64(i))
	t.index[h.holdKey] = i
	s := t.sums[h.balance]
	h.next, h.before = s.first, 0
	if s.first != 0 {
		t.rows.at(uint64(s.first - 1)).before = i + 1
	}
	s.first = i + 1
	s.count++
	t.sums[h.balance] = s
	for len(t.place) <= int(i) {
		t.place = append(t.place, 0)
	}
	t.due = append(t.due, i)
	t.up(len(t.due) - 1)
}

// leave is the reverse of enter. Next and before need no copy for a snapshot, which
// does not have them.
func (t *holdTable) leave(i uint32) {
	h := t.rows.at(uint64(i))
	delete(t.index, h.holdKey)
	s := t.sums[h.balance]
	if h.next != 0 {
		t.rows.at(uint64(h.next - 1)).before = h.before
	}
	if h.before != 0 {
		t.rows.at(uint64(h.before - 1)).next = h.next
	} else {
		s.first = h.next
	}
	s.count--
	t.setSum(h.balance, s)
	at, last := int(t.place[i]), len(t.due)-1
	moved := t.due[last]
	t.due = t.due[:last]
	if at < last {
		t.put(at, moved)
		t.move(at)
	}
}

// put writes a row's place in the heap down.
func (t *holdTable) put(at int, i uint32) { t.due[at], t.place[i] = i, uint32(at) }

// earlier is the order of the heap, in which no two holds are the same: it is part of
// the rules, as it says which holds a batch ends if it cannot end all.
func (t *holdTable) earlier(a, b uint32) bool {
	x, y := t.rows.at(uint64(a)), t.rows.at(uint64(b))
	if x.expires != y.expires {
		return x.expires < y.expires
	}
	return x.compare(y.holdKey) < 0
}

// move brings the hold at a place of the heap to where it belongs.
func (t *holdTable) move(at int) {
	i := t.due[at]
	t.up(at)
	at = int(t.place[i])
	for {
		child := 2*at + 1
		if child >= len(t.due) {
			return
		}
		if child+1 < len(t.due) && t.earlier(t.due[child+1], t.due[child]) {
			child++
		}
		if !t.earlier(t.due[child], i) {
			return
		}
		t.put(at, t.due[child])
		t.put(child, i)
		at = child
	}
}

func (t *holdTable) up(at int) {
	i := t.due[at]
	for at > 0 {
		parent := (at - 1) / 2
		if !t.earlier(i, t.due[parent]) {
			break
		}
		t.put(at, t.due[parent])
		at = parent
	}
	t.put(at, i)
}

// overdue says that there are open holds that have expired.
func (t *holdTable) overdue() bool {
	return len(t.due) > 0 && t.rows.at(uint64(t.due[0])).expires.reached(t.now)
}

// sum returns what the holds of a balance add up to without those that are overdue.
func (t *holdTable) sum(r balanceRef) holdSum {
	s := t.sums[r]
	if !t.overdue() {
		return s
	}
	for i := s.first; i != 0; {
		h := t.rows.at(uint64(i - 1))
		if h.expires.reached(t.now) {
			s.held -= h.left
			s.count--
		}
		i = h.next
	}
	return s
}

// bytes is the memory that the table takes, about.
func (t *holdTable) bytes() uint64 {
	const indexed, summed = 56, 64 // of a map, with what it leaves free
	return uint64(len(t.rows.chunks))*chunkRows*168 + uint64(cap(t.due)+cap(t.place)+cap(t.rows.free))*4 +
		uint64(len(t.index))*indexed + uint64(len(t.sums))*summed
}
