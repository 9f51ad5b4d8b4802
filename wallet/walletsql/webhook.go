package walletsql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

var _ wallet.WebhookStore = (*Store)(nil)

// chosen is what a webhook has chosen, in a column.
type chosen struct {
	Kinds      []string    `json:"kinds,omitempty"`
	Accounts   []string    `json:"accounts,omitempty"`
	Thresholds []threshold `json:"thresholds,omitempty"`
}

type threshold struct {
	Account  string `json:"account"`
	Currency uint16 `json:"currency"`
	Amount   int64  `json:"amount"`
	Above    bool   `json:"above,omitempty"`
}

// secret is one of a webhook's, in a column.
type secret struct {
	Key   []byte `json:"key"`
	Until int64  `json:"until,omitempty"` // nanoseconds since 1970 UTC
}

func encodeChosen(w *wallet.Webhook) (string, error) {
	var c chosen
	for _, k := range w.Kinds {
		c.Kinds = append(c.Kinds, k.String())
	}
	for _, id := range w.Accounts {
		c.Accounts = append(c.Accounts, string(id))
	}
	for _, t := range w.Thresholds {
		c.Thresholds = append(c.Thresholds, threshold{string(t.Account), uint16(t.Currency), int64(t.Amount), t.Above})
	}
	text, err := json.Marshal(c)
	return string(text), err
}

func decodeChosen(w *wallet.Webhook, text string) error {
	var c chosen
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	for _, name := range c.Kinds {
		k, err := wallet.ParseWebhookKind(name)
		if err != nil {
			return err
		}
		w.Kinds = append(w.Kinds, k)
	}
	for _, id := range c.Accounts {
		w.Accounts = append(w.Accounts, wallet.AccountID(id))
	}
	for _, t := range c.Thresholds {
		w.Thresholds = append(w.Thresholds, wallet.Threshold{
			Account: wallet.AccountID(t.Account), Currency: money.Currency(t.Currency), Amount: money.Amount(t.Amount), Above: t.Above,
		})
	}
	return nil
}

func encodeSecrets(secrets []wallet.WebhookSecret) (string, error) {
	list := make([]secret, len(secrets))
	for i, s := range secrets {
		list[i].Key = s.Key
		if !s.Until.IsZero() {
			list[i].Until = s.Until.UnixNano()
		}
	}
	text, err := json.Marshal(list)
	return string(text), err
}

func decodeSecrets(text string) (secrets []wallet.WebhookSecret, err error) {
	var list []secret
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, err
	}
	for _, s := range list {
		v := wallet.WebhookSecret{Key: s.Key}
		if s.Until != 0 {
			v.Until = moment(s.Until)
		}
		secrets = append(secrets, v)
	}
	return secrets, nil
}

func moment(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// optional is a time in a column, NULL for zero.
func optional(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: t.UnixNano(), Valid: true}
}

func fromOptional(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return moment(n.Int64)
}

// Webhooks implements wallet.WebhookStore.
func (s *Store) Webhooks(ctx context.Context) (all []wallet.Webhook, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		all = nil
		return rows(ctx, tx, func(scan func(...any) error) error {
			var w wallet.Webhook
			var choice, secrets string
			var created, revision int64
			err := scan(&w.ID, &w.Tenant, &w.URL, &w.Note, &choice, &secrets, &w.Enabled, &w.Reason, &created, &revision)
			if err == nil {
				err = decodeChosen(&w, choice)
			}
			if err == nil {
				w.Secrets, err = decodeSecrets(secrets)
			}
			w.Created, w.Revision = moment(created), uint64(revision)
			all = append(all, w)
			return err
		}, `SELECT id, tenant, url, note, chosen, secrets, enabled, reason, created, revision FROM webhooks ORDER BY created, id`)
	})
	return all, err
}

// rows calls f for each row of a query.
func rows(ctx context.Context, tx *sql.Tx, f func(scan func(...any) error) error, query string, args ...any) error {
	found, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }() // Err has what there is to say
	for found.Next() {
		if err := f(found.Scan); err != nil {
			return err
		}
	}
	return found.Err()
}

