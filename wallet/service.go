package wallet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"maru.example/money"
	"maru.example/rsm"
)

// Service is the wallet for programs: it checks the form of commands, proposes
// them and returns the machine's decisions. A refusal is a Code. An error says
// that the input was malformed (an Err of this package), that nothing was done
// or that the outcome is unknown, as rsm's errors say, or that ctx ended: then
// ask for the Decision, or repeat the command. It is safe for concurrent use.
type Service struct {
	parts     []*Partition
	await     func(ctx context.Context, start func(done func())) error
	forwarded atomic.Int64  // bytes of batches on their way to other nodes
	protocol  atomic.Uint32 // of transfers between them
	accounts  accountNames

	mu      sync.RWMutex
	tenants map[Tenant]uint16  // those seen so far: their numbers never change
	names   []uint64           // nameHash of the tenants, by number, as far as they are known
	assets  map[Tenant][]Asset // as far as they are known
}

// learn remembers a tenant's number.
func (s *Service) learn(name Tenant, number uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenants[name] = number
	for len(s.names) <= int(number) {
		s.names = append(s.names, 0)
	}
	s.names[number] = nameHash(name)
}

// tenantHash returns the hash of a tenant that Tenant returned the number of.
func (s *Service) tenantHash(number uint16) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.names[number]
}

// partition returns the partition that an account belongs to.
func (s *Service) partition(tenant Tenant, id AccountID) *Partition {
	return s.parts[PartitionOf(tenant, id, uint16(len(s.parts)))]
}

// Tenant returns the number of a tenant, for batches that are submitted as they
// are, and false if there is no such tenant.
func (s *Service) Tenant(ctx context.Context, name Tenant) (number uint16, ok bool, err error) {
	s.mu.RLock()
	number, ok = s.tenants[name]
	s.mu.RUnlock()
	if ok {
		return number, true, nil
	}
	if err := name.Validate(); err != nil {
		return 0, false, err
	}
	f, err := s.query(ctx, s.parts[0], &query{Subject: aboutTenant, Name: name})
	if err != nil || f.Number < 0 {
		return 0, false, err
	}
	s.learn(name, uint16(f.Number))
	return uint16(f.Number), true, nil
}

// Submit proposes a batch that was encoded elsewhere, such as a message of the
// stream: Validate must have accepted it, and its tenant be a number from Tenant.
// Its commands go to their partitions. Submit waits while a queue of this node is
// full, until ctx ends; Done is called for every batch, on any loop.
func (s *Service) Submit(ctx context.Context, p *rsm.Proposal) error {
	return s.SubmitBy(ctx, NoProtocol, p)
}

// SubmitBy is to Submit as TransferBy to Transfer.
func (s *Service) SubmitBy(ctx context.Context, protocol Protocol, p *rsm.Proposal) error {
	s.route(&routed{ctx: ctx, protocol: protocol, waits: true, done: p.Done}, p.Data)
	return nil
}

