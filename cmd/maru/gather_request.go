package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet/walletraft"
)

// Requests of nodes for what they lack of the past, and the answers: see docs/format/past.md. They come beside those of
// the wallet, whose first byte is their version.
const (
	pastRequestMark    = 'P'
	pastRequestVersion = 1
	pastRequestBytes   = 80
	pastAnswerVersion  = 1
	pastAnswerHead     = 16
	// maxPastAnswer is the most of an answer: what the transport takes, with some room.
	maxPastAnswer = 16 << 20
	// pastPiece is the content of a segment that is made for an answer, before it is compressed.
	pastPiece = 4 << 20
	// pastPatience is for how long a piece may be made.
	pastPatience = 4 * time.Second
	// maxPastServed is how many pieces are made at a time.
	maxPastServed = 2
	// mostSkipped is how many entries that are not here are gone over to find the next one that is.
	mostSkipped = 100_000
)

// pastRequest asks for decided entries after a position.
type pastRequest struct {
	after rsmarchive.Position
	last  rsm.Index // more is not wanted
}

// pastKind says what an answer is. The numbers are part of the format.
type pastKind uint8

const (
	pastEntries pastKind = 1 // a segment
	pastLacks   pastKind = 2 // the node has not the entry after the position
	pastNotYet  pastKind = 3 // the node has not come so far yet
)

// pastAnswer is what a node answers.
type pastAnswer struct {
	kind    pastKind
	next    rsm.Index // of pastLacks: the first one after it that it has; 0: none, or not known
	segment []byte    // of pastEntries
}

var errPastMessage = errors.New("malformed message about the past")

func (r *pastRequest) encode() []byte {
	dst := append(make([]byte, 0, pastRequestBytes), pastRequestMark, pastRequestVersion, 0, 0, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.last))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.after.Index))
	dst = binary.LittleEndian.AppendUint64(dst, r.after.Term)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.after.Time))
	dst = append(dst, r.after.Link[:]...)
	return binary.LittleEndian.AppendUint64(dst, 0)
}

func parsePastRequest(b []byte) (r pastRequest, err error) {
	if len(b) != pastRequestBytes || b[0] != pastRequestMark || b[1] != pastRequestVersion {
		return r, fmt.Errorf("%w: a request of %d bytes", errPastMessage, len(b))
	}
	r.last = rsm.Index(binary.LittleEndian.Uint64(b[8:]))
	r.after = rsmarchive.Position{
		Index: rsm.Index(binary.LittleEndian.Uint64(b[16:])), Term: binary.LittleEndian.Uint64(b[24:]), Time: int64(binary.LittleEndian.Uint64(b[32:])),
	}
	copy(r.after.Link[:], b[40:])
	if r.last <= r.after.Index {
		return r, fmt.Errorf("%w: entries after %d up to %d", errPastMessage, r.after.Index, r.last)
	}
	return r, nil
}

func (a *pastAnswer) encode() []byte {
	dst := append(make([]byte, 0, pastAnswerHead+len(a.segment)), pastAnswerVersion, byte(a.kind), 0, 0, 0, 0, 0, 0)
	return append(binary.LittleEndian.AppendUint64(dst, uint64(a.next)), a.segment...)
}

func parsePastAnswer(b []byte) (a pastAnswer, err error) {
	if len(b) < pastAnswerHead || b[0] != pastAnswerVersion {
		return a, fmt.Errorf("%w: an answer of %d bytes", errPastMessage, len(b))
	}
	a = pastAnswer{pastKind(b[1]), rsm.Index(binary.LittleEndian.Uint64(b[8:])), b[pastAnswerHead:]}
	switch a.kind {
	case pastEntries:
		if len(a.segment) > 0 && a.next == 0 {
			return a, nil
		}
	case pastLacks:
		if len(a.segment) == 0 {
			return a, nil
		}
	case pastNotYet:
		if len(a.segment) == 0 && a.next == 0 {
			return a, nil
		}
	}
	return pastAnswer{}, fmt.Errorf("%w: an answer of kind %d and %d bytes", errPastMessage, a.kind, len(b))
}

