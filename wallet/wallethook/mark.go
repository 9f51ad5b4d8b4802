package wallethook

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"maru.example/rsm"
	"maru.example/wallet"
)

// errNotYet says that an entry which the store knows is to come here soon.
var errNotYet = errors.New("wallethook: not decided here yet")

// markTries is how often a mark is moved that others move too.
const markTries = 5

// EntrySum returns the sum of an entry, by which two courses of one log are told apart: the SHA-256 of its term, its
// time (8 bytes each) and its content. Two servers with copies of a log that decide the same in the same nanosecond are not foreseen:
// else logs with the same entry at an index have the same ones before.
func EntrySum(d *rsm.Decided) [32]byte {
	b := make([]byte, 16, 16+len(d.Entry))
	binary.LittleEndian.PutUint64(b, d.Term)
	binary.LittleEndian.PutUint64(b[8:], uint64(d.Time))
	return sha256.Sum256(append(b, d.Entry...))
}

// marker makes sure, for all lanes of a partition, that the log here is the one that the store knows. The mark in the store
// is moved only by who has its entry, and no message is about an entry behind it. So of two servers with copies of one log, one is the first
// to move the mark to where the copies differ, and the other one sends nothing from there on; nor does a server with an older copy.
type marker struct {
	e         *Engine
	number    uint16
	partition *Partition
	turn      chan struct{}                      // who has put something into it may use the rest
	known     atomic.Pointer[wallet.WebhookMark] // that the log here has; nil: not known yet
	forked    atomic.Pointer[error]              // why nothing is sent; nil: it is
	said      atomic.Bool                        // and that was logged
}

func newMarker(e *Engine, number uint16) *marker {
	return &marker{e: e, number: number, partition: &e.partitions[number], turn: make(chan struct{}, 1)}
}

// cover returns the tag of the past with which messages about entries up to one can be sent. The error wraps
// wallet.ErrStoreForked if the store knows a log that this one is not.
func (m *marker) cover(ctx context.Context, upTo rsm.Index) (past string, err error) {
	if k := m.known.Load(); k != nil && upTo <= k.Index {
		return k.Past, nil
	}
	return m.take(ctx, upTo, m.known.Load())
}

// recover is cover by what is in the store now.
func (m *marker) recover(ctx context.Context, upTo rsm.Index) (past string, err error) {
	return m.take(ctx, upTo, nil)
}

// take moves the mark to an entry, or further, from the one that is known to be kept; nil: what is kept is read.
func (m *marker) take(ctx context.Context, upTo rsm.Index, known *wallet.WebhookMark) (past string, err error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if k := m.known.Load(); known != nil && k != known {
		known = k // another lane was faster
	}
	for range markTries {
		if known == nil {
			if known, err = m.read(ctx); err != nil {
				return "", m.note(err)
			}
		}
		if upTo <= known.Index || upTo < m.partition.First {
			m.known.Store(known)
			return known.Past, m.note(nil)
		}
		next, err := m.newest(ctx, upTo)
		if err != nil {
			return "", err
		}
		next.Past = known.Past
		err = m.move(ctx, *known, next)
		if known = &next; errors.Is(err, wallet.ErrWebhookBehind) {
			known = nil
		} else if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%w: others move the mark of partition %d all the time", errNotYet, m.number)
}

// read returns the mark that is kept, if the log here has it.
func (m *marker) read(ctx context.Context) (*wallet.WebhookMark, error) {
	within, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	kept, err := m.e.store.WebhookMark(within, m.number)
	if err != nil {
		return nil, err
	}
	if kept.Index < m.partition.First {
		return &kept, nil
	}
	if kept.Index > m.partition.Applied() {
		if err := m.await(within, kept.Index); err != nil {
			return nil, err
		}
	}
	sum, err := m.sum(ctx, kept.Index)
	switch {
	case err != nil:
		return nil, err
	case sum != kept.Sum && sum != [32]byte{} && kept.Sum != [32]byte{}:
		return nil, fmt.Errorf("%w: entry %d of partition %d is another one there", wallet.ErrStoreForked, kept.Index, m.number)
	}
	return &kept, nil
}

// await says whether an entry is decided that is not known to be decided here. What the store knew before the question was decided
// then; the leader, confirmed by a majority, has it, or nobody.
func (m *marker) await(ctx context.Context, at rsm.Index) error {
	last, err := m.e.wallet.Position(ctx, m.number)
	switch {
	case err != nil:
		return err
	case last != 0 && last < at:
		return fmt.Errorf("%w: it knows entry %d of partition %d, and %d is the last one here", wallet.ErrStoreForked, at, m.number, last)
	case last == 0 || m.partition.Applied() < at:
		return errNotYet
	}
	return nil
}

// newest returns the mark of the newest entry, which is not before one that is decided here.
func (m *marker) newest(ctx context.Context, upTo rsm.Index) (wallet.WebhookMark, error) {
	at := m.partition.Applied()
	if at < upTo { // somebody says that it is decided: see whether it is
		within, cancel := context.WithTimeout(ctx, storeWithin)
		defer cancel()
		if err := m.await(within, upTo); err != nil {
			return wallet.WebhookMark{}, m.note(err)
		}
		at = upTo
	}
	sum, err := m.sum(ctx, at)
	return wallet.WebhookMark{Index: at, Sum: sum}, err
}

// sum returns the sum of an entry, zeros if that is not on record.
func (m *marker) sum(ctx context.Context, at rsm.Index) ([32]byte, error) {
	d, err := m.partition.probe(ctx, at)
	if _, missing := errors.AsType[*rsm.GapError](err); missing {
		return [32]byte{}, nil
	}
	if err != nil {
		return [32]byte{}, err
	}
	return EntrySum(&d), nil
}

func (m *marker) move(ctx context.Context, from, to wallet.WebhookMark) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return m.e.store.MoveWebhookMark(ctx, m.number, from, to)
}

// note notes whether the log here is the one that the store knows, and passes the error on.
func (m *marker) note(err error) error {
	if errors.Is(err, wallet.ErrStoreForked) {
		m.forked.Store(&err)
	} else if err == nil {
		m.forked.Store(nil)
		m.said.Store(false)
	}
	return err
}

// say logs, once until it has changed, why nothing is sent.
func (m *marker) say(ctx context.Context, err error) {
	if !m.said.Swap(true) {
		m.e.o.Logger.ErrorContext(ctx, "webhooks are told nothing: stop this server, or the other one that uses the database; if this one is to go on, `maru wallet take-store` gives it the database",
			"partition", m.number, "error", err)
	}
}

// Check looks whether the logs of the partitions that this node leads now are those that the store knows. The error wraps
// wallet.ErrStoreForked if one is not. Of what cannot be known now, it says nothing.
func (e *Engine) Check(ctx context.Context) error {
	var all []error
	for i := range e.partitions {
		if !e.partitions[i].Leads() {
			continue
		}
		if _, err := e.markers[i].recover(ctx, 0); errors.Is(err, wallet.ErrStoreForked) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// Forked returns why nothing is sent of partitions that this node leads: errors that wrap wallet.ErrStoreForked.
func (e *Engine) Forked() (all []error) {
	for i := range e.partitions {
		if err := e.markers[i].forked.Load(); err != nil && e.partitions[i].Leads() {
			all = append(all, *err)
		}
	}
	return all
}
