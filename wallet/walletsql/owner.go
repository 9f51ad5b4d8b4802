package walletsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maru.example/rsm"
	"maru.example/wallet"
)

// Owner is the wallet that a database belongs to.
type Owner struct {
	Cluster string
	// Past tells a wallet from those that were restored of the same cluster, which have its id: what one
	// has decided, another has not. "" is not known, and fits any.
	Past string
	// Branch was drawn when the database was given to a log of this past that is not the one which the tables knew
	// before; "": it never was. See Part.
	Branch string
}

// fits returns an error that wraps wallet.ErrStoreOfAnother if a database belongs to another wallet.
func (o Owner) fits(kept Owner) error {
	switch {
	case o.Cluster != kept.Cluster:
		return fmt.Errorf("%w: it is of the cluster %s, and this is %s", wallet.ErrStoreOfAnother, kept.Cluster, o.Cluster)
	case o.Past != kept.Past && o.Past != "" && kept.Past != "":
		return fmt.Errorf("%w: cluster %s", wallet.ErrStoreOfPast, kept.Cluster)
	}
	return nil
}

// Claim lets the store be used for a wallet: where nobody has claimed the database before, it is the wallet's from
// then on; where another has, the error wraps wallet.ErrStoreOfAnother or ErrStoreOfPast. A wallet that was restored, and
// decides for the first time, gives the last entry of each partition that was restored: then webhooks are set back as
// TakeOver does. Of a store that has claimed, every transaction makes sure that nobody took the database over.
func (s *Store) Claim(ctx context.Context, o Owner, restored []rsm.Index) error {
	kept := o
	err := s.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		found, err := ownerOf(ctx, tx)
		if err != nil {
			return err
		}
		if found != nil {
			kept = *found
			return o.fits(kept)
		}
		kept = o
		if _, err := setBack(ctx, tx, restored); err != nil {
			return err
		}
		return putOwner(ctx, tx, o)
	})
	if err == nil {
		s.owner = &kept
	}
	return unavailable(err)
}

// TakeOver gives a database to a wallet that was restored of the same cluster. Webhooks whose place is behind the last
// entry of a partition that was restored are set back there: what was delivered of later ones, this wallet has not
// decided. It returns how many places that were.
func (s *Store) TakeOver(ctx context.Context, o Owner, restored []rsm.Index) (moved int64, err error) {
	err = s.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		found, err := ownerOf(ctx, tx)
		if err != nil {
			return err
		}
		if found != nil && found.Cluster != o.Cluster {
			return o.fits(*found)
		}
		moved = 0
		if found != nil && found.Past == o.Past { // it was done before
			o.Branch = found.Branch
		} else {
			if moved, err = setBack(ctx, tx, restored); err != nil {
				return err
			}
		}
		return putOwner(ctx, tx, o)
	})
	if err == nil {
		s.owner = &o
	}
	return moved, unavailable(err)
}

// Kept returns the wallet that the database belongs to, nil if nobody has claimed it.
func (s *Store) Kept(ctx context.Context) (o *Owner, err error) {
	err = s.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		o, err = ownerOf(ctx, tx)
		return err
	})
	return o, unavailable(err)
}

// Owner returns the wallet that the store was claimed for; the zero value if it was not.
func (s *Store) Owner() Owner {
	if s.owner == nil {
		return Owner{}
	}
	return *s.owner
}

func ownerOf(ctx context.Context, tx *sql.Tx) (*Owner, error) {
	var o Owner
	err := tx.QueryRowContext(ctx, `SELECT cluster, past, branch FROM wallet_owner`).Scan(&o.Cluster, &o.Past, &o.Branch)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &o, err
}

func putOwner(ctx context.Context, tx *sql.Tx, o Owner) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO wallet_owner (one, cluster, past, branch) VALUES (1, $1, $2, $3)
		ON CONFLICT (one) DO UPDATE SET cluster = excluded.cluster, past = excluded.past, branch = excluded.branch`, o.Cluster, o.Past, o.Branch)
	return err
}

// setBack lets the lanes that are behind the last entries of the partitions begin there. What another server has under way
// is not kept any more, and what was known of the log is forgotten.
func setBack(ctx context.Context, tx *sql.Tx, last []rsm.Index) (moved int64, err error) {
	if len(last) == 0 {
		return 0, nil
	}
	for _, statement := range []string{`DELETE FROM webhook_marks`, `UPDATE webhook_lanes SET generation = generation + 1`} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return 0, err
		}
	}
	for partition, at := range last {
		result, err := tx.ExecContext(ctx, `UPDATE webhook_lanes SET set_back = entry, entry = $2, number = 0, attempts = 0,
			first_attempt = NULL, next_attempt = NULL, gap_to = 0 WHERE part = $1 AND (entry > $2 OR entry = $2 AND number > 0)`, partition, int64(at)+1)
		if err != nil {
			return moved, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return moved, err
		}
		moved += n
	}
	return moved, nil
}

// update runs f in a transaction, if the database is still the store's.
func (s *Store) update(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	return unavailable(s.db.Update(ctx, s.owned(f)))
}

// view runs f on one state of the database, if it is still the store's.
func (s *Store) view(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	return unavailable(s.db.View(ctx, s.owned(f)))
}

func (s *Store) owned(f func(ctx context.Context, tx *sql.Tx) error) func(ctx context.Context, tx *sql.Tx) error {
	if s.owner == nil {
		return f
	}
	return func(ctx context.Context, tx *sql.Tx) error {
		kept, err := ownerOf(ctx, tx)
		if err != nil {
			return err
		}
		if kept == nil {
			kept = &Owner{}
		}
		if err := s.owner.fits(*kept); err != nil {
			return err
		}
		return f(ctx, tx)
	}
}
