package wallet

// Booking is what one transfer, transaction or capture changed in a partition at once.
// One that is between partitions has bookings in several.
type Booking struct {
	ID     TransactionID
	Tenant uint16
	Kind   Kind    // of the commands by which it was decided
	Moves  []Event // Debit, Credit and Return, in their order
	// Began says that a transaction between partitions was begun: the bookings of the same
	// id that follow, here and elsewhere, are parts of it. It has no moves.
	Began bool
	// Says is the whole transaction; nil for others. What follows after it began does not
	// repeat it.
	Says *Transaction
}

// Bookings calls f with the bookings of a batch: first the transactions that it began,
// then what changed balances, both in the order of its commands. The arguments and the
// error are those of [Events]. The booking is valid during the call.
func Bookings(batch, results, effects []byte, f func(*Booking) error) error {
	c := newCommands(batch, results)
	if err := c.began(f); err != nil {
		return err
	}
	c = newCommands(batch, results)
	b, last, open := Booking{}, uint32(0), false
	flush := func() error {
		if !open {
			return nil
		}
		open = false
		b.Says = c.says(last, Applied)
		return f(&b)
	}
	err := Events(batch, results, effects, func(e *Event) error {
		if !e.Kind.MovesMoney() {
			return nil
		}
		if !open || e.Command != last || e.ID != b.ID {
			if err := flush(); err != nil {
				return err
			}
			b = Booking{ID: e.ID, Tenant: e.Tenant, Kind: c.kind, Moves: b.Moves[:0]}
			last, open = e.Command, true
		}
		b.Moves = append(b.Moves, *e)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// commands walks over the transactions of a batch.
type commands struct {
	kind    Kind
	tenant  uint16
	body    []byte // from the command next on; none if the batch has no transactions
	results []byte // of the whole batch
	next    uint32
}

func newCommands(batch, results []byte) commands {
	h, err := Validate(batch)
	if err != nil {
		return commands{} // Events says so
	}
	c := commands{kind: h.Kind, tenant: h.Tenant}
	if (h.Kind == KindTransactions || h.Kind == KindCrossTransactions) && len(results) == h.Count {
		c.body, c.results = batch[HeaderBytes:], results
	}
	return c
}

// began calls f with the transactions that are pending.
func (c *commands) began(f func(*Booking) error) error {
	for i := range uint32(len(c.results)) {
		t := c.says(i, Pending)
		if t == nil {
			continue
		}
		if err := f(&Booking{ID: t.ID, Tenant: c.tenant, Kind: c.kind, Began: true, Says: t}); err != nil {
			return err
		}
	}
	return nil
}

// says returns the transaction of a command, which comes after those before; nil if it is
// none, or one that began earlier.
func (c *commands) says(command uint32, code Code) *Transaction {
	if len(c.results) == 0 || Result(c.results[command]) != Result(code) {
		return nil
	}
	size := commandSize(c.kind)
	for ; c.next < command; c.next++ {
		c.body = c.body[size(c.body):]
	}
	t, ok := ParseTransaction(c.body)
	if !ok {
		return nil
	}
	return t
}
