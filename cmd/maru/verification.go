package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// verification is what verify does with a partition: it goes over the archive, with the log beside it, and
// then over the rest of the log.
type verification struct {
	*verifier
	ctx      context.Context
	p        *pastPartition
	out      verdict
	again    *replayer // compares decisions
	decider  *decider  // nil: no state is known yet, or none any more
	next     rsm.Index // the entry that is to be decided next
	lost     bool      // no state can be known from here on
	left     []rsm.Index
	log      *rsmraft.HistoryReader // nil: it has not begun, or there is none
	ahead    *rsm.Decided           // that log gave last and nobody took
	differ   uint64                 // entries that archive and log do not have the same
	chain    *rsmarchive.Chain      // over the log, behind the archive; nil: it is not known
	expected []rsmarchive.Expected  // of the log
	unknown  string                 // why it is not, where nothing is wrong
	gap      string                 // what is missing in it; "": nothing
	gaps     []*rsmarchive.Finding  // of the archive
	had      rsm.Index              // up to which the archive had all, by the node's note
	own      bool                   // that is the archive that is here
	skipped  uint64                 // transaction ids in the state with which it began
}

// partition verifies one replica.
func (v *verifier) partition(ctx context.Context, p *pastPartition) (verdict, error) {
	s := &verification{verifier: v, ctx: ctx, p: p, left: p.log.Snapshots, next: rsmraft.FirstEntry - 1}
	s.out = verdict{Partition: p.number, Undecided: p.log.Undecided, Snapshots: []uint64{}}
	s.again = &replayer{verifier: v, span: span{math.MinInt64, math.MaxInt64}, limit: mostDifferences}
	err := s.run()
	if s.decider != nil {
		s.decider.m.Release()
	}
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return s.out, err
}

func (s *verification) run() error {
	s.expected = s.expectations()
	if s.data != noData {
		record, err := openArchiveRecord(s.data)
		if err != nil {
			return err
		}
		s.had = record.had(s.p.number).Index
		s.own = s.toArchive && record.at(s.place)
	}
	s.shortened()
	s.chain = rsmarchive.NewChain(rsmarchive.Position{Link: s.identity.chained(s.p.number).Origin()})
	if s.p.archive != nil {
		if err := s.archive(); err != nil {
			return err
		}
	} else if s.p.log.Whole {
		made := madeEntry()
		if err := s.logged(&made); err != nil {
			return err
		}
	} else if !s.p.keeps(1) {
		s.chain = nil
		s.unknown = fmt.Sprintf("the log begins with entry %d, and there is no archive of what was before", s.p.log.First)
	}
	if err := s.rest(); err != nil {
		return err
	}
	s.end()
	return nil
}

// archive verifies the archive, and decides what is in it.
func (s *verification) archive() error {
	r, err := s.p.archive.Verify(s.ctx, &rsmarchive.VerifyOptions{Expected: s.expected, Each: s.archived, Found: func(x *rsmarchive.Finding) {
		if x.Kind == rsmarchive.Gap {
			s.gaps = append(s.gaps, x)
		}
	}})
	if err != nil {
		return err
	}
	s.out.Archived, s.out.Segments = r.Entries, r.Segments
	wrong := 0
	for _, x := range r.Findings {
		if x.Kind == rsmarchive.Gap {
			s.out.Notes = append(s.out.Notes, x.Error())
			s.gap = fmt.Sprintf("the archive lacks entries %d to %d", x.First, x.Last)
			continue
		}
		wrong++
		s.out.Wrong = append(s.out.Wrong, "archive: "+x.Error())
	}
	if r.Found > len(r.Findings) {
		s.out.Wrong = append(s.out.Wrong, "archive: "+several(r.Found-len(r.Findings), "thing more", "things more"))
	}
	for _, e := range r.Matched {
		s.out.Matched = append(s.out.Matched, e.Source)
	}
	for _, e := range r.Incomparable {
		s.incomparable(e)
	}
	s.expected = r.Unreached
	s.chain = rsmarchive.NewChain(r.End)
	if wrong > 0 {
		s.chain = nil // it is not known where it stands
	}
	return nil
}

// archived takes an entry of the archive.
func (s *verification) archived(d *rsm.Decided) error {
	same, err := s.beside(d)
	if err != nil {
		return err
	}
	if !same {
		s.differ++
		if s.differ <= mostDifferences {
			s.out.Wrong = append(s.out.Wrong, fmt.Sprintf("entry %d of the archive is not as in the log", d.Index))
		}
	}
	return s.decide(d)
}

