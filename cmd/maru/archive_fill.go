package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet/walletraft"
)

// A node that began with a snapshot has no entries of before. What its archive lacks so it asks of the
// other nodes that have the partition: docs/format/wallet.md, between nodes.

const (
	entriesHead    = 8 // before the index: as of the wallet's requests
	entriesVersion = 1
	entriesKind    = 4
	// entriesBytes is the content of an answer: little enough to be made, and sent, within the patience of a call.
	entriesBytes = 4 << 20
	// entriesAtOnce is how many answers a node makes at a time.
	entriesAtOnce = 2
)

// The beginnings of an answer.
const (
	entriesHere   = 0 // a segment follows
	entriesNot    = 1 // the index with which the record goes on here follows; 0: not known
	entriesAnswer = 8 // bytes of the head
)

// entriesRequest asks for the entries of a partition from an index on.
func entriesRequest(partition uint16, from rsm.Index) []byte {
	b := append(make([]byte, 0, entriesHead+8), entriesVersion, entriesKind, 0, 0)
	b = append(binary.LittleEndian.AppendUint16(b, partition), 0, 0)
	return binary.LittleEndian.AppendUint64(b, uint64(from))
}

// parseEntriesRequest reads it; false: that is another request.
func parseEntriesRequest(b []byte) (partition uint16, from rsm.Index, ok bool) {
	if len(b) != entriesHead+8 || b[0] != entriesVersion || b[1] != entriesKind {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint16(b[4:]), rsm.Index(binary.LittleEndian.Uint64(b[entriesHead:])), true
}

// serveEntries answers a request for entries, not more than some at a time.
func (n *node) serveEntries(partition uint16, from rsm.Index, reply func([]byte, error)) {
	select {
	case n.serving <- struct{}{}:
	default:
		reply(nil, rsm.ErrBusy)
		return
	}
	go func() {
		defer func() { <-n.serving }()
		reply(n.entries(partition, from))
	}()
}

// entries returns the answer to a request for entries.
func (n *node) entries(partition uint16, from rsm.Index) (_ []byte, err error) {
	if int(partition) >= len(n.logs) || from < rsmraft.FirstEntry {
		return nil, rsm.ErrNoLeader
	}
	g, err := n.logs[partition].Replica()
	if err != nil {
		return nil, err
	}
	f, err := n.ownFeed(partition, from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), claimTimeout)
	defer cancel()
	at := rsmarchive.Position{Index: from - 1}
	content, err := makeSegment(ctx, f, n.identity.chained(partition), at, g.Applied(), entriesBytes)
	gap, lacks := errors.AsType[*rsm.GapError](err)
	switch {
	case lacks && gap.At > from && gap.Next != 0: // those before it are here
		content, err = makeSegment(ctx, reopened(f, from), n.identity.chained(partition), at, gap.At-1, entriesBytes)
	case lacks:
		return binary.LittleEndian.AppendUint64(entriesBegin(entriesNot), uint64(gap.Next)), nil
	}
	if err == nil && len(content) == 0 {
		err = fmt.Errorf("%w: entry %d is not decided here yet", rsm.ErrNoLeader, from)
	}
	if err != nil {
		return nil, err
	}
	return append(entriesBegin(entriesHere), content...), nil
}

// entriesBegin returns the head of an answer.
func entriesBegin(kind byte) []byte { return []byte{kind, entriesAnswer - 1: 0} }

func reopened(f *wholeFeed, from rsm.Index) *wholeFeed {
	f.Seek(from)
	return f
}

// errEntriesAway says that another node may have entries, and did not answer.
var errEntriesAway = errors.New("entries that this node never had may be had from others, which do not answer now")

