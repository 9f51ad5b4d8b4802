package wallethook

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"maru.example/wallet"
)

const changeTries = 5 // against others that change the same webhook

// CreateWebhook makes a webhook of a tenant, and returns it with its secret. The error wraps
// one of [wallet.Webhook.Validate], wallet.ErrTooManyWebhooks or wallet.ErrWebhooksElsewhere.
func (e *Engine) CreateWebhook(ctx context.Context, tenant wallet.Tenant, n *wallet.NewWebhook) (wallet.WebhookState, error) {
	if err := e.o.Refuse(); err != nil {
		return wallet.WebhookState{}, err
	}
	now := time.Now().UTC()
	w := wallet.Webhook{
		ID: wallet.WebhookID("wh_" + newID()), Tenant: tenant, URL: n.URL, Note: n.Note, Kinds: n.Kinds, Accounts: n.Accounts, Thresholds: n.Thresholds,
		Secrets: []wallet.WebhookSecret{{Key: newSecret()}}, Enabled: !n.Disabled, Created: now,
	}
	if err := w.Validate(e.o.AnyHTTP); err != nil {
		return wallet.WebhookState{}, err
	}
	if err := e.checkURL(w.URL); err != nil {
		return wallet.WebhookState{}, err
	}
	lanes := make([]wallet.WebhookLane, len(e.partitions))
	for i := range lanes {
		lanes[i].Partition = uint16(i)
	}
	if err := e.move(ctx, lanes, &wallet.WebhookFrom{}, now); err != nil { // for those that From does not name
		return wallet.WebhookState{}, err
	}
	if err := e.move(ctx, lanes, &n.From, now); err != nil {
		return wallet.WebhookState{}, err
	}
	if err := e.store.PutWebhook(ctx, &w, lanes); err != nil {
		return wallet.WebhookState{}, err
	}
	e.change()
	w.Revision = 1
	return wallet.WebhookState{Webhook: w, Lanes: lanes}, nil
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// move lets lanes begin at another place.
func (e *Engine) move(ctx context.Context, lanes []wallet.WebhookLane, from *wallet.WebhookFrom, now time.Time) error {
	for _, p := range from.Positions {
		if err := e.checkPlace(ctx, p); err != nil {
			return err
		}
	}
	for i := range lanes {
		l := wallet.WebhookLane{Partition: lanes[i].Partition, Generation: lanes[i].Generation + 1}
		p := &e.partitions[i]
		named := slices.IndexFunc(from.Positions, func(at wallet.HistoryPosition) bool { return int(at.Partition) == i })
		switch {
		case named >= 0:
			l.Next.Index = max(from.Positions[named].Index, p.First)
		case len(from.Positions) > 0:
			continue
		case from.Oldest:
		case !from.Time.IsZero():
			l.Since = from.Time.UTC()
		default:
			// What is decided from now on has a later index than what was applied
			// here, if there is a replica.
			if l.Next.Index = p.Applied(); l.Next.Index > 0 {
				l.Next.Index++
			}
			l.Since = now
		}
		lanes[i] = l
	}
	return nil
}

// checkPlace refuses a place that there is not yet.
func (e *Engine) checkPlace(ctx context.Context, p wallet.HistoryPosition) error {
	if int(p.Partition) >= len(e.partitions) {
		return fmt.Errorf("%w: there is no partition %d", wallet.ErrPosition, p.Partition)
	}
	last, err := e.wallet.Position(ctx, p.Partition)
	if err != nil {
		return err
	}
	if last = max(last, e.partitions[p.Partition].Applied()); last > 0 && p.Index > last+1 {
		return fmt.Errorf("%w: %v is beyond the end, which is %v", wallet.ErrPosition, p, wallet.HistoryPosition{Partition: p.Partition, Index: last})
	}
	return nil
}

// Webhooks returns the webhooks of a tenant.
func (e *Engine) Webhooks(ctx context.Context, tenant wallet.Tenant) ([]wallet.WebhookState, error) {
	all, err := e.store.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	var own []wallet.WebhookState
	for i := range all {
		if all[i].Tenant != tenant {
			continue
		}
		lanes, err := e.store.WebhookLanes(ctx, all[i].ID)
		if err != nil {
			return nil, err
		}
		own = append(own, wallet.WebhookState{Webhook: all[i], Lanes: lanes})
	}
	return own, nil
}

// Webhook returns a webhook, or wallet.ErrNoWebhook.
func (e *Engine) Webhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID) (wallet.WebhookState, error) {
	all, err := e.store.Webhooks(ctx)
	if err != nil {
		return wallet.WebhookState{}, err
	}
	for i := range all {
		if all[i].ID == id && all[i].Tenant == tenant {
			lanes, err := e.store.WebhookLanes(ctx, id)
			return wallet.WebhookState{Webhook: all[i], Lanes: lanes}, err
		}
	}
	return wallet.WebhookState{}, wallet.ErrNoWebhook
}