// beside compares an entry of the archive with the log's, where the log has it. What the archive lacks
// before it is decided from the log.
func (s *verification) beside(d *rsm.Decided) (same bool, err error) {
	for {
		own, err := s.peek(d.Index)
		if err != nil || own == nil || own.Index > d.Index {
			return true, err
		}
		s.ahead = nil
		if own.Index < d.Index {
			if err := s.decide(own); err != nil {
				return false, err
			}
			continue
		}
		s.out.Both++
		return own.Term == d.Term && bytes.Equal(own.Entry, d.Entry) && (len(own.Decision) == 0 || own.Time == d.Time && bytes.Equal(own.Decision, d.Decision)), nil
	}
}

// peek returns the log's next entry, nil if there is none, or the log begins after an index.
func (s *verification) peek(upTo rsm.Index) (*rsm.Decided, error) {
	if s.p.log.ID == 0 || s.p.log.First > upTo || s.p.log.Last < s.p.log.First {
		return nil, nil
	}
	var err error
	if s.log == nil {
		if s.log, err = s.history.Reader(s.p.log.ID, s.p.log.First); err != nil {
			return nil, err
		}
	}
	if s.ahead == nil {
		s.ahead, err = s.log.Next()
		if errors.Is(err, io.EOF) || s.ahead != nil && s.ahead.Index > s.p.log.Last {
			s.ahead = nil
			return nil, nil
		}
	}
	return s.ahead, err
}

// rest takes what the log has behind the archive.
func (s *verification) rest() error {
	for {
		d, err := s.peek(math.MaxUint64)
		if err != nil {
			return err
		}
		if d == nil {
			return s.noLog()
		}
		s.ahead = nil
		if s.chain != nil && d.Index <= s.chain.At().Index {
			continue // the archive had it
		}
		if err := s.between(d.Index); err != nil {
			return err
		}
		if err := s.logged(d); err != nil {
			return err
		}
	}
}

// logged takes an entry of the log, behind the archive.
func (s *verification) logged(d *rsm.Decided) error {
	if err := s.decide(d); err != nil || s.chain == nil {
		return err
	}
	chained := *d
	if len(d.Entry) > 0 && len(d.Decision) == 0 { // not on record
		if s.decider == nil || s.decider.at().Index != d.Index {
			s.chain, s.unknown = nil, fmt.Sprintf("what was decided on entry %d is neither on record nor known", d.Index)
			return nil
		}
		chained = s.decider.now
	}
	if err := s.chain.Append(&chained); err != nil {
		s.chain = nil
		s.out.Wrong = append(s.out.Wrong, fmt.Sprintf("the log does not go on where the archive ends: %v", err))
		return nil
	}
	for len(s.expected) > 0 && s.expected[0].Index == d.Index {
		e := s.expected[0]
		s.expected = s.expected[1:]
		if e.Link == s.chain.At().Link {
			s.out.Matched = append(s.out.Matched, e.Source)
		} else if s.gap != "" {
			s.incomparable(e)
		} else {
			s.out.Wrong = append(s.out.Wrong, fmt.Sprintf("after entry %d the chain is %v, and %s says %v: an entry before is not what it was", e.Index, s.chain.At().Link, e.Source, e.Link))
		}
	}
	return nil
}

// decide lets the machine decide an entry, if its state is known.
func (s *verification) decide(d *rsm.Decided) error {
	s.done.Add(1)
	if err := s.ctx.Err(); err != nil || s.lost || d.Index < s.next {
		return err
	}
	if d.Index > s.next && s.p.keeps(s.next) {
		if err := s.fill(d.Index); err != nil {
			return err
		}
	}
	if d.Index > s.next {
		if err := s.jump(d.Index); err != nil || s.lost || d.Index < s.next {
			return err
		}
	}
	if s.decider == nil {
		s.begin(s.machine(s.p.number), rsm.State{})
	}
	if err := s.decider.decide(d); err != nil {
		return err
	}
	s.next = d.Index + 1
	s.out.Entries++
	if at := s.decider.at(); at.Time > 0 {
		t := time.Unix(0, at.Time).UTC()
		s.out.Until = &t
		if s.out.From == nil {
			s.out.From = &t
		}
	}
	s.compareSnapshot(d.Index)
	return nil
}

// begin lets a machine decide from a state on.
func (s *verification) begin(m *wallet.Machine, at rsm.State) {
	s.decider = newDecider(m, at, s.again.compare)
	s.skipped = m.Metrics().Transactions
}

