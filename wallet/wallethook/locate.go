package wallethook

import (
	"context"
	"errors"
	"time"

	"maru.example/rsm"
	"maru.example/wallet"
)

const (
	skimEvery  = 5 * time.Second
	probeAfter = 500 * time.Millisecond // there is no entry yet
	// probeWithin is for an entry that there is, perhaps in an archive far away.
	probeWithin = time.Minute
)

// locate finds the place of a lane that is to begin at a time, or with the oldest entry.
func (l *lane) locate(ctx context.Context) error {
	p := l.partition
	applied := p.Applied()
	oldest, first, err := l.oldest(ctx, p.First)
	if err != nil {
		return err
	}
	since := int64(0)
	if !l.state.Since.IsZero() {
		since = l.state.Since.UnixNano()
	}
	switch {
	case first == nil || l.state.Since.IsZero():
	case oldest > p.First && first.Time > since: // what was before it is wanted
		return l.gap(ctx, oldest)
	default:
		if oldest, err = l.search(ctx, oldest, applied, since); err != nil {
			return err
		}
	}
	l.settled(wallet.EventPosition{Index: oldest})
	return l.save(ctx, nil)
}

// search returns the first entry at a time or later, of those from first to last, or
// the one behind. Times never decrease.
func (l *lane) search(ctx context.Context, first, last rsm.Index, since int64) (rsm.Index, error) {
	for first <= last {
		middle := first + (last-first)/2
		d, err := l.probe(ctx, middle)
		if err != nil {
			return 0, err
		}
		if d.Time >= since {
			if middle == first {
				return first, nil
			}
			last = middle - 1
		} else {
			first = middle + 1
		}
	}
	return first, nil
}

// oldest returns the first index from which on entries are on record, and the entry,
// nil if none is decided yet.
func (l *lane) oldest(ctx context.Context, from rsm.Index) (rsm.Index, *rsm.Decided, error) {
	for {
		d, err := l.probe(ctx, from)
		gap, missing := errors.AsType[*rsm.GapError](err)
		switch {
		case err == nil:
			return from, &d, nil
		case missing && gap.Next > from:
			from = gap.Next
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && from > l.partition.Applied():
			return from, nil, nil
		default:
			return 0, nil, err
		}
	}
}

func (l *lane) probe(ctx context.Context, at rsm.Index) (rsm.Decided, error) {
	return l.partition.probe(ctx, at)
}

// probe reads one entry.
func (p *Partition) probe(ctx context.Context, at rsm.Index) (rsm.Decided, error) {
	source, err := p.Open(at)
	if err != nil {
		return rsm.Decided{}, err
	}
	within := probeAfter
	if at <= p.Applied() {
		within = probeWithin
	}
	near, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	d, err := source.Next(near)
	return d, errors.Join(err, source.Close())
}

// found says whether what was missing for a lane is there: another node leads now, or an archive
// was brought back.
func (l *lane) found(ctx context.Context) bool {
	if l.state.Next.Index != 0 { // else it is to be located
		if _, err := l.probe(ctx, l.state.Next.Index); err != nil {
			return false
		}
	}
	l.state.GapTo = 0
	return true
}

// gap notes that entries are not on record: the lane stands still until somebody moves it.
func (l *lane) gap(ctx context.Context, next rsm.Index) error {
	next, _, err := l.oldest(ctx, next)
	if err != nil {
		return err
	}
	l.state.GapTo, l.dirty = next, true
	if err := l.save(ctx, nil); err != nil {
		return err
	}
	l.e.o.Logger.WarnContext(ctx, "events that a webhook wants are not on record any more: it stands still until it is moved with `maru wallet webhook replay`",
		"webhook", string(l.webhook.ID), "partition", l.number, "from", uint64(l.state.Next.Index), "to", uint64(next))
	<-ctx.Done()
	return ctx.Err()
}
