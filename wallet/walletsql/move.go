package walletsql

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maru.example/wallet"
)

// ErrMoveConflict says that the store to which another one is to be moved has something else under the same name.
var ErrMoveConflict = errors.New("walletsql: the other store has something else in its place")

// movePage is how many accounts are read at once.
const movePage = 256

// Moved counts what a move found in the store that is moved.
type Moved struct {
	Accounts int // with personal data, or what is left of it after an erasure
	Items    int
	Webhooks int
}

// CopyTo copies everything into another store, in one transaction: all of it, or nothing. Both are to be marked with the same
// master key; the marks stay. What is there already stays as it is: it was copied before, and may have changed since. So
// it can be repeated, also when the other store has been in use since. An account that was erased in either store is erased in the
// other. The error wraps [ErrMoveConflict] where an account has personal data of its own in both, and wallet.ErrStoreOfAnother
// or wallet.ErrStoreOfPast where the other store is another wallet's.
func (s *Store) CopyTo(ctx context.Context, to *Store) (moved Moved, err error) {
	err = s.db.View(ctx, func(ctx context.Context, from *sql.Tx) error {
		return to.db.Update(ctx, func(ctx context.Context, into *sql.Tx) error {
			moved = Moved{}
			if err := moveClaim(ctx, from, into); err != nil {
				return err
			}
			if err := copyPersonal(ctx, from, into, &moved); err != nil {
				return err
			}
			if err := copyMarks(ctx, from, into); err != nil {
				return err
			}
			return copyWebhooks(ctx, from, into, &moved)
		})
	})
	return moved, unavailable(err)
}

// moveClaim gives the other store to the wallet that this one belongs to, if nobody has claimed it.
func moveClaim(ctx context.Context, from, into *sql.Tx) error {
	own, err := ownerOf(ctx, from)
	if err != nil || own == nil {
		return err
	}
	there, err := ownerOf(ctx, into)
	switch {
	case err != nil:
		return err
	case there != nil:
		return own.fits(*there)
	}
	return putOwner(ctx, into, *own)
}

// copyPersonal copies keys and items, but for the mark.
func copyPersonal(ctx context.Context, from, into *sql.Tx, moved *Moved) error {
	var after wallet.PersonalOwner
	for {
		page, err := personalTx{from}.Keys(ctx, after, movePage)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			after = page[i].PersonalOwner
			if after == (wallet.PersonalOwner{}) {
				continue
			}
			moved.Accounts++
			if err := copyOwner(ctx, from, into, &page[i], moved); err != nil {
				return err
			}
		}
	}
}

// copyOwner copies what there is of one account.
func copyOwner(ctx context.Context, from, into *sql.Tx, k *wallet.OwnedKey, moved *Moved) error {
	there, err := personalTx{into}.Key(ctx, k.PersonalOwner)
	if err != nil {
		return err
	}
	switch {
	case there.Version == 0: // nothing is there
	case k.Erased != nil && there.Erased == nil:
		if err := (personalTx{into}).DeleteItems(ctx, k.PersonalOwner); err != nil {
			return err
		}
		k.Version = max(k.Version, there.Version)
	case there.Erased != nil, bytes.Equal(there.Sealed, k.Sealed):
		return nil
	default:
		return fmt.Errorf("%w: personal data of account %s of tenant %q", ErrMoveConflict, k.Account, string(k.Tenant))
	}
	if err := (personalTx{into}).PutKey(ctx, k.PersonalOwner, &k.PersonalKey); err != nil {
		return err
	}
	return rows(ctx, from, func(scan func(...any) error) error {
		var item wallet.PersonalItem
		var version int64
		var sealed []byte
		if err := scan(&item, &version, &sealed); err != nil {
			return err
		}
		moved.Items++
		return personalTx{into}.PutItem(ctx, k.PersonalOwner, item, wallet.SealedItem{Version: uint64(version), Sealed: sealed})
	}, `SELECT item, version, sealed FROM personal_items WHERE tenant = $1 AND account = $2 ORDER BY item`, string(k.Tenant), string(k.Account))
}