// changeWebhook changes a webhook and, if change says so, its lanes.
func (e *Engine) changeWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, change func(*wallet.WebhookState) (lanes bool, err error)) (wallet.WebhookState, error) {
	if err := e.o.Refuse(); err != nil {
		return wallet.WebhookState{}, err
	}
	for try := 1; ; try++ {
		s, err := e.Webhook(ctx, tenant, id)
		if err != nil {
			return s, err
		}
		moved, err := change(&s)
		if err == nil {
			err = s.Validate(e.o.AnyHTTP)
		}
		if err != nil {
			return s, err
		}
		var lanes []wallet.WebhookLane
		if moved {
			lanes = s.Lanes
		}
		if err = e.store.PutWebhook(ctx, &s.Webhook, lanes); errors.Is(err, wallet.ErrWebhookConflict) && try < changeTries {
			continue
		}
		if err != nil {
			return s, err
		}
		e.change()
		s.Revision++
		return s, nil
	}
}

// UpdateWebhook changes a webhook. It goes on where it is; one that is enabled again has its
// failures forgotten.
func (e *Engine) UpdateWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, c *wallet.WebhookChange) (wallet.WebhookState, error) {
	return e.changeWebhook(ctx, tenant, id, func(s *wallet.WebhookState) (bool, error) {
		if c.URL != nil {
			if err := e.checkURL(*c.URL); err != nil {
				return false, err
			}
		}
		set(&s.URL, c.URL)
		set(&s.Note, c.Note)
		set(&s.Kinds, c.Kinds)
		set(&s.Accounts, c.Accounts)
		set(&s.Thresholds, c.Thresholds)
		if c.Enabled == nil {
			return false, nil
		}
		anew := *c.Enabled && !s.Enabled
		s.Enabled, s.Reason = *c.Enabled, ""
		for i := range s.Lanes {
			if l := &s.Lanes[i]; anew {
				l.Generation++
				l.Attempts, l.FirstAttempt, l.NextAttempt, l.LastError, l.FailingSince = 0, time.Time{}, time.Time{}, "", time.Time{}
			}
		}
		return anew, nil
	})
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// DeleteWebhook removes a webhook with its dead letters.
func (e *Engine) DeleteWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID) error {
	if _, err := e.Webhook(ctx, tenant, id); err != nil {
		return err
	}
	err := e.store.DeleteWebhook(ctx, id)
	e.change()
	return err
}

// RotateWebhook gives a webhook a new secret, the first of those that are returned. The one before signs too for
// the time that is given.
func (e *Engine) RotateWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, overlap time.Duration) (wallet.WebhookState, error) {
	secret := wallet.WebhookSecret{Key: newSecret()}
	return e.changeWebhook(ctx, tenant, id, func(s *wallet.WebhookState) (bool, error) {
		before := s.Secrets[0]
		s.Secrets = []wallet.WebhookSecret{secret}
		if overlap > 0 {
			before.Until = time.Now().UTC().Add(overlap)
			s.Secrets = append(s.Secrets, before)
		}
		return false, nil
	})
}