// isPastRequest says whether what another node asks for is the past.
func isPastRequest(b []byte) bool { return len(b) > 0 && b[0] == pastRequestMark }

// servePast answers another node, out of what is here. It does not wait.
func (g *gatherer) servePast(group rsmraft.GroupID, request []byte, reply func([]byte, error)) {
	r, err := parsePastRequest(request)
	if err != nil || group == 0 || int(group) > len(g.node.logs) {
		reply(nil, errors.Join(errPastMessage, err))
		return
	}
	select {
	case g.serving <- struct{}{}:
	default:
		reply(nil, rsm.ErrBusy)
		return
	}
	g.served.Go(func() {
		defer func() { <-g.serving }()
		ctx, cancel := context.WithTimeout(g.ctx, pastPatience)
		defer cancel()
		a, err := g.node.pieceOfPast(ctx, uint16(group-1), r)
		if err != nil {
			reply(nil, err)
			return
		}
		reply(a.encode(), nil)
	})
}

// pieceOfPast makes a segment of what is here after a position. It does not ask other nodes.
func (n *node) pieceOfPast(ctx context.Context, partition uint16, r pastRequest) (a pastAnswer, err error) {
	g, err := n.logs[partition].Replica()
	if err != nil {
		return pastAnswer{kind: pastLacks}, nil
	}
	last := min(r.last, g.Applied())
	if r.after.Index >= last {
		return pastAnswer{kind: pastNotYet}, nil
	}
	f, err := n.localFeed(partition, r.after.Index)
	if err != nil {
		return a, err
	}
	source := &firstFeed{f, r.after.Index + 1}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := rsmarchive.Continues(ctx, source, r.after); err != nil {
		return a, err
	}
	source.Seek(r.after.Index + 1)
	of := n.identity.chained(partition)
	content, err := makeSegment(ctx, source, of, r.after, last, pastPiece)
	gap, missing := errors.AsType[*rsm.GapError](err)
	switch {
	case missing && source.next > r.after.Index+1: // those before the gap are here
		last = source.next - 1
		source.Seek(r.after.Index + 1)
		content, err = makeSegment(ctx, source, of, r.after, last, pastPiece)
	case missing:
		next, err := goesOn(ctx, source, gap, last)
		return pastAnswer{kind: pastLacks, next: next}, err
	}
	switch {
	case err != nil:
		return a, err
	case len(content) > maxPastAnswer:
		return a, fmt.Errorf("entry %d: %w", r.after.Index+1, rsm.ErrTooLarge)
	}
	return pastAnswer{kind: pastEntries, segment: content}, nil
}

// goesOn returns the first entry behind a gap that is there, 0 if there is none up to one. A source may see only the
// next entry of a gap at a time.
func goesOn(ctx context.Context, source rsmarchive.Source, gap *rsm.GapError, last rsm.Index) (rsm.Index, error) {
	for range mostSkipped {
		if gap.Next <= gap.At || gap.Next > last {
			return 0, nil
		}
		source.Seek(gap.Next)
		d, err := source.Next(ctx)
		if err == nil {
			return d.Index, nil
		}
		further, missing := errors.AsType[*rsm.GapError](err)
		if !missing || further.Next <= gap.Next {
			return 0, err
		}
		gap = further
	}
	return gap.Next, nil
}

// askPast asks another node for a piece of the past.
func (n *node) askPast(ctx context.Context, to rsmraft.NodeID, partition uint16, r pastRequest) (pastAnswer, error) {
	type answered struct {
		answer []byte
		err    error
	}
	done := make(chan answered, 1)
	n.host.Load().Call(to, walletraft.Group(partition), r.encode(), func(reply rsmraft.Reply, err error) {
		done <- answered{reply.Answer, err}
	})
	select {
	case got := <-done:
		if got.err != nil {
			return pastAnswer{}, got.err
		}
		return parsePastAnswer(got.answer)
	case <-ctx.Done():
		return pastAnswer{}, ctx.Err()
	}
}