// copyMarks copies what is known of the log, where the other store knows nothing.
func copyMarks(ctx context.Context, from, into *sql.Tx) error {
	return rows(ctx, from, func(scan func(...any) error) error {
		var part, entry int64
		var digest []byte
		if err := scan(&part, &entry, &digest); err != nil {
			return err
		}
		_, err := into.ExecContext(ctx, `INSERT INTO webhook_marks (part, entry, digest) VALUES ($1, $2, $3) ON CONFLICT (part) DO NOTHING`, part, entry, digest)
		return err
	}, `SELECT part, entry, digest FROM webhook_marks ORDER BY part`)
}

// webhookTables are the tables of a webhook and their columns, the webhook's id first.
var webhookTables = []struct{ insert, read string }{
	{
		`INSERT INTO webhooks (id, tenant, url, note, chosen, secrets, enabled, reason, created, revision, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		`SELECT id, tenant, url, note, chosen, secrets, enabled, reason, created, revision, attempts FROM webhooks WHERE id = $1`,
	},
	{
		`INSERT INTO webhook_lanes (webhook, part, generation, entry, number, since, attempts, first_attempt, next_attempt, last_error, last_success, failing_since, gap_to, set_back)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		`SELECT webhook, part, generation, entry, number, since, attempts, first_attempt, next_attempt, last_error, last_success, failing_since, gap_to, set_back FROM webhook_lanes WHERE webhook = $1`,
	},
	{
		`INSERT INTO webhook_attempts (webhook, seq, at, message, kind, try, status, latency, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		`SELECT webhook, seq, at, message, kind, try, status, latency, error FROM webhook_attempts WHERE webhook = $1`,
	},
	{
		`INSERT INTO webhook_dead_letters (webhook, message, kind, at, attempts, error, body) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		`SELECT webhook, message, kind, at, attempts, error, body FROM webhook_dead_letters WHERE webhook = $1`,
	},
}

// copyWebhooks copies the webhooks that are not there.
func copyWebhooks(ctx context.Context, from, into *sql.Tx, moved *Moved) error {
	var ids []string
	err := rows(ctx, from, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT id FROM webhooks ORDER BY id`)
	if err != nil {
		return err
	}
	for _, id := range ids {
		moved.Webhooks++
		var there, all int
		if err := into.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM webhooks WHERE id = $1), (SELECT COUNT(*) FROM webhooks)`, id).Scan(&there, &all); err != nil {
			return err
		}
		if there > 0 {
			continue
		}
		if all >= wallet.MaxWebhooks {
			return wallet.ErrTooManyWebhooks
		}
		for _, table := range webhookTables {
			if err := copyRows(ctx, from, into, table.insert, table.read, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyRows inserts what a query finds.
func copyRows(ctx context.Context, from, into *sql.Tx, insert, read, id string) error {
	found, err := from.QueryContext(ctx, read, id)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }() // Err has what there is to say
	columns, err := found.ColumnTypes()
	if err != nil {
		return err
	}
	for found.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := found.Scan(targets...); err != nil {
			return err
		}
		for i, c := range columns {
			if n, ok := values[i].(int64); ok && c.Name() == "enabled" { // which SQLite has as a number
				values[i] = n != 0
			}
		}
		if _, err := into.ExecContext(ctx, insert, values...); err != nil {
			return err
		}
	}
	return found.Err()
}

// Wipe deletes everything, and overwrites it as far as the store's technology lets it.
func (s *Store) Wipe(ctx context.Context) error {
	err := s.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, table := range []string{"personal_items", "personal_keys", "webhooks"} { // others go with the webhooks
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = s.db.Scrub(ctx)
	}
	return unavailable(err)
}
