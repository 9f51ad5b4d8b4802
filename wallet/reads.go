package wallet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"maru.example/rsm"
)

// query asks something of a partition.
func (s *Service) query(ctx context.Context, p *Partition, q *query) (*finding, error) {
	var found struct { // a query that has ended with ctx may still write it
		*finding
		err error
	}
	err := s.await(ctx, func(done func()) {
		p.query(q, func(f *finding, err error) {
			found.finding, found.err = f, err
			done()
		})
	})
	if err != nil {
		return nil, fmt.Errorf("wallet: not read: %w", err)
	}
	return found.finding, found.err
}

// queryElsewhere asks another node something of a partition.
func (s *Service) queryElsewhere(ctx context.Context, p *Partition, q *query) (*finding, error) {
	var found struct { // a query that has ended with ctx may still write it
		*finding
		err error
	}
	err := s.await(ctx, func(done func()) {
		p.queryAway(q, func(f *finding, err error) {
			found.finding, found.err = f, err
			done()
		})
	})
	if err != nil {
		return nil, fmt.Errorf("wallet: not read: %w", err)
	}
	return found.finding, found.err
}

// Account returns an account's state. The code is Applied, UnknownAccount or UnknownTenant.
func (s *Service) Account(ctx context.Context, tenant Tenant, id AccountID) (Account, Code, error) {
	if err := id.Validate(); err != nil {
		return Account{}, Undecided, err
	}
	_, ok, err := s.Tenant(ctx, tenant)
	if err != nil {
		return Account{}, Undecided, err
	}
	if !ok {
		return Account{}, UnknownTenant, nil
	}
	f, err := s.query(ctx, s.partition(tenant, id), &query{Subject: aboutAccount, Name: tenant, Accounts: []AccountID{id}})
	switch {
	case err != nil:
		return Account{}, Undecided, err
	case f.Code == UnknownTenant: // nothing of it has come there yet
		return Account{}, UnknownAccount, nil
	}
	return f.Account, f.Code, nil
}

// AccountStale is Account as a replica knows it, this node's if it has one, without
// asking others, and how old that may be: a change that was acknowledged longer ago
// is in it. An account or tenant that is newer may be unknown.
func (s *Service) AccountStale(ctx context.Context, tenant Tenant, id AccountID) (a Account, code Code, age time.Duration, err error) {
	if err := id.Validate(); err != nil {
		return Account{}, Undecided, 0, err
	}
	f, err := s.query(ctx, s.partition(tenant, id), &query{Subject: aboutAccount, Consistency: stale, Name: tenant, Accounts: []AccountID{id}})
	if err != nil {
		return Account{}, Undecided, 0, err
	}
	return f.Account, f.Code, f.Age, nil
}

// MaxInFlightListed is the most transfers that InFlight lists.
const MaxInFlightListed = 1000

// InFlightList is a list of transfers under way.
type InFlightList struct {
	Transfers []InFlight
	More      bool // there are others, beyond the limit
	// Stale says that some partition has no leader: of it the list has what a
	// replica knows, which may be old, or nothing if none can be reached.
	Stale bool
}

// InFlight lists transfers of a tenant between partitions that are not finished,
// at most limit, which is MaxInFlightListed at the most: by paying and receiving
// partition, the oldest first. A tenant that does not exist has none.
func (s *Service) InFlight(ctx context.Context, tenant Tenant, limit int) (InFlightList, error) {
	var list InFlightList
	limit = min(limit, MaxInFlightListed)
	for _, p := range s.parts {
		for q, more := (query{Subject: aboutInFlight, Name: tenant}), true; more && !list.More; {
			f, err := s.query(ctx, p, &q)
			if errors.Is(err, rsm.ErrNoLeader) {
				list.Stale, q.Consistency = true, asItIs
				f, err = s.query(ctx, p, &q)
			}
			if errors.Is(err, rsm.ErrNoLeader) {
				break // no node that has it can be reached
			}
			if err != nil {
				return InFlightList{}, err
			}
			room := limit - len(list.Transfers)
			list.More = len(f.Transfers) > room
			list.Transfers = append(list.Transfers, f.Transfers[:min(room, len(f.Transfers))]...)
			q.Cursor, more = f.Cursor, f.More
		}
	}
	return list, s.nameReceivers(ctx, tenant, list.Transfers)
}

// nameReceivers fills in the ids of the receiving accounts that are known here,
// or to nodes that can be reached.
func (s *Service) nameReceivers(ctx context.Context, tenant Tenant, list []InFlight) error {
	for n, p := range s.parts {
		q := query{Subject: aboutNames, Consistency: asItIs, Name: tenant}
		var places []int
		for i := range list {
			if int(list[i].To.Partition()) == n {
				q.Handles, places = append(q.Handles, list[i].To), append(places, i)
			}
		}
		if len(places) == 0 {
			continue
		}
		f, err := s.query(ctx, p, &q)
		if errors.Is(err, rsm.ErrNoLeader) {
			continue
		}
		if err != nil {
			return err
		}
		for k, i := range places {
			list[i].ToAccount = f.Accounts[k]
		}
	}
	return nil
}