// commit commits a batch and returns its results.
func (s *Service) commit(ctx context.Context, data []byte, protocol Protocol) ([]byte, error) {
	unknown := false
	if len(s.parts) == 1 && s.parts[0].here() {
		// The usual case is worth a way without a goroutine's detour.
		result, at, err := s.parts[0].Log.Propose(ctx, data)
		unknown = errors.Is(err, rsm.ErrUnknown)
		if unknown && !Kind(data[1]).repeatable() || !unknown && !errors.Is(err, rsm.ErrNoLeader) {
			receiptOf(ctx).note(0, at.Index)
			return result, err
		}
	}
	var outcome struct { // a batch that has outlived ctx may still write it
		result []byte
		asked  []uint16
		err    error
	}
	err := s.await(ctx, func(done func()) {
		b := &routed{ctx: ctx, protocol: protocol, unknown: unknown, receipt: receiptOf(ctx)}
		b.done = func(result []byte, _ rsm.Position, err error) {
			outcome.result, outcome.asked, outcome.err = slices.Clone(result), b.asked, err
			done()
		}
		s.route(b, data)
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", rsm.ErrUnknown, err)
	}
	if outcome.err == nil {
		s.noteOthers(ctx, receiptOf(ctx), outcome.asked)
	}
	return outcome.result, outcome.err
}

// propose commits count commands of a kind and returns results of size bytes each.
func (s *Service) propose(ctx context.Context, tenant Tenant, protocol Protocol, kind Kind, count, size int, body func([]byte) []byte) ([]byte, Code, error) {
	number, ok, err := s.Tenant(ctx, tenant)
	if err != nil {
		return nil, Undecided, err
	}
	if !ok {
		return nil, UnknownTenant, nil
	}
	data := body(AppendHeader(make([]byte, 0, HeaderBytes+160*count), Header{Kind: kind, Tenant: number, Count: count}))
	result, err := s.commit(ctx, data, protocol)
	if err != nil {
		return nil, Undecided, err
	}
	if len(result) != count*size {
		panic(fmt.Sprintf("wallet: %v batch of %d has a result of %d bytes: %x", kind, count, len(result), result))
	}
	return result, Code(result[0]), nil
}

// Transfer moves money. The same transfer again has the first result again.
func (s *Service) Transfer(ctx context.Context, tenant Tenant, t Transfer) (Result, error) {
	return s.TransferBy(ctx, tenant, NoProtocol, t)
}

// TransferBy is Transfer where money that goes to another partition gets there by
// a protocol; NoProtocol is the wallet's. Within a partition it has no effect. The
// first of several transfers with one id decides.
func (s *Service) TransferBy(ctx context.Context, tenant Tenant, protocol Protocol, t Transfer) (Result, error) {
	if err := t.Validate(); err != nil {
		return 0, err
	}
	result, code, err := s.propose(ctx, tenant, protocol, KindTransfersByName, 1, 1, func(b []byte) []byte { return AppendTransfer(b, &t) })
	if err != nil || result == nil {
		return Result(code), err
	}
	return Result(result[0]), nil
}

// Validate returns an error if the transfer is malformed: ErrTransactionID,
// ErrAccountID or ErrCurrency. The amount is for the machine to judge.
func (t *Transfer) Validate() error {
	if t.ID == (TransactionID{}) {
		return ErrTransactionID
	}
	if err := t.From.Validate(); err != nil {
		return fmt.Errorf("from_account: %w", err)
	}
	if err := t.To.Validate(); err != nil {
		return fmt.Errorf("to_account: %w", err)
	}
	if !t.Currency.Valid() {
		return ErrCurrency
	}
	return nil
}

// Transfers decides up to MaxBatch transfers one after the other, each by
// itself. If one is malformed none is proposed.
func (s *Service) Transfers(ctx context.Context, tenant Tenant, ts []Transfer) ([]Result, error) {
	return s.TransfersBy(ctx, tenant, NoProtocol, ts)
}

// TransfersBy is to Transfers as TransferBy to Transfer.
func (s *Service) TransfersBy(ctx context.Context, tenant Tenant, protocol Protocol, ts []Transfer) ([]Result, error) {
	if len(ts) == 0 || len(ts) > MaxBatch {
		return nil, ErrBatchSize
	}
	for i := range ts {
		if err := ts[i].Validate(); err != nil {
			return nil, fmt.Errorf("transfer %d: %w", i, err)
		}
	}
	results := make([]Result, len(ts))
	answer, code, err := s.propose(ctx, tenant, protocol, KindTransfersByName, len(ts), 1, func(b []byte) []byte {
		for i := range ts {
			b = AppendTransfer(b, &ts[i])
		}
		return b
	})
	if err != nil {
		return nil, err
	}
	for i := range results {
		results[i] = Result(code) // of a tenant that does not exist
		if answer != nil {
			results[i] = Result(answer[i])
		}
	}
	return results, nil
}

// Decision returns what was decided for a transaction id: Undecided if it was
// never seen, Pending if it is under way between two partitions, UnknownTenant if there is no such tenant.
func (s *Service) Decision(ctx context.Context, tenant Tenant, id TransactionID) (Code, error) {
	number, ok, err := s.Tenant(ctx, tenant)
	if err != nil {
		return Undecided, err
	}
	if !ok {
		return UnknownTenant, nil
	}
	_, f, err := s.decisionOf(ctx, number, id)
	if err != nil {
		return Undecided, err
	}
	return f.Code, nil
}

// decisionOf returns what was decided for a transaction id, and in which partition; a finding of Undecided if it
// was never seen.
func (s *Service) decisionOf(ctx context.Context, tenant uint16, id TransactionID) (*Partition, *finding, error) {
	// The id alone does not say which account pays: a partition that has no leader is
	// no reason not to ask the others.
	var missing error
	for _, p := range s.parts {
		f, err := s.query(ctx, p, &query{Subject: aboutDecision, Tenant: tenant, Transaction: id})
		switch {
		case errors.Is(err, rsm.ErrNoLeader) && ctx.Err() == nil:
			missing = err
		case err != nil:
			return nil, nil, err
		case f.Code != Undecided:
			return p, f, nil
		}
	}
	return nil, &finding{Code: Undecided}, missing
}

// OpenAccount opens an account that holds one currency. Repeated with the same
// content, it returns the same handle again, also of an account that is frozen;
// with other content, AccountExists. A closed account stays closed: AccountClosed.
func (s *Service) OpenAccount(ctx context.Context, tenant Tenant, a NewAccount) (Opened, error) {
	if err := a.Validate(); err != nil {
		return Opened{}, err
	}
	result, code, err := s.propose(ctx, tenant, NoProtocol, KindOpenAccounts, 1, OpenedBytes, func(b []byte) []byte { return AppendAccount(b, &a) })
	if err != nil || result == nil {
		return Opened{Code: code}, err
	}
	return ParseOpened(result), nil
}

// Validate returns ErrAccountID or ErrCurrency.
func (a *NewAccount) Validate() error {
	if err := a.ID.Validate(); err != nil {
		return err
	}
	if !a.Currency.Valid() {
		return ErrCurrency
	}
	return nil
}

// AddCurrency lets an account hold one more currency.
func (s *Service) AddCurrency(ctx context.Context, tenant Tenant, id AccountID, c money.Currency, smallest money.Amount) (Code, error) {
	return s.change(ctx, tenant, KindAddCurrency, NewAccount{id, c, smallest})
}

// SetLimit changes the smallest balance of a currency. A balance below a new
// limit stays as it is: nothing can be taken out until it is above again.
func (s *Service) SetLimit(ctx context.Context, tenant Tenant, id AccountID, c money.Currency, smallest money.Amount) (Code, error) {
	return s.change(ctx, tenant, KindSetLimit, NewAccount{id, c, smallest})
}

func (s *Service) change(ctx context.Context, tenant Tenant, kind Kind, a NewAccount) (Code, error) {
	if err := a.Validate(); err != nil {
		return Undecided, err
	}
	_, code, err := s.propose(ctx, tenant, NoProtocol, kind, 1, 1, func(b []byte) []byte { return AppendAccount(b, &a) })
	return code, err
}

// SetStatus freezes (Frozen), unfreezes (Open) or closes (Closed) an account.
// Closing is for ever and needs every balance to be zero. Setting the status
// that an account has is Applied.
func (s *Service) SetStatus(ctx context.Context, tenant Tenant, id AccountID, to Status) (Code, error) {
	if err := id.Validate(); err != nil {
		return Undecided, err
	}
	_, code, err := s.propose(ctx, tenant, NoProtocol, KindSetStatus, 1, 1, func(b []byte) []byte { return AppendStatus(b, id, to) })
	return code, err
}

// Lookup appends the handle of each account to dst, 0 where there is none.
func (s *Service) Lookup(ctx context.Context, dst []Handle, tenant uint16, ids []AccountID) ([]Handle, error) {
	found, places := make([]Handle, len(ids)), make([][]int, len(s.parts))
	for i, id := range ids {
		n := s.partitionOf(tenant, []byte(id))
		places[n] = append(places[n], i)
	}
	for n, p := range s.parts {
		if len(places[n]) == 0 {
			continue
		}
		q := query{Subject: aboutHandles, Tenant: tenant}
		for _, i := range places[n] {
			q.Accounts = append(q.Accounts, ids[i])
		}
		f, err := s.query(ctx, p, &q)
		if err != nil {
			return nil, err
		}
		for k, i := range places[n] {
			found[i] = f.Handles[k]
		}
	}
	return append(dst, found...), nil
}

// CreateTenant makes a tenant; one that exists is Applied too.
func (s *Service) CreateTenant(ctx context.Context, name Tenant) (Code, error) {
	if err := name.Validate(); err != nil {
		return Undecided, err
	}
	result, code, err := s.propose(ctx, DefaultTenant, NoProtocol, KindCreateTenants, 1, 3, func(b []byte) []byte { return AppendName(b, string(name)) })
	if err != nil || code != Applied {
		return code, err
	}
	s.learn(name, binary.LittleEndian.Uint16(result[1:]))
	for _, p := range s.parts[1:] {
		var failed struct{ err error } // what has outlived ctx may still write it
		err := s.await(ctx, func(done func()) {
			s.spreadTenants(p, func(err error) {
				failed.err = err
				done()
			})
		})
		if err == nil {
			err = failed.err
		}
		if err != nil {
			return Undecided, fmt.Errorf("%w: the tenant was made, and not all partitions know it: %w", rsm.ErrUnknown, err)
		}
	}
	return code, nil
}

// spreadTenants makes the tenants of the first partition known in another one, and
// calls done once, on any loop. All of them are made in their order, those that
// exist again: so every partition gives them the same numbers, however many do
// this at once.
func (s *Service) spreadTenants(p *Partition, done func(error)) {
	s.parts[0].query(&query{Subject: aboutTenants}, func(f *finding, err error) {
		if err != nil || len(f.Names) == 0 || len(f.Names) > MaxTenants {
			done(err)
			return
		}
		data := AppendHeader(nil, Header{Kind: KindCreateTenants, Count: len(f.Names)})
		for _, name := range f.Names {
			data = AppendName(data, string(name))
		}
		p.propose(data, func(_ []byte, _ rsm.Position, err error) { done(err) })
	})
}

// Tenants returns the names of all tenants, in the order in which they were made.
func (s *Service) Tenants(ctx context.Context) ([]Tenant, error) {
	f, err := s.query(ctx, s.parts[0], &query{Subject: aboutTenants})
	if err != nil {
		return nil, err
	}
	return f.Names, nil
}

// Metrics counts what a machine holds and has decided since it was started.
type Metrics struct {
	Accounts     uint64
	Balances     uint64
	Transactions uint64 // ids remembered
	Tenants      uint64
	Decided      [len(codeNames)]uint64 // transfers by Code, with those replayed at the start
	Repeated     uint64                 // of those, answered from memory
	InFlight     [endPhase]uint64       // transfers to other partitions by Phase
	Holds        uint64                 // open
	TableBytes   uint64                 // memory of the tables
	Old          OldIDMetrics           // of transaction ids on the disk
}

// Metrics returns the counters of the replicas that are on this node.
func (s *Service) Metrics(ctx context.Context) (Metrics, error) {
	var all Metrics
	for _, p := range s.parts {
		if !p.here() {
			continue
		}
		m, err := p.Metrics(ctx)
		if err != nil {
			return Metrics{}, err
		}
		all.add(m)
	}
	return all, nil
}

func (m *Metrics) add(other Metrics) {
	m.Accounts += other.Accounts
	m.Balances += other.Balances
	m.Transactions += other.Transactions
	m.Tenants = max(m.Tenants, other.Tenants)
	m.Repeated += other.Repeated
	m.TableBytes += other.TableBytes
	m.Holds += other.Holds
	m.Old.add(other.Old)
	for i, n := range other.InFlight {
		m.InFlight[i] += n
	}
	for i, n := range other.Decided {
		m.Decided[i] += n
	}
}