// fetch returns entries of a partition from an index on, from any other node that has them. If all say that they have
// not the first, the error is an rsm.GapError, which says where the first of them goes on.
func (n *node) fetch(ctx context.Context, partition uint16, from rsm.Index) ([]rsm.Decided, error) {
	if n.machine.State().Cluster == "" {
		return nil, fmt.Errorf("%w: the other nodes are not known yet", errEntriesAway)
	}
	lacking := &rsm.GapError{At: from}
	var away error
	for _, id := range n.hosts(partition) {
		if id == n.host.Load().ID() {
			continue
		}
		answer, err := n.ask(ctx, id, partition, from)
		if err == nil && len(answer) < entriesAnswer {
			err = fmt.Errorf("an answer of %d bytes", len(answer))
		}
		switch {
		case err != nil:
			away = errors.Join(away, fmt.Errorf("node %d: %w", id, err))
		case answer[0] == entriesNot && len(answer) == entriesAnswer+8:
			if next := rsm.Index(binary.LittleEndian.Uint64(answer[entriesAnswer:])); next != 0 && (lacking.Next == 0 || next < lacking.Next) {
				lacking.Next = next
			}
		default:
			var all []rsm.Decided
			_, err := rsmarchive.ReadTaken(ctx, n.identity.chained(partition), rsmarchive.Position{Index: from - 1}, answer[entriesAnswer:], func(d *rsm.Decided) error {
				all = append(all, *d)
				return nil
			})
			if err == nil && len(all) > 0 {
				return all, nil
			}
			away = errors.Join(away, fmt.Errorf("node %d: %w", id, err))
		}
	}
	if away != nil {
		return nil, fmt.Errorf("%w: %w", errEntriesAway, away)
	}
	return nil, lacking
}

// ask asks a node for entries.
func (n *node) ask(ctx context.Context, to rsmraft.NodeID, partition uint16, from rsm.Index) ([]byte, error) {
	type answered struct {
		answer []byte
		err    error
	}
	done := make(chan answered, 1)
	n.host.Load().Call(to, walletraft.Group(partition), entriesRequest(partition, from), func(r rsmraft.Reply, err error) {
		done <- answered{r.Answer, err}
	})
	select {
	case a := <-done:
		return a.answer, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fillPatience is for how long other nodes that do not answer are asked again for entries that they may have, by who
// can go on without them.
const fillPatience = time.Minute

// fill returns the entries of a gap, or its first ones. If they are to be had nowhere the error is an rsm.GapError; also, with a
// patience, when others have not answered for so long.
func (n *node) fill(ctx context.Context, partition uint16, gap *rsm.GapError, patience time.Duration) ([]rsm.Decided, error) {
	all, err := n.fetch(ctx, partition, gap.At)
	away := errors.Is(err, errEntriesAway)
	n.away.Lock()
	since, before := n.away.since[partition]
	switch {
	case away && !before:
		n.away.since[partition] = time.Now()
	case !away:
		delete(n.away.since, partition)
	}
	n.away.Unlock()
	if away && before && patience > 0 && time.Since(since) > patience {
		return nil, gap
	}
	if elsewhere, lacks := errors.AsType[*rsm.GapError](err); lacks {
		if elsewhere.Next == 0 || elsewhere.Next > gap.Next {
			elsewhere.Next = gap.Next
		}
		return nil, elsewhere
	}
	if err != nil {
		return nil, err
	}
	n.logger.DebugContext(ctx, "entries that this node never had come from another", "partition", partition, "from", gap.At, "entries", len(all))
	// The log has the entry with which it goes on, and those behind it.
	return slices.DeleteFunc(all, func(d rsm.Decided) bool { return d.Index >= gap.Next }), nil
}

// awaySince says since when nobody else has answered a question for entries of a partition.
type awaySince struct {
	sync.Mutex
	since map[uint16]time.Time
}

// filledFeed is the feed of this node's replica for its archive, and what that never had from other nodes,
// however long that takes: what an archive lacks it lacks for ever.
type filledFeed struct {
	*firstFeed
	node      *node
	partition uint16
	from      rsm.Index // what is before is in the archive
	fetched   []rsm.Decided
}

// Next implements rsmarchive.Source.
func (f *filledFeed) Next(ctx context.Context) (rsm.Decided, error) {
	if len(f.fetched) == 0 {
		at := f.next
		d, err := f.firstFeed.Next(ctx)
		gap, lacks := errors.AsType[*rsm.GapError](err)
		if !lacks || at < max(f.from, rsmraft.FirstEntry) || gap.Next <= at {
			return d, err
		}
		if f.fetched, err = f.node.fill(ctx, f.partition, &rsm.GapError{At: at, Next: gap.Next}, 0); err != nil {
			return rsm.Decided{}, err
		}
	}
	d := f.fetched[0]
	f.fetched = f.fetched[1:]
	f.firstFeed.Seek(d.Index + 1)
	return d, nil
}

// Seek implements rsmarchive.Source.
func (f *filledFeed) Seek(to rsm.Index) {
	f.fetched = nil
	f.firstFeed.Seek(to)
}
