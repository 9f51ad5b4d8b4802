package wallet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"maru.example/money"
	"maru.example/rsm"
)

// Log is what a Service needs of a replicated log.
type Log interface {
	// Propose commits data and returns the machine's result.
	Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error)
	// Submit proposes without waiting for the result.
	Submit(ctx context.Context, p *rsm.Proposal) error
	// Read calls fn when the machine holds everything acknowledged so far.
	Read(ctx context.Context, fn func()) error
}

// Service is the wallet for programs: it checks the form of commands, proposes
// them and returns the machine's decisions. A refusal is a Code. An error says
// that the input was malformed (an Err of this package), that nothing was done
// or that the outcome is unknown, as rsm's errors say, or that ctx ended: then
// ask for the Decision, or repeat the command. It is safe for concurrent use.
type Service struct {
	log     Log      // of the first partition, which all are for a wallet that is not divided
	machine *Machine // used within Read only

	parts    []*Partition  // of a divided wallet, else nil
	protocol atomic.Uint32 // of transfers between them

	mu      sync.RWMutex
	tenants map[Tenant]uint16 // those seen so far: their numbers never change
	names   []uint64          // nameHash of the tenants, by number, as far as they are known
}

// NewService returns the service of a machine that runs on a log.
func NewService(log Log, m *Machine) *Service { return newService(log, m) }

func newService(log Log, m *Machine) *Service {
	return &Service{log: log, machine: m, tenants: map[Tenant]uint16{DefaultTenant: 0}, names: []uint64{nameHash(DefaultTenant)}}
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

// partition returns the log and machine that an account belongs to.
func (s *Service) partition(tenant Tenant, id AccountID) (Log, *Machine) {
	if len(s.parts) == 0 {
		return s.log, s.machine
	}
	p := s.parts[PartitionOf(tenant, id, uint16(len(s.parts)))]
	return p.Log, p.Machine
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
	n := -1
	if err := s.log.Read(ctx, func() { n = s.machine.tenantNumber(string(name)) }); err != nil || n < 0 {
		return 0, false, err
	}
	s.learn(name, uint16(n))
	return uint16(n), true, nil
}

// Submit proposes a batch that was encoded elsewhere, such as a message of the
// stream: Validate must have accepted it, and its tenant be a number from Tenant.
// In a divided wallet its commands go to their partitions.
func (s *Service) Submit(ctx context.Context, p *rsm.Proposal) error {
	if len(s.parts) == 0 {
		return s.log.Submit(ctx, p)
	}
	s.route(ctx, p.Data, true, p.Done)
	return nil
}

// commit commits a batch and returns its results.
func (s *Service) commit(ctx context.Context, data []byte) ([]byte, error) {
	if len(s.parts) == 0 {
		result, _, err := s.log.Propose(ctx, data)
		return result, err
	}
	if len(s.parts) == 1 {
		// The usual case is worth a way without a goroutine's detour.
		if result, _, err := s.log.Propose(ctx, data); !errors.Is(err, rsm.ErrNoLeader) && !errors.Is(err, rsm.ErrUnknown) {
			return result, err
		}
	}
	type outcome struct {
		result []byte
		err    error
	}
	done := make(chan outcome, 1)
	s.route(ctx, data, false, func(result []byte, _ rsm.Position, err error) { done <- outcome{result, err} })
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", rsm.ErrUnknown, ctx.Err())
	}
}

