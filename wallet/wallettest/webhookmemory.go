package wallettest

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"

	"maru.example/rsm"
	"maru.example/wallet"
)

// WebhookMemory is a wallet.WebhookStore in memory, with its marks. The zero value is ready for use.
type WebhookMemory struct {
	mu    sync.Mutex
	all   map[wallet.WebhookID]*keptWebhook
	marks map[uint16]wallet.WebhookMark
	past  string
}

type keptWebhook struct {
	webhook  wallet.Webhook
	lanes    []wallet.WebhookLane
	attempts []wallet.WebhookAttempt // the newest last
	dead     []wallet.DeadLetter     // by time and message
}

var (
	_ wallet.WebhookStore = (*WebhookMemory)(nil)
	_ wallet.WebhookMarks = (*WebhookMemory)(nil)
)

// Begin lets another past begin, of a tag: no mark is left, and lanes that are beyond the last entry of a partition are set
// back there.
func (s *WebhookMemory) Begin(past string, last ...rsm.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past, s.marks = past, nil
	for _, k := range s.all {
		for i := range k.lanes {
			l := &k.lanes[i]
			if l.Generation++; l.Next.Index > last[l.Partition]+1 {
				l.SetBack, l.Next = l.Next.Index, wallet.EventPosition{Index: last[l.Partition] + 1}
			}
		}
	}
}

// WebhookMark implements wallet.WebhookMarks.
func (s *WebhookMemory) WebhookMark(_ context.Context, partition uint16) (wallet.WebhookMark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark(partition), nil
}

func (s *WebhookMemory) mark(partition uint16) wallet.WebhookMark {
	m := s.marks[partition]
	m.Past = s.past
	return m
}

// MoveWebhookMark implements wallet.WebhookMarks.
func (s *WebhookMemory) MoveWebhookMark(_ context.Context, partition uint16, from, to wallet.WebhookMark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from != s.mark(partition) {
		return wallet.ErrWebhookBehind
	}
	if s.marks == nil {
		s.marks = map[uint16]wallet.WebhookMark{}
	}
	s.marks[partition] = to
	return nil
}

// Webhooks implements wallet.WebhookStore.
func (s *WebhookMemory) Webhooks(context.Context) ([]wallet.Webhook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []wallet.Webhook
	for _, k := range s.all {
		all = append(all, k.webhook)
	}
	slices.SortFunc(all, func(a, b wallet.Webhook) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// PutWebhook implements wallet.WebhookStore.
func (s *WebhookMemory) PutWebhook(_ context.Context, w *wallet.Webhook, lanes []wallet.WebhookLane) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.all[w.ID]
	switch {
	case k == nil && w.Revision != 0:
		return wallet.ErrNoWebhook
	case k != nil && w.Revision != k.webhook.Revision:
		return wallet.ErrWebhookConflict
	case k == nil && len(s.all) >= wallet.MaxWebhooks:
		return wallet.ErrTooManyWebhooks
	case k == nil:
		k = &keptWebhook{}
		if s.all == nil {
			s.all = map[wallet.WebhookID]*keptWebhook{}
		}
		s.all[w.ID] = k
	}
	k.webhook = *w
	k.webhook.Revision++
	if lanes != nil {
		k.lanes = slices.Clone(lanes)
	}
	return nil
}

// DeleteWebhook implements wallet.WebhookStore.
func (s *WebhookMemory) DeleteWebhook(_ context.Context, id wallet.WebhookID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[id] == nil {
		return wallet.ErrNoWebhook
	}
	delete(s.all, id)
	return nil
}

// WebhookLanes implements wallet.WebhookStore.
func (s *WebhookMemory) WebhookLanes(_ context.Context, id wallet.WebhookID) ([]wallet.WebhookLane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.all[id]; k != nil {
		return slices.Clone(k.lanes), nil
	}
	return nil, nil
}

// SaveWebhook implements wallet.WebhookStore.
func (s *WebhookMemory) SaveWebhook(_ context.Context, id wallet.WebhookID, p *wallet.WebhookProgress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.all[id]
	if k == nil {
		return wallet.ErrWebhookBehind
	}
	if p.Lane != nil {
		i := slices.IndexFunc(k.lanes, func(l wallet.WebhookLane) bool { return l.Partition == p.Lane.Partition })
		if i < 0 {
			return wallet.ErrWebhookBehind
		}
		if g := k.lanes[i].Generation; p.Lane.Generation < g || p.Lane.Generation == g && p.Lane.Next.Before(k.lanes[i].Next) {
			return wallet.ErrWebhookBehind
		}
		k.lanes[i] = *p.Lane
	}
	k.attempts = append(k.attempts, p.Attempts...)
	k.attempts = k.attempts[max(0, len(k.attempts)-wallet.MaxWebhookAttempts):]
	if d := p.Dead; d != nil {
		k.dead = slices.DeleteFunc(k.dead, func(v wallet.DeadLetter) bool { return v.Message == d.Message })
		v := *d
		v.Body = bytes.Clone(d.Body)
		k.dead = append(k.dead, v)
		slices.SortFunc(k.dead, func(a, b wallet.DeadLetter) int {
			return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Message, b.Message))
		})
		k.dead = k.dead[max(0, len(k.dead)-wallet.MaxWebhookDeadLetters):]
	}
	return nil
}

// WebhookAttempts implements wallet.WebhookStore.
func (s *WebhookMemory) WebhookAttempts(_ context.Context, id wallet.WebhookID, limit int) ([]wallet.WebhookAttempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.all[id]
	if k == nil {
		return nil, nil
	}
	list := slices.Clone(k.attempts)
	slices.Reverse(list)
	return list[:min(limit, len(list))], nil
}

// DeadLetters implements wallet.WebhookStore.
func (s *WebhookMemory) DeadLetters(_ context.Context, id wallet.WebhookID, after string, limit int) ([]wallet.DeadLetter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.all[id]
	if k == nil {
		return nil, nil
	}
	list := slices.Clone(k.dead)
	if after != "" {
		list = list[1+slices.IndexFunc(list, func(d wallet.DeadLetter) bool { return d.Message == after }):]
	}
	return list[:min(limit, len(list))], nil
}

// RemoveDeadLetter implements wallet.WebhookStore.
func (s *WebhookMemory) RemoveDeadLetter(_ context.Context, id wallet.WebhookID, message string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.all[id]; k != nil {
		before := len(k.dead)
		k.dead = slices.DeleteFunc(k.dead, func(d wallet.DeadLetter) bool { return d.Message == message })
		if len(k.dead) < before {
			return nil
		}
	}
	return wallet.ErrNoDeadLetter
}
