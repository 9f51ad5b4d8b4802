package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmraft"
)

// keptUpTo returns the last entry of what a node keeps of before its log, 0 if it keeps nothing.
func (p *pastPartition) keptUpTo() rsm.Index {
	if p.kept == nil {
		return 0
	}
	return p.keptEnd
}

// keeps says whether the entry at an index is in what a node keeps of before its log.
func (p *pastPartition) keeps(at rsm.Index) bool {
	return p.kept != nil && p.kept.Begins() <= at && at <= p.keptEnd
}

// openKept opens what a node keeps of before its log: in the directory of one alone, not in a backup.
func (p *pastPartition) openKept(ctx context.Context, data string, id *identity) error {
	store := pastStore(data)
	a, err := rsmarchive.Open(ctx, store, id.chained(p.number), nil)
	if err != nil || a.Segments() == 0 {
		return err
	}
	end, err := a.End(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", pastName, err)
	}
	p.kept, p.keptEnd = a, end.Index
	return nil
}

// readKept calls f with what is kept and archived, from an index on; it returns the entry after the last.
func (p *pastPartition) readKept(ctx context.Context, from rsm.Index, f func(*rsm.Decided) error) (rsm.Index, error) {
	for {
		var a *rsmarchive.Archive
		var last rsm.Index
		switch {
		case p.keeps(from):
			a, last = p.kept, p.keptEnd
		case p.archive != nil && from <= p.end.Index:
			a, last = p.archive, p.end.Index
		default:
			return from, nil
		}
		if err := a.Read(ctx, from, last, f); err != nil {
			return from, err
		}
		from = last + 1
	}
}

// fill decides what is kept of before an entry, where the archive or the log goes on with that.
func (s *verification) fill(to rsm.Index) error {
	for s.p.keeps(s.next) && s.next < to {
		was := s.next
		err := s.p.kept.Read(s.ctx, s.next, min(s.p.keptEnd, to-1), s.decide)
		if x, lacks := errors.AsType[*rsmarchive.Finding](err); lacks {
			if x.Kind != rsmarchive.Gap {
				s.keptWrong(x)
			}
			return nil
		}
		if err != nil || s.next == was {
			return err
		}
	}
	return nil
}

// keptWrong notes a damage in what is kept, which is read for the decisions and for the chain, once.
func (s *verification) keptWrong(x *rsmarchive.Finding) {
	if says := "what is kept of before the log: " + x.Error(); !slices.Contains(s.out.Wrong, says) {
		s.out.Wrong = append(s.out.Wrong, says)
	}
}

// between follows the chain over what is kept between where it stands and an entry of the log.
func (s *verification) between(to rsm.Index) error {
	for s.chain != nil && s.chain.At().Index+1 < to {
		from := s.chain.At().Index + 1
		if !s.p.keeps(from) {
			return s.missing(to)
		}
		err := s.p.kept.Read(s.ctx, from, min(s.p.keptEnd, to-1), s.logged)
		x, lacks := errors.AsType[*rsmarchive.Finding](err)
		switch {
		case lacks && x.Kind == rsmarchive.Gap:
			if err := s.missing(x.Last + 1); err != nil {
				return err
			}
		case lacks:
			s.chain = nil
			s.keptWrong(x)
		case err != nil:
			return err
		}
	}
	return nil
}

// missing lets the chain go on behind entries that are nowhere here: decide says that they are missing.
func (s *verification) missing(to rsm.Index) error {
	s.gap = fmt.Sprintf("entries %d to %d are not here", s.chain.At().Index+1, to-1)
	return s.chain.Skip(to)
}

// lacks notes that entries are not here, before the one at to.
func (s *verification) lacks(to rsm.Index, then string) {
	first := max(s.next, rsmraft.FirstEntry)
	says := fmt.Sprintf("entries %d to %d are neither in the log nor in the archive", first, to-1)
	if s.toArchive && first <= s.had && !s.isGap(first) {
		s.out.Wrong = append(s.out.Wrong, fmt.Sprintf("%s, which had entries up to %d%s", says, s.had, then))
		return
	}
	s.out.Missing = append(s.out.Missing, says+then)
}

// isGap says whether the archive itself says that it lacks an entry.
func (s *verification) isGap(at rsm.Index) bool {
	return slices.ContainsFunc(s.gaps, func(x *rsmarchive.Finding) bool { return x.First <= at && at <= x.Last })
}

