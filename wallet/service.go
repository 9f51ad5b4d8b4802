package wallet

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"maru.example/money"
	"maru.example/rsm"
)

// Log is what a Service needs of a node: [rsm.Node] is one.
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
	log     Log
	machine *Machine // used within Read only

	mu      sync.RWMutex
	tenants map[Tenant]uint16 // those seen so far: their numbers never change
}

// NewService returns the service of a machine that runs on a log.
func NewService(log Log, m *Machine) *Service {
	return &Service{log: log, machine: m, tenants: map[Tenant]uint16{DefaultTenant: 0}}
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
	s.mu.Lock()
	s.tenants[name] = uint16(n)
	s.mu.Unlock()
	return uint16(n), true, nil
}

// Submit proposes a batch that was encoded elsewhere, such as a message of the
// stream: Validate must have accepted it, and its tenant be a number from Tenant.
func (s *Service) Submit(ctx context.Context, p *rsm.Proposal) error { return s.log.Submit(ctx, p) }

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
	result, _, err := s.log.Propose(ctx, data)
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
	code := Undecided
	err = s.log.Read(ctx, func() {
		ids := &s.machine.tenants[number].ids
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
	err = s.log.Read(ctx, func() {
		if h := s.machine.lookup(number, string(id)); h != 0 {
			a, code = s.machine.account(h), Applied
		}
	})
	if err != nil {
		return Account{}, Undecided, err
	}
	return a, code, nil
}

// Lookup appends the handle of each account to dst, 0 where there is none.
func (s *Service) Lookup(ctx context.Context, dst []Handle, tenant uint16, ids []AccountID) ([]Handle, error) {
	var handles []Handle
	err := s.log.Read(ctx, func() {
		handles = dst
		for _, id := range ids {
			handles = append(handles, s.machine.lookup(tenant, string(id)))
		}
	})
	return handles, err
}

// CreateTenant makes a tenant; one that exists is Applied too.
func (s *Service) CreateTenant(ctx context.Context, name Tenant) (Code, error) {
	if err := name.Validate(); err != nil {
		return Undecided, err
	}
	result, code, err := s.propose(ctx, DefaultTenant, KindCreateTenants, 1, 3, func(b []byte) []byte { return AppendName(b, string(name)) })
	if err == nil && code == Applied {
		s.mu.Lock()
		s.tenants[name] = binary.LittleEndian.Uint16(result[1:])
		s.mu.Unlock()
	}
	return code, err
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
	err := s.log.Read(ctx, func() { m = s.machine.metrics() })
	return m, err
}
