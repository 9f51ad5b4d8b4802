package walletsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maru.example/internal/sqldb"
	"maru.example/wallet"
)

// UpdatePersonal implements wallet.PersonalStore.
func (s *Store) UpdatePersonal(ctx context.Context, f func(ctx context.Context, tx wallet.PersonalTx) error) error {
	return s.update(ctx, func(ctx context.Context, tx *sql.Tx) error { return f(ctx, personalTx{tx}) })
}

// ViewPersonal implements wallet.PersonalStore.
func (s *Store) ViewPersonal(ctx context.Context, f func(ctx context.Context, tx wallet.PersonalTx) error) error {
	return s.view(ctx, func(ctx context.Context, tx *sql.Tx) error { return f(ctx, personalTx{tx}) })
}

// ScrubPersonal implements wallet.PersonalStore: it overwrites what was deleted from a file of SQLite. PostgreSQL
// keeps deleted rows until a VACUUM, and longer in its log.
func (s *Store) ScrubPersonal(ctx context.Context) error { return unavailable(s.db.Scrub(ctx)) }

// unavailable gives an error its name in the wallet.
func unavailable(err error) error {
	if errors.Is(err, sqldb.ErrUnavailable) {
		return fmt.Errorf("%w: %w", wallet.ErrStoreUnavailable, err)
	}
	return err
}

// personalTx implements wallet.PersonalTx.
type personalTx struct{ tx *sql.Tx }

// Key implements wallet.PersonalTx.
func (t personalTx) Key(ctx context.Context, o wallet.PersonalOwner) (wallet.PersonalKey, error) {
	row := t.tx.QueryRowContext(ctx, `SELECT sealed, version, erased_at, erased_by FROM personal_keys WHERE tenant = $1 AND account = $2`,
		string(o.Tenant), string(o.Account))
	k, err := scanKey(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return wallet.PersonalKey{}, nil
	}
	return k, err
}

// scanKey reads the columns of a key, after those that more points to.
func scanKey(scan func(...any) error, more ...any) (k wallet.PersonalKey, err error) {
	var version int64
	var at sql.NullInt64
	var by sql.NullString
	if err := scan(append(more, &k.Sealed, &version, &at, &by)...); err != nil {
		return wallet.PersonalKey{}, err
	}
	k.Version = uint64(version)
	if at.Valid {
		k.Erased = &wallet.Erasure{At: at.Int64, By: by.String}
	}
	return k, nil
}

// PutKey implements wallet.PersonalTx.
func (t personalTx) PutKey(ctx context.Context, o wallet.PersonalOwner, k *wallet.PersonalKey) error {
	var sealed, at, by any
	if k.Erased != nil {
		at, by = k.Erased.At, k.Erased.By
	} else {
		sealed = k.Sealed
	}
	_, err := t.tx.ExecContext(ctx, `INSERT INTO personal_keys (tenant, account, sealed, version, erased_at, erased_by) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant, account) DO UPDATE
		SET sealed = excluded.sealed, version = excluded.version, erased_at = excluded.erased_at, erased_by = excluded.erased_by`,
		string(o.Tenant), string(o.Account), sealed, int64(k.Version), at, by)
	return err
}

// Keys implements wallet.PersonalTx.
func (t personalTx) Keys(ctx context.Context, after wallet.PersonalOwner, limit int) (keys []wallet.OwnedKey, err error) {
	rows, err := t.tx.QueryContext(ctx, `SELECT tenant, account, sealed, version, erased_at, erased_by FROM personal_keys
		WHERE (tenant, account) > ($1, $2) ORDER BY tenant, account LIMIT $3`, string(after.Tenant), string(after.Account), limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k wallet.OwnedKey
		if k.PersonalKey, err = scanKey(rows.Scan, &k.Tenant, &k.Account); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// Item implements wallet.PersonalTx.
func (t personalTx) Item(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem) (wallet.SealedItem, error) {
	var version int64
	var sealed []byte
	err := t.tx.QueryRowContext(ctx, `SELECT version, sealed FROM personal_items WHERE tenant = $1 AND account = $2 AND item = $3`,
		string(o.Tenant), string(o.Account), string(item)).Scan(&version, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return wallet.SealedItem{}, nil
	}
	return wallet.SealedItem{Version: uint64(version), Sealed: sealed}, err
}

// PutItem implements wallet.PersonalTx.
func (t personalTx) PutItem(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem, s wallet.SealedItem) error {
	_, err := t.tx.ExecContext(ctx, `INSERT INTO personal_items (tenant, account, item, version, sealed) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant, account, item) DO UPDATE SET version = excluded.version, sealed = excluded.sealed`,
		string(o.Tenant), string(o.Account), string(item), int64(s.Version), s.Sealed)
	return err
}

// DeleteItem implements wallet.PersonalTx.
func (t personalTx) DeleteItem(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM personal_items WHERE tenant = $1 AND account = $2 AND item = $3`,
		string(o.Tenant), string(o.Account), string(item))
	return err
}

// DeleteItems implements wallet.PersonalTx.
func (t personalTx) DeleteItems(ctx context.Context, o wallet.PersonalOwner) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM personal_items WHERE tenant = $1 AND account = $2`, string(o.Tenant), string(o.Account))
	return err
}
