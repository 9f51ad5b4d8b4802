package main

import (
	"context"
	"errors"
	"fmt"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
)

// madeEntry stands for how a group was made, before its first entry: the chain of an archive
// begins with it.
func madeEntry() rsm.Decided { return rsm.Decided{Index: rsmraft.FirstEntry - 1, Term: 1} }

// firstFeed is a replica's feed, and before it the entry with which a chain begins.
type firstFeed struct {
	rsmarchive.Source
	next rsm.Index
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

// wholeFeed is a replica's feed, with what is kept of before it: what was removed from the log, or never
// was there, is read in archives. It is for one goroutine.
type wholeFeed struct {
	feed *rsmraft.Feed
	kept []keptPast // to be tried in this order
	// await waits until what is not here yet, and may come, is here; else it returns the gap, or why it ended.
	// nil: nobody waits.
	await func(ctx context.Context, at rsm.Index, gap error) error
	// damaged is told that the first of kept is.
	damaged func()
	next    rsm.Index
	reading *archiveReading // nil: the feed has the next entry, or will
	tried   int             // how many of kept turned out not to have the next entry
	awaited rsm.Index       // the entry that was waited for last
}

// keptPast opens an archive that may have what a log has not.
type keptPast func(context.Context) (*rsmarchive.Archive, error)

// archiveReading is a part of an archive that is being read.
type archiveReading struct {
	entries chan rsm.Decided
	cancel  context.CancelFunc
	err     error // when entries is closed
}

// archiveAhead is how many entries of an archive are read ahead, beside those of its workers.
const archiveAhead = 4

// Next waits for the next entry. What is to be had nowhere is an rsm.GapError.
func (f *wholeFeed) Next(ctx context.Context) (rsm.Decided, error) {
	for {
		if f.reading == nil {
			d, err := f.feed.Next(ctx)
			if err == nil {
				f.took(d.Index)
				return d, nil
			}
			if !errors.Is(err, rsm.ErrGap) {
				return d, err
			}
			if err := f.behind(ctx, err); err != nil {
				return rsm.Decided{}, err
			}
			continue
		}
		select {
		case d, ok := <-f.reading.entries:
			if ok {
				f.took(d.Index)
				return d, nil
			}
		case <-ctx.Done():
			return rsm.Decided{}, ctx.Err()
		}
		err := f.reading.err
		f.close()
		switch {
		case errors.Is(err, rsm.ErrGap) && f.tried < len(f.kept)-1:
			f.tried++ // another one may have it
		case err != nil:
			return rsm.Decided{}, f.failed(err)
		default:
			f.tried = 0
		}
		f.feed.Seek(f.next)
	}
}

// failed passes on an error of one of kept.
func (f *wholeFeed) failed(err error) error {
	if f.tried == 0 && errors.Is(err, rsmarchive.ErrDamaged) && f.damaged != nil {
		f.damaged()
	}
	return err
}

func (f *wholeFeed) took(index rsm.Index) { f.next, f.tried = index+1, 0 }

// behind begins to read what the log lacks, or waits for it; else the gap stays.
func (f *wholeFeed) behind(ctx context.Context, gap error) error {
	for ; f.tried < len(f.kept); f.tried++ {
		if err := f.open(ctx, f.kept[f.tried]); err != nil || f.reading != nil {
			return f.failed(err)
		}
	}
	f.tried = 0
	if f.await == nil || f.awaited == f.next { // who says again that it has come is mistaken
		return gap
	}
	if err := f.await(ctx, f.next, gap); err != nil {
		return err
	}
	f.awaited = f.next
	f.feed.Seek(f.next)
	return nil
}

// open begins to read an archive from the next entry on, if that is there.
func (f *wholeFeed) open(ctx context.Context, kept keptPast) error {
	a, err := kept(ctx)
	var end rsmarchive.Position
	if err == nil {
		end, err = a.End(ctx)
	}
	if err != nil { // that is no gap: later it may be there
		return fmt.Errorf("entry %d is not in the log any more: %w", f.next, err)
	}
	if end.Index < f.next || a.Begins() > f.next {
		return nil
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
	f.next, f.tried, f.awaited = to, 0, 0
	f.feed.Seek(to)
}

// Close closes what the feed has opened.
func (f *wholeFeed) Close() error {
	f.close()
	return f.feed.Close()
}

// localFeed returns all that is here of what a partition has decided, from an entry on: what the log has not, from
// what is kept of before, or from the archive.
func (n *node) localFeed(partition uint16, from rsm.Index) (*wholeFeed, error) {
	g, err := n.logs[partition].Replica()
	if err != nil {
		return nil, err
	}
	from = max(from, 1)
	f, err := g.Feed(from)
	if err != nil {
		return nil, err
	}
	whole := &wholeFeed{feed: f, next: from, kept: []keptPast{n.gatherer.keeps(partition)}, damaged: func() { n.gatherer.suspect(partition) }}
	if n.archive != nil {
		whole.kept = append(whole.kept, func(ctx context.Context) (*rsmarchive.Archive, error) {
			return rsmarchive.Open(ctx, n.archive.store, n.identity.chained(partition), nil)
		})
	}
	return whole, nil
}

// feed is localFeed for those who follow a partition: they wait while what is missing is gathered from other nodes, as
// long as these answer.
func (n *node) feed(partition uint16, from rsm.Index) (*wholeFeed, error) {
	f, err := n.localFeed(partition, from)
	if err == nil {
		f.await = n.gatherer.awaiting(partition, false)
	}
	return f, err
}

// archiveFeed is for the archive: what it lacks once, it lacks for ever. So it waits until what is missing is
// here, or no node has it.
func (n *node) archiveFeed(partition uint16, from rsm.Index) (rsmarchive.Source, error) {
	f, err := n.localFeed(partition, max(from, rsmraft.FirstEntry))
	if err != nil {
		return nil, err
	}
	f.kept = f.kept[:1] // not the archive itself
	f.await = n.gatherer.awaiting(partition, true)
	return &firstFeed{f, from}, nil
}