// PutWebhook implements wallet.WebhookStore.
func (s *Store) PutWebhook(ctx context.Context, w *wallet.Webhook, lanes []wallet.WebhookLane) error {
	choice, err := encodeChosen(w)
	if err != nil {
		return err
	}
	secrets, err := encodeSecrets(w.Secrets)
	if err != nil {
		return err
	}
	return s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := mayPut(ctx, tx, w); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO webhooks (id, tenant, url, note, chosen, secrets, enabled, reason, created, revision)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, url = excluded.url, note = excluded.note, chosen = excluded.chosen,
			secrets = excluded.secrets, enabled = excluded.enabled, reason = excluded.reason, created = excluded.created, revision = excluded.revision`,
			string(w.ID), string(w.Tenant), w.URL, w.Note, choice, secrets, w.Enabled, w.Reason, w.Created.UnixNano(), int64(w.Revision)+1)
		if err != nil || lanes == nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM webhook_lanes WHERE webhook = $1`, string(w.ID)); err != nil {
			return err
		}
		for i := range lanes {
			if err := insertLane(ctx, tx, w.ID, &lanes[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// mayPut compares the revision with the one that is kept.
func mayPut(ctx context.Context, tx *sql.Tx, w *wallet.Webhook) error {
	var count, revision int64
	err := tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM webhooks), COALESCE((SELECT revision FROM webhooks WHERE id = $1), 0)`, string(w.ID)).
		Scan(&count, &revision)
	switch {
	case err != nil:
		return err
	case revision == 0 && w.Revision != 0:
		return wallet.ErrNoWebhook
	case uint64(revision) != w.Revision:
		return wallet.ErrWebhookConflict
	case revision == 0 && count >= wallet.MaxWebhooks:
		return wallet.ErrTooManyWebhooks
	}
	return nil
}

func insertLane(ctx context.Context, tx *sql.Tx, id wallet.WebhookID, l *wallet.WebhookLane) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO webhook_lanes (webhook, part, generation, entry, number, since, attempts, first_attempt, next_attempt,
		last_error, last_success, failing_since, gap_to, set_back) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		string(id), int64(l.Partition), int64(l.Generation), int64(l.Next.Index), int64(l.Next.Number), optional(l.Since), int64(l.Attempts),
		optional(l.FirstAttempt), optional(l.NextAttempt), l.LastError, optional(l.LastSuccess), optional(l.FailingSince), int64(l.GapTo), int64(l.SetBack))
	return err
}

// DeleteWebhook implements wallet.WebhookStore.
func (s *Store) DeleteWebhook(ctx context.Context, id wallet.WebhookID) error {
	return s.remove(ctx, wallet.ErrNoWebhook, `DELETE FROM webhooks WHERE id = $1`, string(id))
}

// remove removes one row, or returns an error if there is none.
func (s *Store) remove(ctx context.Context, none error, statement string, args ...any) error {
	return s.update(ctx, func(ctx context.Context, tx *sql.Tx) error { return change(ctx, tx, none, statement, args...) })
}

// change carries out a statement that changes a row, or returns an error if there is none.
func change(ctx context.Context, tx *sql.Tx, none error, statement string, args ...any) error {
	result, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, none)
	}
	return nil
}

// WebhookLanes implements wallet.WebhookStore.
func (s *Store) WebhookLanes(ctx context.Context, id wallet.WebhookID) (lanes []wallet.WebhookLane, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		lanes = nil
		return rows(ctx, tx, func(scan func(...any) error) error {
			var l wallet.WebhookLane
			var generation, entry, gap, back int64
			var since, first, next, success, failing sql.NullInt64
			err := scan(&l.Partition, &generation, &entry, &l.Next.Number, &since, &l.Attempts, &first, &next, &l.LastError, &success, &failing, &gap, &back)
			l.Generation, l.Next.Index, l.GapTo, l.SetBack = uint64(generation), rsm.Index(entry), rsm.Index(gap), rsm.Index(back)
			l.Since, l.FirstAttempt, l.NextAttempt = fromOptional(since), fromOptional(first), fromOptional(next)
			l.LastSuccess, l.FailingSince = fromOptional(success), fromOptional(failing)
			lanes = append(lanes, l)
			return err
		}, `SELECT part, generation, entry, number, since, attempts, first_attempt, next_attempt, last_error, last_success, failing_since, gap_to, set_back
			FROM webhook_lanes WHERE webhook = $1 ORDER BY part`, string(id))
	})
	return lanes, err
}

// SaveWebhook implements wallet.WebhookStore.
func (s *Store) SaveWebhook(ctx context.Context, id wallet.WebhookID, p *wallet.WebhookProgress) error {
	return s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if p.Lane != nil {
			if err := saveLane(ctx, tx, id, p.Lane); err != nil {
				return err
			}
		}
		if err := saveAttempts(ctx, tx, id, p.Attempts); err != nil {
			return err
		}
		if p.Dead == nil {
			return nil
		}
		return saveDead(ctx, tx, id, p.Dead)
	})
}

// saveLane keeps a lane, if it is not behind the one that is kept.
func saveLane(ctx context.Context, tx *sql.Tx, id wallet.WebhookID, l *wallet.WebhookLane) error {
	return change(ctx, tx, wallet.ErrWebhookBehind, `UPDATE webhook_lanes SET entry = $4, number = $5, since = $6, attempts = $7, first_attempt = $8,
		next_attempt = $9, last_error = $10, last_success = $11, failing_since = $12, gap_to = $13, set_back = $14, generation = $3
		WHERE webhook = $1 AND part = $2 AND (generation < $3 OR generation = $3 AND (entry < $4 OR entry = $4 AND number <= $5))`,
		string(id), int64(l.Partition), int64(l.Generation), int64(l.Next.Index), int64(l.Next.Number), optional(l.Since), int64(l.Attempts),
		optional(l.FirstAttempt), optional(l.NextAttempt), l.LastError, optional(l.LastSuccess), optional(l.FailingSince), int64(l.GapTo), int64(l.SetBack))
}

// saveAttempts keeps attempts, and the newest of all.
func saveAttempts(ctx context.Context, tx *sql.Tx, id wallet.WebhookID, list []wallet.WebhookAttempt) error {
	if len(list) == 0 {
		return nil
	}
	var last int64
	err := tx.QueryRowContext(ctx, `UPDATE webhooks SET attempts = attempts + $2 WHERE id = $1 RETURNING attempts`, string(id), len(list)).Scan(&last)
	if errors.Is(err, sql.ErrNoRows) {
		return wallet.ErrWebhookBehind
	}
	if err != nil {
		return err
	}
	for i, a := range list {
		if _, err := tx.ExecContext(ctx, `INSERT INTO webhook_attempts (webhook, seq, at, message, kind, try, status, latency, error)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, string(id), last-int64(len(list)-1-i), a.Time.UnixNano(), a.Message, a.Kind,
			int64(a.Try), a.Status, int64(a.Latency), a.Error); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM webhook_attempts WHERE webhook = $1 AND seq <= $2`, string(id), last-wallet.MaxWebhookAttempts)
	return err
}

// saveDead keeps a dead letter, and the newest of all.
func saveDead(ctx context.Context, tx *sql.Tx, id wallet.WebhookID, d *wallet.DeadLetter) error {
	var there int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM webhooks WHERE id = $1`, string(id)).Scan(&there); err != nil {
		return err
	}
	if there == 0 {
		return wallet.ErrWebhookBehind
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO webhook_dead_letters (webhook, message, kind, at, attempts, error, body) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (webhook, message) DO UPDATE SET kind = excluded.kind, at = excluded.at, attempts = excluded.attempts, error = excluded.error, body = excluded.body`,
		string(id), d.Message, d.Kind, d.Time.UnixNano(), int64(d.Attempts), d.Error, d.Body)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM webhook_dead_letters WHERE webhook = $1 AND message IN (
		SELECT message FROM webhook_dead_letters WHERE webhook = $1 ORDER BY at DESC, message DESC LIMIT 1000 OFFSET $2)`,
		string(id), wallet.MaxWebhookDeadLetters)
	return err
}

