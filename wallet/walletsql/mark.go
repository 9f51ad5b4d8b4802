package walletsql

import (
	"context"
	"database/sql"
	"errors"

	"maru.example/rsm"
	"maru.example/wallet"
)

var _ wallet.WebhookMarks = (*Store)(nil)

// tagDigits is how many digits of a wallet's past, or of its branch, are in the ids of webhooks' messages.
const tagDigits = 8

// tag returns what tells the ids of messages from those of other pasts.
func (o Owner) tag() string {
	tag := o.Past
	if o.Branch != "" {
		tag = o.Branch
	}
	return tag[:min(len(tag), tagDigits)]
}

// WebhookMark implements wallet.WebhookMarks.
func (s *Store) WebhookMark(ctx context.Context, partition uint16) (m wallet.WebhookMark, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		m, err = markOf(ctx, tx, partition)
		return err
	})
	return m, err
}

// MoveWebhookMark implements wallet.WebhookMarks.
func (s *Store) MoveWebhookMark(ctx context.Context, partition uint16, from, to wallet.WebhookMark) error {
	return s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		kept, err := markOf(ctx, tx, partition)
		if err == nil && kept != from {
			err = wallet.ErrWebhookBehind
		}
		if err != nil {
			return err
		}
		return putMark(ctx, tx, partition, to)
	})
}

func markOf(ctx context.Context, tx *sql.Tx, partition uint16) (m wallet.WebhookMark, err error) {
	owner, err := ownerOf(ctx, tx)
	if err != nil {
		return m, err
	}
	if owner != nil {
		m.Past = owner.tag()
	}
	var entry int64
	var digest []byte
	err = tx.QueryRowContext(ctx, `SELECT entry, digest FROM webhook_marks WHERE part = $1`, int64(partition)).Scan(&entry, &digest)
	if errors.Is(err, sql.ErrNoRows) {
		return m, nil
	}
	m.Index = rsm.Index(entry)
	copy(m.Sum[:], digest)
	return m, err
}

func putMark(ctx context.Context, tx *sql.Tx, partition uint16, m wallet.WebhookMark) error {
	var digest []byte // NULL
	if m.Sum != [32]byte{} {
		digest = m.Sum[:]
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO webhook_marks (part, entry, digest) VALUES ($1, $2, $3)
		ON CONFLICT (part) DO UPDATE SET entry = excluded.entry, digest = excluded.digest`, int64(partition), int64(m.Index), digest)
	return err
}

// Part gives the database to a log of the wallet that is not the one which the tables know, such as a copy of before that
// went on: the ids of messages begin with the branch from then on, which is to be drawn at random, and nothing is sent but where
// the log has the last entries of the partitions, which are given with their sums. Lanes that are further are set back there,
// and none that is under way can be kept. It returns how many places were set back.
func (s *Store) Part(ctx context.Context, branch string, last []wallet.WebhookMark) (moved int64, err error) {
	var owner *Owner
	err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if owner, err = ownerOf(ctx, tx); err != nil {
			return err
		}
		if owner == nil {
			return errors.New("walletsql: the database belongs to nobody yet")
		}
		owner.Branch = branch
		ends := make([]rsm.Index, len(last))
		for i := range last {
			ends[i] = last[i].Index
		}
		if moved, err = setBack(ctx, tx, ends); err != nil {
			return err
		}
		for i := range last {
			if last[i].Index > 0 {
				if err := putMark(ctx, tx, uint16(i), last[i]); err != nil {
					return err
				}
			}
		}
		return putOwner(ctx, tx, *owner)
	})
	if err == nil {
		s.owner = owner
	}
	return moved, err
}
