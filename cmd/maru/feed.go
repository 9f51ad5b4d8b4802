package main

import (
	"context"
	"errors"
	"fmt"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet/walletraft"
)

// madeEntry stands for how a group was made, before its first entry: the chain of an archive
// begins with it.
func madeEntry() rsm.Decided { return rsm.Decided{Index: rsmraft.FirstEntry - 1, Term: 1} }

// firstFeed is a replica's feed, and before it the entry with which a chain begins.
type firstFeed struct {
	rsmarchive.Source
	next rsm.Index
}

// openFirstFeed returns the feed of this node's replica.
func openFirstFeed(l *walletraft.Log, from rsm.Index) (*firstFeed, error) {
	g, err := l.Replica()
	if err != nil {
		return nil, err
	}
	f, err := g.Feed(max(from, rsmraft.FirstEntry))
	if err != nil {
		return nil, err
	}
	return &firstFeed{f, from}, nil
}

// Seek implements rsmarchive.Source.
func (f *firstFeed) Seek(to rsm.Index) {
	f.Source.Seek(max(to, rsmraft.FirstEntry))
	f.next = to
}

// Next implements rsmarchive.Source.
func (f *firstFeed) Next(ctx context.Context) (rsm.Decided, error) {
	if f.next < rsmraft.FirstEntry {
		f.next = rsmraft.FirstEntry
		return madeEntry(), nil
	}
	d, err := f.Source.Next(ctx)
	if err == nil {
		f.next = d.Index + 1
	}
	return d, err
}

// wholeFeed is a replica's feed, with the archive before it: what was removed from the log is
// read there; and what this node never had at other nodes. It is for one goroutine.
type wholeFeed struct {
	feed    *rsmraft.Feed
	archive func(context.Context) (*rsmarchive.Archive, error)                  // nil: there is none
	others  func(ctx context.Context, gap *rsm.GapError) ([]rsm.Decided, error) // nil: they are not asked
	next    rsm.Index
	reading *archiveReading // nil: the feed has the next entry, or will
	fetched []rsm.Decided   // from others, to be given next
}

// archiveReading is a part of an archive that is being read.
type archiveReading struct {
	entries chan rsm.Decided
	cancel  context.CancelFunc
	err     error // when entries is closed
}

// archiveAhead is how many entries of an archive are read ahead, beside those of its workers.
const archiveAhead = 4

// Next waits for the next entry. What neither the log nor the archive has is an rsm.GapError.
func (f *wholeFeed) Next(ctx context.Context) (rsm.Decided, error) {
	for {
		if f.reading == nil {
			d, err := f.own(ctx)
			if !errors.Is(err, rsm.ErrGap) {
				return d, err
			}
			if err = f.open(ctx, err); errors.Is(err, rsm.ErrGap) {
				err = f.ask(ctx, err)
			}
			if err != nil {
				return rsm.Decided{}, err
			}
			continue
		}
		select {
		case d, ok := <-f.reading.entries:
			if ok {
				f.next = d.Index + 1
				return d, nil
			}
		case <-ctx.Done():
			return rsm.Decided{}, ctx.Err()
		}
		err := f.reading.err
		f.close()
		if err != nil {
			return rsm.Decided{}, err
		}
		f.feed.Seek(f.next)
	}
}

// own gives the next entry, of those that were fetched or of the feed.
func (f *wholeFeed) own(ctx context.Context) (d rsm.Decided, err error) {
	if len(f.fetched) > 0 {
		d, f.fetched = f.fetched[0], f.fetched[1:]
		f.feed.Seek(d.Index + 1)
	} else if d, err = f.feed.Next(ctx); err != nil {
		return d, err
	}
	f.next = d.Index + 1
	return d, nil
}

// ask fetches the next entries from other nodes, if they have them; else the gap stays.
func (f *wholeFeed) ask(ctx context.Context, gap error) (err error) {
	lacks, ok := errors.AsType[*rsm.GapError](gap)
	if !ok || f.others == nil || lacks.Next <= f.next {
		return gap
	}
	f.fetched, err = f.others(ctx, &rsm.GapError{At: f.next, Next: lacks.Next})
	return err
}

// open begins to read the archive from the next entry on, if that is there; else the gap stays.
func (f *wholeFeed) open(ctx context.Context, gap error) error {
	if f.archive == nil {
		return gap
	}
	a, err := f.archive(ctx)
	var end rsmarchive.Position
	if err == nil {
		end, err = a.End(ctx)
	}
	if err != nil { // that is no gap: later it may be there
		return fmt.Errorf("entry %d is not in the log any more: %w", f.next, err)
	}
	if end.Index < f.next {
		return gap
	}
	reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &archiveReading{entries: make(chan rsm.Decided, archiveAhead), cancel: cancel}
	from, last := f.next, end.Index
	go func() {
		defer close(r.entries)
		r.err = a.Read(reading, from, last, func(d *rsm.Decided) error {
			select {
			case r.entries <- *d:
				return nil
			case <-reading.Done():
				return reading.Err()
			}
		})
		if x, ok := errors.AsType[*rsmarchive.Finding](r.err); ok && x.Kind == rsmarchive.Gap {
			r.err = &rsm.GapError{At: x.First, Next: x.Last + 1}
		}
	}()
	f.reading = r
	return nil
}

func (f *wholeFeed) close() {
	if r := f.reading; r != nil {
		r.cancel()
		for range r.entries { // until it has ended
			continue
		}
		f.reading = nil
	}
}

// Seek lets the feed go on with the entry at an index.
func (f *wholeFeed) Seek(to rsm.Index) {
	f.close()
	f.next, f.fetched = to, nil
	f.feed.Seek(to)
}

// Close closes what the feed has opened.
func (f *wholeFeed) Close() error {
	f.close()
	return f.feed.Close()
}

// feed returns all that a partition has decided, from an entry on: what the log has not any more, from
// the archive, and what neither has, from other nodes.
func (n *node) feed(partition uint16, from rsm.Index) (*wholeFeed, error) {
	f, err := n.ownFeed(partition, from)
	if err == nil {
		f.others = func(ctx context.Context, gap *rsm.GapError) ([]rsm.Decided, error) {
			return n.fill(ctx, partition, gap, fillPatience)
		}
	}
	return f, err
}

// ownFeed is feed without what other nodes have.
func (n *node) ownFeed(partition uint16, from rsm.Index) (*wholeFeed, error) {
	g, err := n.logs[partition].Replica()
	if err != nil {
		return nil, err
	}
	from = max(from, 1)
	f, err := g.Feed(from)
	if err != nil {
		return nil, err
	}
	whole := &wholeFeed{feed: f, next: from}
	if n.archive != nil {
		whole.archive = func(ctx context.Context) (*rsmarchive.Archive, error) {
			return rsmarchive.Open(ctx, n.archive.store, n.identity.chained(partition), nil)
		}
	}
	return whole, nil
}
