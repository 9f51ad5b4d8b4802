package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/walletjournal"
)

const (
	// exportAhead is how many entries of each partition wait to be written.
	exportAhead = 4
	// exportBegun is of how many transactions between partitions, the newest, is known what they say
	// beside their postings.
	exportBegun = 1 << 16
)

// exporter writes what a tenant's accounts did in a period, of all partitions in the order
// of time.
type exporter struct {
	tenant   wallet.Tenant
	period   span                      // until is not part of it
	accounts map[wallet.AccountID]bool // nil: all
	assets   *walletjournal.Assets
	out      walletjournal.MovementWriter
	sum      exported

	streams []*exportStream
	begun   map[wallet.TransactionID]*wallet.Transaction
	oldest  []wallet.TransactionID // the ids of begun, in a ring
	next    int                    // in the ring
}

// exportStream decides the log of a partition again, and passes on what it did.
type exportStream struct {
	*verifier
	p       *pastPartition
	tenant  wallet.Tenant
	period  span
	machine *wallet.Machine

	entries   chan *exportEntry
	err       error // read it when entries is closed
	opened    bool
	lastAt    int64              // of the log
	lastIndex rsm.Index          // that was decided
	known     bool               // the tenant, at the end
	found     []wallet.AccountID // of wanted, at the end
	wanted    map[wallet.AccountID]bool
	ahead     []*exportEntry // that were received, and are not written yet
}

// exportEntry is what an entry of the log did; or before all that of the period, the
// opening balances.
type exportEntry struct {
	opening  bool
	accounts []wallet.Account // at the opening: those that hold something
	time     int64
	index    rsm.Index
	bookings []wallet.Booking
	names    []wallet.AccountID // of the moves of the bookings, in turn
	assets   []wallet.Asset     // that it made
}