// jump goes on behind entries that are not here, before the one at to, with the oldest snapshot that
// is not older.
func (s *verification) jump(to rsm.Index) error {
	if s.decider != nil {
		s.out.Transfers += s.decider.m.Metrics().Transactions - s.skipped
		s.decider.m.Release()
		s.decider = nil
	}
	for len(s.left) > 0 && s.left[0]+1 < to {
		s.left = s.left[1:]
	}
	if len(s.left) == 0 {
		s.lost = true
		s.lacks(to, ", nor is a snapshot behind them here: from there on nothing could be decided again")
		return nil
	}
	s.lacks(to, "")
	m, index := s.machine(s.p.number), s.left[0]
	s.left = s.left[1:]
	at, err := s.history.RestoreSnapshot(s.p.log.ID, index, m)
	if err != nil {
		m.Release()
		return err
	}
	s.begin(m, at)
	s.next, s.out.FromSnapshot = index+1, uint64(index)
	return nil
}

// compareSnapshot compares the state after an entry with the snapshot there, if there is one.
func (s *verification) compareSnapshot(at rsm.Index) {
	for len(s.left) > 0 && s.left[0] < at {
		s.left = s.left[1:]
	}
	if len(s.left) > 0 && s.left[0] == at {
		s.out.Snapshots = append(s.out.Snapshots, uint64(at))
		s.out.Wrong = append(s.out.Wrong, s.compare(s.p, at, s.decider.m)...)
		s.left = s.left[1:]
	}
}

// compare says what is not the same in a snapshot and in the state that the log gives.
func (v *verifier) compare(p *pastPartition, index rsm.Index, m *wallet.Machine) []string {
	kept := v.machine(p.number)
	defer kept.Release()
	if _, err := v.history.RestoreSnapshot(p.log.ID, index, kept); err != nil {
		return []string{plain(err)}
	}
	same, accounts := m.Compare(kept, mostDifferences)
	if err := kept.Err(); err != nil {
		return []string{fmt.Sprintf("the snapshot at entry %d counts on a file that is damaged: %v", index, plain(err))}
	}
	if same {
		return nil
	}
	wrong := []string{fmt.Sprintf("the snapshot at entry %d is not what the log gives", index)}
	for _, d := range accounts {
		wrong = append(wrong, fmt.Sprintf("account %s of tenant %s: by the log %s, in the snapshot %s", d.ID, d.Tenant, describe(d.One), describe(d.Other)))
	}
	if len(accounts) == 0 {
		wrong = append(wrong, "the accounts are the same: what differs are transaction ids, tenants or transfers under way")
	}
	return wrong
}

// end says what is to be said when all was read.
func (s *verification) end() {
	out := &s.out
	if s.differ > mostDifferences {
		out.Wrong = append(out.Wrong, several(s.differ-mostDifferences, "entry more of the archive is", "entries more of the archive are")+" not as in the log")
	}
	out.Compared = s.again.out.Entries
	if n := s.again.out.Unrecorded; n > 0 {
		out.Notes = append(out.Notes, "what was decided on "+several(n, "entry", "entries")+" is not on record")
	}
	if n := s.again.record.Older; n > 0 {
		out.Notes = append(out.Notes, "what became of holds is not on record of "+several(n, "batch", "batches")+", of an older program")
	}
	s.short()
	if n := s.again.out.Different; n > 0 {
		d := s.again.out.Differences[0]
		out.Wrong = append(out.Wrong, fmt.Sprintf("%s decided otherwise than it is on record, the first in entry %d: it was %s, and is %s (see maru wallet replay)", several(n, "command is", "commands are"), d.Entry, d.Was, d.Is))
	}
	if s.decider != nil {
		if _, err := s.decider.m.Audit(); err != nil {
			out.Wrong = append(out.Wrong, plain(err))
		}
		after := s.decider.m.Metrics()
		out.Accounts = after.Accounts
		out.Transfers += after.Transactions - s.skipped
		for _, index := range s.left {
			out.Wrong = append(out.Wrong, fmt.Sprintf("what is here ends at entry %d, and there is a snapshot at %d", s.p.last(), index))
		}
	}
	if s.chain != nil && s.chain.At().Index > 0 {
		out.Head = s.chain.At().Link.String()
	}
	for _, e := range s.expected {
		s.unreached(e)
	}
}

// reached returns the entry up to which the chain was followed.
func (s *verification) reached() rsm.Index {
	if s.chain == nil {
		return s.p.end.Index
	}
	return s.chain.At().Index
}