// WebhookAttempts implements wallet.WebhookStore.
func (s *Store) WebhookAttempts(ctx context.Context, id wallet.WebhookID, limit int) (list []wallet.WebhookAttempt, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		list = nil
		return rows(ctx, tx, func(scan func(...any) error) error {
			var a wallet.WebhookAttempt
			var at int64
			err := scan(&at, &a.Message, &a.Kind, &a.Try, &a.Status, &a.Latency, &a.Error)
			a.Time = moment(at)
			list = append(list, a)
			return err
		}, `SELECT at, message, kind, try, status, latency, error FROM webhook_attempts WHERE webhook = $1 ORDER BY seq DESC LIMIT $2`, string(id), limit)
	})
	return list, err
}

// DeadLetters implements wallet.WebhookStore.
func (s *Store) DeadLetters(ctx context.Context, id wallet.WebhookID, after string, limit int) (list []wallet.DeadLetter, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		list = nil
		return rows(ctx, tx, func(scan func(...any) error) error {
			var d wallet.DeadLetter
			var at int64
			err := scan(&d.Message, &d.Kind, &at, &d.Attempts, &d.Error, &d.Body)
			d.Time = moment(at)
			list = append(list, d)
			return err
		}, `SELECT message, kind, at, attempts, error, body FROM webhook_dead_letters WHERE webhook = $1 AND ($2 = '' OR
			(at, message) > (SELECT at, message FROM webhook_dead_letters WHERE webhook = $1 AND message = $2)) ORDER BY at, message LIMIT $3`,
			string(id), after, limit)
	})
	return list, err
}

// RemoveDeadLetter implements wallet.WebhookStore.
func (s *Store) RemoveDeadLetter(ctx context.Context, id wallet.WebhookID, message string) error {
	return s.remove(ctx, wallet.ErrNoDeadLetter, `DELETE FROM webhook_dead_letters WHERE webhook = $1 AND message = $2`, string(id), message)
}