// run exports the log in a directory, or what servers give.
func (e *exporter) run(cmd *cobra.Command, o *exportOptions) (err error) {
	var past *pastNode
	if o.addr != "" {
		past, err = openServed(cmd, &httpOptions{credentials: o.credentials, addr: o.addr})
	} else {
		past, err = openPast(cmd, &o.past)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	if n := past.identity.Partitions; len(past.partitions) != n {
		return failed(fmt.Errorf("there are %d of %d partitions", len(past.partitions), n), "use the directory or the archive of a node that has a replica of each: see `maru cluster status`")
	}
	v := &verifier{pastNode: past}
	for _, p := range past.partitions {
		v.of.Add(uint64(p.last()))
	}
	defer follow(cmd, func() string { return share(v.done.Load(), v.of.Load(), "exported") })()
	ctx, cancel := context.WithCancel(cmd.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for _, p := range past.partitions {
		s := &exportStream{verifier: v, p: p, tenant: e.tenant, period: e.period, wanted: e.accounts, entries: make(chan *exportEntry, exportAhead)}
		e.streams = append(e.streams, s)
		group.Go(func() {
			defer close(s.entries)
			s.err = s.read(ctx)
		})
	}
	if err := e.write(); err != nil {
		if cmd.Context().Err() != nil {
			return failed(errors.New("interrupted"), "what was written is a part: run it again")
		}
		return err
	}
	e.end()
	return e.exists()
}

// exists refuses an export of a tenant or account that there was not.
func (e *exporter) exists() error {
	known := false
	missing := maps.Clone(e.accounts)
	for _, s := range e.streams {
		known = known || s.known
		for _, id := range s.found {
			delete(missing, id)
		}
	}
	when := ""
	if e.sum.Until != nil {
		when = " before " + e.sum.Until.Format(time.RFC3339Nano)
	}
	switch {
	case !known:
		return &failure{fmt.Errorf("there is no tenant %s%s", quoted(string(e.tenant)), when), "`maru tenant list` lists those of a server that runs; nothing was exported", exitRefused}
	case len(missing) > 0:
		id := slices.Min(slices.Collect(maps.Keys(missing)))
		return &failure{fmt.Errorf("tenant %s has no account %s%s", e.tenant, quoted(string(id)), when), "correct --account, or leave it out for all", exitRefused}
	}
	return nil
}

// end notes how far the logs went.
func (e *exporter) end() {
	last := int64(0)
	var positions wallet.HistoryPositions
	for _, s := range e.streams {
		last = max(last, s.lastAt)
		positions = append(positions, wallet.HistoryPosition{Partition: s.p.number, Index: s.lastIndex})
		if s.lastAt < e.period.until {
			e.sum.Undecided += s.p.log.Undecided
		}
	}
	e.sum.Position = positions.String()
	if last > 0 {
		t := time.Unix(0, last).UTC()
		e.sum.LogEnds = &t
	}
}

// read passes on what the partition did.
func (s *exportStream) read(ctx context.Context) error {
	s.machine = s.verifier.machine(s.p.number)
	defer s.machine.Release()
	from, err := s.begin()
	if err != nil {
		return err
	}
	s.lastAt = from.Time
	s.done.Add(uint64(from.Index))
	d := newDecider(s.machine, from, func(now, _ *rsm.Decided) error { return s.decided(ctx, now) })
	err = s.verifier.read(ctx, s.p, from.Index+1, func(e *rsm.Decided) error {
		s.lastAt = max(s.lastAt, e.Time, rsm.EntryTime(e.Entry))
		if s.lastAt >= s.period.from {
			if err := s.open(ctx); err != nil {
				return err
			}
		}
		if s.lastAt >= s.period.until {
			return errStop
		}
		s.done.Add(1)
		return errors.Join(d.decide(e), ctx.Err())
	})
	if err != nil {
		return err
	}
	s.lastIndex = d.at().Index
	_, s.known = s.machine.TenantNumber(s.tenant)
	for id := range s.wanted {
		if _, ok := s.machine.Find(s.tenant, id); ok {
			s.found = append(s.found, id)
		}
	}
	return s.open(ctx)
}

// begin brings the machine to a state from which the period can be exported. Where everything is here that
// is the beginning: what was under way at a snapshot said before it what it is.
func (s *exportStream) begin() (rsm.State, error) {
	if s.p.whole() {
		return rsm.State{}, nil
	}
	from, err := s.nearest(s.p, s.period.from, s.machine)
	if err == nil && from.Time >= s.period.from { // so also where no beginning was asked for: the past must not begin in the middle in silence
		err = failed(fmt.Errorf("what is here of partition %d begins at %s, with a snapshot: what was before was cut, or is on another node", s.p.number, time.Unix(0, from.Time).UTC().Format(time.RFC3339Nano)),
			"ask for a later period with --from, or use the directory, a copy or the archive that has everything")
	}
	return from, err
}

// open passes on the balances as they are, once.
func (s *exportStream) open(ctx context.Context) error {
	if s.opened {
		return nil
	}
	s.opened = true
	var held []wallet.Account
	for _, a := range s.machine.Accounts(s.tenant) {
		if slices.ContainsFunc(a.Balances, func(b wallet.Balance) bool { return b.Amount != 0 }) {
			held = append(held, a)
		}
	}
	return s.send(ctx, &exportEntry{opening: true, accounts: held, assets: slices.Clone(s.machine.Assets(s.tenant))})
}

func (s *exportStream) send(ctx context.Context, e *exportEntry) error {
	select {
	case s.entries <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decided passes on what an entry did to the tenant's accounts; before the period, only what the
// parts that follow do not repeat.
func (s *exportStream) decided(ctx context.Context, d *rsm.Decided) error {
	e := &exportEntry{time: d.Time, index: d.Index}
	tenant, known := s.machine.TenantNumber(s.tenant)
	if !known || len(d.Entry) == 0 {
		return nil
	}
	err := d.Batches(func(b rsm.DecidedBatch) error {
		return wallet.Bookings(b.Data, b.Results, b.Effects, func(b *wallet.Booking) error {
			if b.Tenant != tenant || !s.opened && !b.Began {
				return nil
			}
			c := *b
			c.Moves = slices.Clone(b.Moves)
			e.bookings = append(e.bookings, c)
			for i := range c.Moves {
				_, name := s.machine.NameOf(c.Moves[i].Account)
				e.names = append(e.names, name)
			}
			return nil
		})
	})
	if err == nil && s.p.number == 0 && s.opened {
		err = wallet.EntryEvents(d, func(_ uint32, v *wallet.Event) error {
			if v.Kind == wallet.AssetMade && v.Tenant == tenant {
				e.assets = append(e.assets, wallet.Asset{Name: strings.Clone(v.Name), Currency: v.Currency})
			}
			return nil
		})
	}
	if err != nil || len(e.bookings)+len(e.assets) == 0 {
		return err
	}
	return s.send(ctx, e)
}

// peek returns the next entry of a partition, nil at the end.
func (e *exporter) peek(s *exportStream) (*exportEntry, error) {
	if len(s.ahead) == 0 {
		if ok, err := e.receive(s); !ok {
			return nil, err
		}
	}
	return s.ahead[0], nil
}

// receive lets one more entry of a partition wait, and says whether there was one.
func (e *exporter) receive(s *exportStream) (bool, error) {
	v, ok := <-s.entries
	if !ok {
		return false, s.failure()
	}
	for _, a := range v.assets {
		e.assets.Add(a)
	}
	s.ahead = append(s.ahead, v)
	return true, nil
}

// failure returns why the partition cannot be read, with what to do; nil: it could.
func (s *exportStream) failure() error {
	if s.err == nil {
		return nil
	}
	return pastError(s.data, s.err)
}

// write writes the opening balances, and then all entries in the order of time.
func (e *exporter) write() error {
	if err := e.writeOpening(); err != nil {
		return err
	}
	for {
		var from *exportStream
		var first *exportEntry
		for _, s := range e.streams {
			v, err := e.peek(s)
			if err != nil {
				return err
			}
			if v != nil && (first == nil || v.time < first.time) { // the streams are in the order of partitions
				from, first = s, v
			}
		}
		if first == nil {
			return nil
		}
		from.ahead = from.ahead[1:]
		if err := e.entry(from.p.number, first); err != nil {
			return err
		}
	}
}

func (e *exporter) writeOpening() error {
	var accounts []wallet.Account
	for _, s := range e.streams {
		for opened := false; !opened; {
			v, err := e.peek(s)
			if err != nil || v == nil {
				return err
			}
			s.ahead = s.ahead[1:]
			if opened = v.opening; opened {
				accounts = append(accounts, v.accounts...)
			} else {
				e.learn(v)
			}
		}
	}
	if e.accounts != nil {
		accounts = slices.DeleteFunc(accounts, func(a wallet.Account) bool { return !e.accounts[a.ID] })
	}
	slices.SortFunc(accounts, func(a, b wallet.Account) int { return strings.Compare(string(a.ID), string(b.ID)) })
	e.sum.Opened = uint64(len(accounts))
	at := time.Unix(0, e.period.from).UTC()
	if e.period.from == math.MinInt64 {
		at = e.begins()
	}
	return walletjournal.Openings(at, accounts, e.accounts == nil, e.movement)
}

// begins returns the time of the first entry, at which an export without a beginning opens
// if the log was cut.
func (e *exporter) begins() time.Time {
	first := int64(math.MaxInt64)
	for _, s := range e.streams {
		if v, err := e.peek(s); err == nil && v != nil {
			first = min(first, v.time)
		}
	}
	if first == math.MaxInt64 {
		first = 0
	}
	return time.Unix(0, first).UTC()
}

// learn notes what the transactions say that an entry began.
func (e *exporter) learn(v *exportEntry) {
	if e.begun == nil {
		e.begun, e.oldest = map[wallet.TransactionID]*wallet.Transaction{}, make([]wallet.TransactionID, exportBegun)
	}
	for i := range v.bookings {
		if b := &v.bookings[i]; b.Began {
			delete(e.begun, e.oldest[e.next])
			b.Says.Postings = nil
			e.begun[b.ID], e.oldest[e.next] = b.Says, b.ID
			e.next = (e.next + 1) % exportBegun
		}
	}
}

// entry writes what an entry did.
func (e *exporter) entry(partition uint16, v *exportEntry) error {
	e.learn(v)
	names := v.names
	for i := range v.bookings {
		b := &v.bookings[i]
		if b.Began {
			continue
		}
		m := &walletjournal.Movement{
			ID: b.ID, Time: time.Unix(0, v.time).UTC(), Position: wallet.HistoryPosition{Partition: partition, Index: v.index}.String(),
		}
		wanted := e.accounts == nil
		for j := range b.Moves {
			m.Legs = append(m.Legs, walletjournal.Leg{Account: walletjournal.ExportedID(names[j]), Currency: b.Moves[j].Currency, Amount: b.Moves[j].Amount})
			wanted = wanted || e.accounts[names[j]]
		}
		names = names[len(b.Moves):]
		if !wanted {
			continue
		}
		if err := e.booking(m, b); err != nil {
			return err
		}
	}
	return nil
}

// booking completes a movement and writes it.
func (e *exporter) booking(m *walletjournal.Movement, b *wallet.Booking) error {
	flying, err := m.Land()
	if err != nil || len(m.Legs) == 0 {
		return err
	}
	says, began := b.Says, e.begun[b.ID]
	m.Part = flying || b.Kind == wallet.KindParticipate || b.Kind == wallet.KindPhases || says == nil && began != nil
	if says == nil && m.Part {
		says = began
	}
	m.Date, m.Description = walletjournal.DateOf(m.Time), describeBooking(b, m.Part)
	if says != nil {
		m.Say(says)
	}
	e.sum.Transactions++
	return e.movement(m)
}

// describeBooking returns a description for those that have none of their own.
func describeBooking(b *wallet.Booking, part bool) string {
	switch {
	case part && b.Moves[0].Kind == wallet.Return:
		return "Returned from another partition"
	case part && b.Moves[0].Kind == wallet.Credit:
		return "Received from another partition"
	case part:
		return "Sent to another partition"
	case b.Kind == wallet.KindHolds:
		return "Capture"
	case b.Says != nil && b.Says.Reverses != nil:
		return "Reversal"
	case b.Says != nil && !b.Says.LikeTransfer():
		return "Transaction"
	}
	return "Transfer"
}

// movement writes a movement, once the names of its assets are known: the first partition, which makes
// them, may be behind.
func (e *exporter) movement(m *walletjournal.Movement) error {
	for _, l := range m.Legs {
		for !e.assets.Has(l.Currency) {
			if ok, err := e.receive(e.streams[0]); !ok {
				if err == nil {
					err = fmt.Errorf("nothing made the asset %s: the logs of the partitions do not belong together", l.Currency)
				}
				return err
			}
		}
	}
	e.sum.Postings += uint64(len(m.Legs))
	if err := e.out.Write(m); err != nil {
		return failed(err, "--output names a file on a disk with room")
	}
	return nil
}