// propose commits count commands of a kind and returns results of size bytes each.
func (s *Service) propose(ctx context.Context, tenant Tenant, kind Kind, count, size int, body func([]byte) []byte) ([]byte, Code, error) {
	number, ok, err := s.Tenant(ctx, tenant)
	if err != nil {
		return nil, Undecided, err
	}
	if !ok {
		return nil, UnknownTenant, nil
	}
	data := body(AppendHeader(make([]byte, 0, HeaderBytes+160*count), Header{Kind: kind, Tenant: number, Count: count}))
	result, err := s.commit(ctx, data)
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
	if err := t.Validate(); err != nil {
		return 0, err
	}
	result, code, err := s.propose(ctx, tenant, KindTransfersByName, 1, 1, func(b []byte) []byte { return AppendTransfer(b, &t) })
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
	if len(ts) == 0 || len(ts) > MaxBatch {
		return nil, ErrBatchSize
	}
	for i := range ts {
		if err := ts[i].Validate(); err != nil {
			return nil, fmt.Errorf("transfer %d: %w", i, err)
		}
	}
	results := make([]Result, len(ts))
	answer, code, err := s.propose(ctx, tenant, KindTransfersByName, len(ts), 1, func(b []byte) []byte {
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
	if len(s.parts) == 0 {
		return decisionIn(ctx, s.log, s.machine, number, id)
	}
	// The id alone does not say which account pays.
	for _, p := range s.parts {
		code, err := decisionIn(ctx, p.Log, p.Machine, number, id)
		if err != nil || code != Undecided {
			return code, err
		}
	}
	return Undecided, nil
}

// decisionIn returns what was decided in one partition.
func decisionIn(ctx context.Context, log Log, m *Machine, tenant uint16, id TransactionID) (Code, error) {
	code := Undecided
	err := log.Read(ctx, func() {
		if int(tenant) >= len(m.tenants) {
			return // nothing of it has come here yet
		}
		ids := &m.tenants[tenant].ids
		k := makeKey(id[:])
		if e, _ := ids.find(k, ids.hash(k)); e != nil {
			code = e.code()
		}
	})
	return code, err
}

// OpenAccount opens an account that holds one currency. Repeated with the same
// content, it returns the same handle again, also of an account that is frozen;
// with other content, AccountExists. A closed account stays closed: AccountClosed.
func (s *Service) OpenAccount(ctx context.Context, tenant Tenant, a NewAccount) (Opened, error) {
	if err := a.Validate(); err != nil {
		return Opened{}, err
	}
	result, code, err := s.propose(ctx, tenant, KindOpenAccounts, 1, OpenedBytes, func(b []byte) []byte { return AppendAccount(b, &a) })
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
	_, code, err := s.propose(ctx, tenant, kind, 1, 1, func(b []byte) []byte { return AppendAccount(b, &a) })
	return code, err
}

// SetStatus freezes (Frozen), unfreezes (Open) or closes (Closed) an account.
// Closing is for ever and needs every balance to be zero. Setting the status
// that an account has is Applied.
func (s *Service) SetStatus(ctx context.Context, tenant Tenant, id AccountID, to Status) (Code, error) {
	if err := id.Validate(); err != nil {
		return Undecided, err
	}
	_, code, err := s.propose(ctx, tenant, KindSetStatus, 1, 1, func(b []byte) []byte { return AppendStatus(b, id, to) })
	return code, err
}

// Account returns an account's state. The code is Applied, UnknownAccount or UnknownTenant.
func (s *Service) Account(ctx context.Context, tenant Tenant, id AccountID) (Account, Code, error) {
	if err := id.Validate(); err != nil {
		return Account{}, Undecided, err
	}
	number, ok, err := s.Tenant(ctx, tenant)
	if err != nil {
		return Account{}, Undecided, err
	}
	if !ok {
		return Account{}, UnknownTenant, nil
	}
	var a Account
	code := UnknownAccount
	log, m := s.partition(tenant, id)
	err = log.Read(ctx, func() {
		if int(number) >= len(m.tenants) {
			return
		}
		if h := m.lookup(number, string(id)); h != 0 {
			a, code = m.account(h), Applied
		}
	})
	if err != nil {
		return Account{}, Undecided, err
	}
	return a, code, nil
}

// Lookup appends the handle of each account to dst, 0 where there is none.
func (s *Service) Lookup(ctx context.Context, dst []Handle, tenant uint16, ids []AccountID) ([]Handle, error) {
	if len(s.parts) == 0 {
		var handles []Handle
		err := s.log.Read(ctx, func() {
			handles = dst
			for _, id := range ids {
				handles = append(handles, s.machine.lookup(tenant, string(id)))
			}
		})
		return handles, err
	}
	places := make([][]int, len(s.parts))
	for i, id := range ids {
		p := s.partitionOf(tenant, []byte(id))
		places[p] = append(places[p], i)
	}
	found := make([]Handle, len(ids))
	for n, p := range s.parts {
		if len(places[n]) == 0 {
			continue
		}
		err := p.Log.Read(ctx, func() {
			for _, i := range places[n] {
				if int(tenant) < len(p.Machine.tenants) {
					found[i] = p.Machine.lookup(tenant, string(ids[i]))
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return append(dst, found...), nil
}

// CreateTenant makes a tenant; one that exists is Applied too.
func (s *Service) CreateTenant(ctx context.Context, name Tenant) (Code, error) {
	if err := name.Validate(); err != nil {
		return Undecided, err
	}
	result, code, err := s.propose(ctx, DefaultTenant, KindCreateTenants, 1, 3, func(b []byte) []byte { return AppendName(b, string(name)) })
	if err != nil || code != Applied {
		return code, err
	}
	s.learn(name, binary.LittleEndian.Uint16(result[1:]))
	for _, p := range s.parts[min(1, len(s.parts)):] {
		if err := s.spreadTenants(ctx, p); err != nil {
			return Undecided, err
		}
	}
	return code, nil
}

// spreadTenants makes the tenants of the first partition known in another one. All
// of them are made in their order, those that exist again: so every partition
// gives them the same numbers, however many do this at once.
func (s *Service) spreadTenants(ctx context.Context, p *Partition) error {
	names, err := s.Tenants(ctx)
	if err != nil {
		return err
	}
	for len(names) > 0 {
		n := min(len(names), MaxBatch)
		data := AppendHeader(nil, Header{Kind: KindCreateTenants, Count: n})
		for _, name := range names[:n] {
			data = AppendName(data, string(name))
		}
		if _, _, err := p.Log.Propose(ctx, data); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// Tenants returns the names of all tenants, in the order in which they were made.
func (s *Service) Tenants(ctx context.Context) ([]Tenant, error) {
	var names []Tenant
	err := s.log.Read(ctx, func() {
		for _, t := range s.machine.tenants {
			names = append(names, Tenant(t.name))
		}
	})
	return names, err
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
	TableBytes   uint64                 // memory of the tables
}

// Metrics returns the counters.
func (s *Service) Metrics(ctx context.Context) (Metrics, error) {
	var m Metrics
	if len(s.parts) == 0 {
		err := s.log.Read(ctx, func() { m = s.machine.metrics() })
		return m, err
	}
	for _, p := range s.parts {
		if err := p.Log.Peek(ctx, func() { m.add(p.Machine.metrics()) }); err != nil {
			return m, err
		}
	}
	m.Tenants /= uint64(len(s.parts))
	return m, nil
}

func (m *Metrics) add(other Metrics) {
	m.Accounts += other.Accounts
	m.Balances += other.Balances
	m.Transactions += other.Transactions
	m.Tenants += other.Tenants
	m.Repeated += other.Repeated
	m.TableBytes += other.TableBytes
	for i, n := range other.InFlight {
		m.InFlight[i] += n
	}
	for i, n := range other.Decided {
		m.Decided[i] += n
	}
}
