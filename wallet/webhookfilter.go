package wallet

import (
	"context"
	"fmt"
)

// WebhookFilter finds among the events of a partition those that a webhook wants.
// It is for one goroutine.
type WebhookFilter struct {
	tenant     uint16
	kinds      uint64 // a bit each
	all        bool   // accounts
	accounts   map[AccountID]bool
	watched    map[AccountID]bool // accounts of thresholds
	handles    map[Handle]AccountID
	thresholds []Threshold
	possible   bool
}

// WebhookMessage is what a webhook is told: of an event, or of one that crossed a threshold.
type WebhookMessage struct {
	ID        string
	Kind      string
	Partition uint16
	EventPosition
	Time      int64 // of the entry, in nanoseconds since 1970 UTC
	Event     Event
	Threshold *Threshold // nil: the event itself
}

// AccountHandles returns the handles of a tenant's accounts, 0 for one that is not open.
type AccountHandles func(ctx context.Context, id AccountID) (Handle, error)

// NewWebhookFilter returns the filter of a webhook for one of a wallet's partitions, of
// a tenant with a number. It asks for the handles of accounts there.
func NewWebhookFilter(ctx context.Context, w *Webhook, tenant, partition, partitions uint16, handle AccountHandles) (*WebhookFilter, error) {
	f := &WebhookFilter{
		tenant: tenant, all: len(w.Accounts) == 0, thresholds: w.Thresholds,
		accounts: map[AccountID]bool{}, watched: map[AccountID]bool{}, handles: map[Handle]AccountID{},
	}
	for _, k := range w.Kinds {
		f.kinds |= 1 << k
	}
	here := func(ids map[AccountID]bool, id AccountID) error {
		if PartitionOf(w.Tenant, id, partitions) != partition {
			return nil
		}
		ids[id] = true
		h, err := handle(ctx, id)
		if err == nil && h != 0 {
			f.handles[h] = id
		}
		return err
	}
	for _, id := range w.Accounts {
		if err := here(f.accounts, id); err != nil {
			return nil, fmt.Errorf("account %s: %w", id, err)
		}
	}
	for i := range w.Thresholds {
		if err := here(f.watched, w.Thresholds[i].Account); err != nil {
			return nil, fmt.Errorf("account %s: %w", w.Thresholds[i].Account, err)
		}
	}
	f.possible = len(f.watched) > 0 || f.kinds != 0 && (f.all || len(f.accounts) > 0)
	return f, nil
}

// Possible says whether the partition can have events that are wanted.
func (f *WebhookFilter) Possible() bool { return f.possible }

// Wants says whether there are messages about an event.
func (f *WebhookFilter) Wants(e *Event) bool {
	if e.Tenant != f.tenant {
		return false
	}
	if e.Kind == AccountOpened {
		if id := AccountID(e.Name); f.accounts[id] || f.watched[id] {
			f.handles[e.Account] = id
		}
	}
	if f.wantsItself(e) {
		return true
	}
	if id, ok := f.handles[e.Account]; !ok || !f.watched[id] {
		return false
	}
	for i := range f.thresholds {
		if f.crossed(&f.thresholds[i], e) {
			return true
		}
	}
	return false
}

func (f *WebhookFilter) wantsItself(e *Event) bool {
	switch {
	case f.kinds&(1<<e.Kind) == 0:
		return false
	case f.all:
		return true
	case e.Account != 0:
		id, ok := f.handles[e.Account]
		return ok && f.accounts[id]
	}
	return NamesAccount(e.Kind) && f.accounts[AccountID(e.Name)]
}

// NamesAccount says that the name of an event of the kind is that of the account that it is about.
func NamesAccount(k EventKind) bool {
	return k == AccountOpened || k == CurrencyAdded || k == LimitChanged || k == StatusChanged || k == DailyLimitSet
}

func (f *WebhookFilter) crossed(t *Threshold, e *Event) bool {
	return e.Kind.MovesMoney() && t.Currency == e.Currency && t.Crossed(e) && f.handles[e.Account] == t.Account
}

// Messages returns those about an event that is wanted, in order. Their ids are made of the
// event's place, so that they are the same each time, and of a tag of the wallet's past, "" for none: after
// a restore, other events come to stand at the places of those that are not there any more.
func (f *WebhookFilter) Messages(past string, partition uint16, at EventPosition, time int64, e *Event) []WebhookMessage {
	if past != "" {
		past += "-"
	}
	m := WebhookMessage{
		ID:   fmt.Sprintf("evt_%s%d-%d-%d", past, partition, at.Index, at.Number),
		Kind: e.Kind.String(), Partition: partition, EventPosition: at, Time: time, Event: *e,
	}
	var all []WebhookMessage
	if f.wantsItself(e) {
		all = append(all, m)
	}
	for i := range f.thresholds {
		t := &f.thresholds[i]
		if !f.crossed(t, e) {
			continue
		}
		crossing := m
		crossing.ID = fmt.Sprintf("%s_%s_%d_%d", m.ID, t.Kind(), t.Currency, t.Amount)
		crossing.Kind, crossing.Threshold = t.Kind(), t
		all = append(all, crossing)
	}
	return all
}