// ReplayWebhook lets a webhook go on at another place. What was delivered behind it is delivered
// again, with the same ids.
func (e *Engine) ReplayWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, from *wallet.WebhookFrom) (wallet.WebhookState, error) {
	return e.changeWebhook(ctx, tenant, id, func(s *wallet.WebhookState) (bool, error) {
		return true, e.move(ctx, s.Lanes, from, time.Now().UTC())
	})
}

// TestWebhook sends a message of the type test, and returns what became of it.
func (e *Engine) TestWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID) (wallet.WebhookAttempt, error) {
	s, err := e.Webhook(ctx, tenant, id)
	if err != nil {
		return wallet.WebhookAttempt{}, err
	}
	data, err := json.Marshal(map[string]string{"webhook_id": string(id), "tenant": string(tenant)})
	if err != nil {
		return wallet.WebhookAttempt{}, err
	}
	body, err := newBody(kindTest, time.Now(), data)
	if err != nil {
		return wallet.WebhookAttempt{}, err
	}
	return e.sendOnce(ctx, &s.Webhook, "test_"+newID(), kindTest, body)
}

// sendOnce makes an attempt beside the lanes, and remembers it.
func (e *Engine) sendOnce(ctx context.Context, w *wallet.Webhook, id, kind string, body []byte) (wallet.WebhookAttempt, error) {
	e.mu.Lock()
	requests := e.requests[w.ID]
	e.mu.Unlock()
	if requests != nil { // else it was made on another node just now
		select {
		case requests <- struct{}{}:
			defer func() { <-requests }()
		case <-ctx.Done():
			return wallet.WebhookAttempt{}, ctx.Err()
		}
	}
	o := e.send(ctx, w, id, kind, 1, body)
	if err := ctx.Err(); err != nil && !o.delivered() {
		return o.WebhookAttempt, err
	}
	return o.WebhookAttempt, e.store.SaveWebhook(ctx, w.ID, &wallet.WebhookProgress{Attempts: []wallet.WebhookAttempt{o.WebhookAttempt}})
}

// WebhookAttempts returns the newest attempts of a webhook, the newest first.
func (e *Engine) WebhookAttempts(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, limit int) ([]wallet.WebhookAttempt, error) {
	if _, err := e.Webhook(ctx, tenant, id); err != nil {
		return nil, err
	}
	return e.store.WebhookAttempts(ctx, id, limit)
}

// DeadLetters returns messages that were given up, the oldest first, behind one of them.
func (e *Engine) DeadLetters(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, after string, limit int) ([]wallet.DeadLetter, error) {
	if _, err := e.Webhook(ctx, tenant, id); err != nil {
		return nil, err
	}
	return e.store.DeadLetters(ctx, id, after, limit)
}

// Redeliver makes one attempt to deliver a dead letter, which is removed if it succeeds.
func (e *Engine) Redeliver(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, message string) (wallet.WebhookAttempt, error) {
	s, err := e.Webhook(ctx, tenant, id)
	if err != nil {
		return wallet.WebhookAttempt{}, err
	}
	letters, err := e.store.DeadLetters(ctx, id, "", wallet.MaxWebhookDeadLetters)
	if err != nil {
		return wallet.WebhookAttempt{}, err
	}
	i := slices.IndexFunc(letters, func(d wallet.DeadLetter) bool { return d.Message == message })
	if i < 0 {
		return wallet.WebhookAttempt{}, wallet.ErrNoDeadLetter
	}
	a, err := e.sendOnce(ctx, &s.Webhook, message, letters[i].Kind, letters[i].Body)
	if err == nil && a.Error == "" {
		if err = e.store.RemoveDeadLetter(ctx, id, message); errors.Is(err, wallet.ErrNoDeadLetter) {
			err = nil
		}
	}
	return a, err
}