// noLog takes what is kept and followed by nothing, and says so of a log in which nothing is.
func (s *verification) noLog() error {
	if s.p.log.ID == 0 || s.p.log.Last >= s.p.log.First || s.next >= s.p.log.First {
		return nil
	}
	if err := s.between(s.p.log.First); err != nil || s.next >= s.p.log.First || s.lost {
		return err
	}
	return s.jump(s.p.log.First)
}

// incomparable notes that what a checkpoint says of an entry cannot be compared, as entries before it are missing.
func (s *verification) incomparable(e rsmarchive.Expected) {
	s.out.Unchecked = append(s.out.Unchecked, fmt.Sprintf("%s knows of entry %d, and %s: this cannot be compared", e.Source, e.Index, s.gap))
}

// shortened says what the archive had at its end, and has not any more: the node noted it. Of another one than the node's own
// that is no sign of anything.
func (s *verification) shortened() {
	end := s.p.end.Index
	if damaged := s.p.archive != nil && end == 0; !s.toArchive || s.had <= end || damaged {
		return
	}
	if !s.own {
		if s.p.archive != nil {
			s.out.Notes = append(s.out.Notes, fmt.Sprintf("this archive ends with entry %d, and the node had archived all up to %d elsewhere", end, s.had))
		}
		return
	}
	says := fmt.Sprintf("archive: missing: entries %d to %d, from segment %s on: %s says that they were archived", end+1, s.had, s.identity.chained(s.p.number).Segment(end+1), archivedName)
	if l := s.p.log; l.ID != 0 && (l.First <= end+1 || l.Whole) && l.Last >= s.had {
		says += "; the log has them, and a server that starts archives them again"
	}
	s.out.Wrong = append(s.out.Wrong, says)
}

// short says that the log ends before what this node has decided.
func (s *verification) short() {
	ends, end := s.p.log.Last+rsm.Index(s.p.log.Undecided), s.p.end.Index
	switch {
	case s.p.log.ID == 0 || end <= ends:
	case s.others && !s.alone():
		s.out.Notes = append(s.out.Notes, fmt.Sprintf("the archive, which is not this node's, has entries up to %d, and the log ends at entry %d: this node was stopped before the others, or it lost the end", end, ends))
	default:
		s.out.Wrong = append(s.out.Wrong, fmt.Sprintf("the archive has entries up to %d, and the log ends at entry %d: it lost what was decided, or is an older copy", end, ends))
	}
}

// alone says that this node was the only one to decide at the end of its log.
func (s *verification) alone() bool { return s.p.log.OnlyVoter == rsmraft.NodeID(s.identity.Node) }

// unreached says what follows from an expectation of an entry to which the chain was not followed. That what is here ends before
// the entry is no sign of a change, where others may have decided it.
func (s *verification) unreached(e rsmarchive.Expected) {
	out, l := &s.out, s.p.log
	knows := fmt.Sprintf("%s knows of entry %d", e.Source, e.Index)
	undecided := l.Last + rsm.Index(l.Undecided)
	switch {
	case s.chain == nil && s.unknown != "":
		out.Unchecked = append(out.Unchecked, fmt.Sprintf("%s: %s", knows, s.unknown))
	case s.chain == nil:
		out.Wrong = append(out.Wrong, fmt.Sprintf("%s, and the chain could be followed to entry %d only", knows, s.reached()))
	case l.ID == 0: // an archive alone, which is behind its log
		out.Unchecked = append(out.Unchecked, fmt.Sprintf("%s, and the archive ends with entry %d: what came later is not in it yet, or was removed from its end", knows, s.reached()))
	case e.Index <= undecided:
		out.Unchecked = append(out.Unchecked, fmt.Sprintf("%s, and that is not known to be committed here: this cannot be compared", knows))
	case s.had > undecided:
		out.Wrong = append(out.Wrong, fmt.Sprintf("%s, and the log ends with entry %d, though the node archived entries up to %d: it lost its end, or is an older copy", knows, undecided, s.had))
	case s.alone() && len(s.identity.Restored) == 0: // else it may be of the wallet from which this one was restored
		out.Wrong = append(out.Wrong, fmt.Sprintf("%s, and the log ends with entry %d, though nobody but this node decides here: it lost its end, or is an older copy", knows, undecided))
	default:
		out.Unchecked = append(out.Unchecked, fmt.Sprintf("%s, and the log ends with entry %d: this node was stopped before, or is behind, or its log lost the end; another node's may go on", knows, undecided))
	}
}
