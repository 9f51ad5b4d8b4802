package wallet

import (
	"context"
	"errors"
	"time"

	"maru.example/rsm"
)

// staleReader is a log that can be read without asking other nodes. A Log that
// is none answers with what is certain.
type staleReader interface {
	// ReadStale calls fn with the state as it is here, and returns how old that
	// may be: everything that was acknowledged longer ago is in it.
	ReadStale(ctx context.Context, fn func()) (age time.Duration, err error)
}

// AccountStale is Account as this node knows it, without asking others, and how
// old that may be: a change that was acknowledged longer ago is in it. An account
// or tenant that is newer may be unknown.
func (s *Service) AccountStale(ctx context.Context, tenant Tenant, id AccountID) (a Account, code Code, age time.Duration, err error) {
	if err := id.Validate(); err != nil {
		return Account{}, Undecided, 0, err
	}
	log, m := s.partition(tenant, id)
	var found struct { // a ReadStale that has ended with ctx may still write it
		account Account
		code    Code
	}
	find := func() {
		n := m.tenantNumber(string(tenant))
		if n < 0 {
			found.code = UnknownTenant
			return
		}
		found.code = UnknownAccount
		if h := m.lookup(uint16(n), string(id)); h != 0 {
			found.account, found.code = m.account(h), Applied
		}
	}
	if stale, ok := log.(staleReader); ok {
		age, err = stale.ReadStale(ctx, find)
	} else {
		err = log.Read(ctx, find)
	}
	if err != nil {
		return Account{}, Undecided, 0, err
	}
	return found.account, found.code, age, nil
}

// MaxInFlightListed is the most transfers that InFlight lists.
const MaxInFlightListed = 1000

// inFlightSlice is how many transfers are looked at before others go on.
const inFlightSlice = 4096

// InFlightList is a list of transfers under way.
type InFlightList struct {
	Transfers []InFlight
	More      bool // there are others, beyond the limit
	// Stale says that some partition has no leader: of it the list has what this
	// node knows, which may be old.
	Stale bool
}

// InFlight lists transfers of a tenant between partitions that are not finished,
// at most limit, which is MaxInFlightListed at the most: by paying and receiving
// partition, the oldest first. A tenant that does not exist has none.
func (s *Service) InFlight(ctx context.Context, tenant Tenant, limit int) (InFlightList, error) {
	var list InFlightList
	limit = min(limit, MaxInFlightListed)
	for _, p := range s.parts {
		for at, more := (inFlightCursor{}), true; more && !list.More; {
			var found []InFlight
			look := func() { found, at, more = p.Machine.inFlight(nil, at, inFlightSlice) }
			err := p.Log.Read(ctx, look)
			if errors.Is(err, rsm.ErrNoLeader) {
				list.Stale = true
				err = p.Log.Peek(ctx, look)
			}
			if err != nil {
				return InFlightList{}, err
			}
			for i := range found {
				if found[i].Tenant != tenant {
					continue
				}
				if list.More = len(list.Transfers) == limit; list.More {
					break
				}
				list.Transfers = append(list.Transfers, found[i])
			}
		}
	}
	return list, s.nameReceivers(ctx, list.Transfers)
}

// nameReceivers fills in the ids of the receiving accounts that this node knows.
func (s *Service) nameReceivers(ctx context.Context, list []InFlight) error {
	for n, p := range s.parts {
		err := p.Log.Peek(ctx, func() {
			for i := range list {
				f := &list[i]
				if int(f.To.Partition()) != n {
					continue
				}
				number := p.Machine.tenantNumber(string(f.Tenant))
				if number >= 0 && p.Machine.get(uint16(number), f.To) != nil {
					f.ToAccount = p.Machine.account(f.To).ID
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
