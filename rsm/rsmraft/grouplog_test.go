package rsmraft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/racing"
	"maru.example/rsm"
	"maru.example/wal"
)

// logModel is a group's log as it should be, beside the records that say so.
type logModel struct {
	rand    *rand.Rand
	records []record // record i has the place i+1
	term    uint64
	commit  uint64
	start   uint64            // the entries begin after it
	terms   []uint64          // of the entries
	places  []wal.Index       // of the entries
	snaps   []rsm.State       // the newest two
	froms   []wal.Index       // from where on the log is needed with each
	trace   []string          // of what was done
	known   map[uint64]uint64 // the terms of committed entries
}

func newLogModel(seed uint64) *logModel {
	return &logModel{rand: rand.New(rand.NewPCG(seed, 7)), term: 1, known: map[uint64]uint64{}}
}

func (m *logModel) last() uint64 { return m.start + uint64(len(m.terms)) }

func (m *logModel) write(r record) wal.Index {
	m.records = append(m.records, r)
	return wal.Index(len(m.records))
}

// add appends entries after a place that is not committed: those behind are void.
func (m *logModel) add() {
	if m.rand.IntN(4) == 0 {
		m.term++
	}
	i := m.commit + 1 + m.rand.Uint64N(m.last()-m.commit+1)
	if i <= m.last() {
		m.term++ // a leader does not contradict itself
	}
	m.terms, m.places = m.terms[:i-m.start-1], m.places[:i-m.start-1]
	for range 1 + m.rand.IntN(3) {
		at := m.write(record{kind: recordEntry, index: m.last() + 1, term: m.term})
		m.terms, m.places = append(m.terms, m.term), append(m.places, at)
	}
	m.trace = append(m.trace, fmt.Sprintf("entries %d to %d of term %d", i, m.last(), m.term))
}

func (m *logModel) decide() {
	to := m.commit + m.rand.Uint64N(m.last()-m.commit+1)
	for i := m.commit + 1; i <= to; i++ {
		m.known[i] = m.terms[i-m.start-1]
	}
	m.commit = to
}

// save writes a snapshot of what is committed.
func (m *logModel) save() {
	if m.commit == 0 || len(m.snaps) > 0 && uint64(m.snaps[len(m.snaps)-1].Index) == m.commit {
		return
	}
	from := wal.Index(len(m.records) + 1)
	if m.commit < m.last() {
		from = m.places[m.commit-m.start]
	}
	m.keep(rsm.State{Index: rsm.Index(m.commit), Term: m.known[m.commit]}, from)
}

// install takes over another replica's snapshot, of what this one has not got or
// has otherwise.
func (m *logModel) install() {
	m.term++
	index := m.commit + 1 + m.rand.Uint64N(4)
	m.write(record{kind: recordSnapshot, index: index, term: m.term})
	m.start, m.commit, m.terms, m.places = index, index, nil, nil
	m.known[index] = m.term
	m.snaps = nil // an older one is of no use any more: what lies between is not here
	m.froms = nil
	m.keep(rsm.State{Index: rsm.Index(index), Term: m.term}, wal.Index(len(m.records)+1))
}

func (m *logModel) keep(s rsm.State, from wal.Index) {
	m.snaps, m.froms = append(m.snaps, s), append(m.froms, from)
	m.snaps, m.froms = m.snaps[max(0, len(m.snaps)-2):], m.froms[max(0, len(m.froms)-2):]
	m.trace = append(m.trace, fmt.Sprintf("snapshot at %d of term %d, log from %d", s.Index, s.Term, from))
}

// recovered returns the log as it is found with a snapshot and the records from a
// place on.
func (m *logModel) recovered(s rsm.State, from wal.Index) (*groupLog, error) {
	l := newGroupLog(&Host{}, 1, s)
	for at := from; int(at) <= len(m.records); at++ {
		r := m.records[at-1]
		if err := l.recover(&r, at); err != nil && l.damage == nil {
			l.damage = fmt.Errorf("record %d: %w", at, err)
		}
	}
	return l, l.damage
}

func (m *logModel) check(t *testing.T, s rsm.State, from wal.Index) {
	t.Helper()
	l, err := m.recovered(s, from)
	if err != nil {
		t.Fatal(err)
	}
	skip := min(max(uint64(s.Index), m.start)-m.start, uint64(len(m.terms)))
	var terms []uint64
	for i := l.firstIndex(); i <= l.lastIndex(); i++ {
		term, err := l.Term(i)
		if err != nil {
			t.Fatal(err)
		}
		terms = append(terms, term)
	}
	if diff := cmp.Diff(append([]uint64(nil), m.terms[skip:]...), terms); diff != "" {
		t.Fatalf("with the snapshot at %d and the log from %d: terms (-want +got):\n%s", s.Index, from, diff)
	}
	if diff := cmp.Diff(append([]wal.Index(nil), m.places[skip:]...), l.refs); diff != "" {
		t.Fatalf("with the snapshot at %d and the log from %d: places (-want +got):\n%s", s.Index, from, diff)
	}
}

// checkHistory compares what a history finds in all records.
func (m *logModel) checkHistory(t *testing.T) {
	t.Helper()
	g := &groupHistory{}
	for i := range m.records {
		if err := g.note(&m.records[i], wal.Index(i+1)); err != nil {
			t.Fatalf("record %d: %v", i+1, err)
		}
	}
	if diff := cmp.Diff(append([]wal.Index(nil), m.places...), append([]wal.Index(nil), g.refs...)); diff != "" || g.first != m.start {
		t.Fatalf("a history begins after %d, want %d; places (-want +got):\n%s", g.first, m.start, diff)
	}
}

// TestLogRecoveryModel compares what is found in the records with what was
// written, at the hand of seeds: with each of the snapshots, and with as much of
// the log as it needs, more of it, or all of it.
func TestLogRecoveryModel(t *testing.T) {
	for seed := range uint64(racing.Rounds(300)) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			m := newLogModel(seed)
			defer func() {
				if t.Failed() {
					for _, line := range m.trace {
						t.Log(line)
					}
				}
			}()
			m.write(record{kind: recordBegin, index: 1, term: 1})
			m.start, m.commit, m.known[1] = 1, 1, 1
			for range 40 {
				switch m.rand.IntN(8) {
				default:
					m.add()
				case 4, 5:
					m.decide()
				case 6:
					m.save()
				case 7:
					if m.rand.IntN(4) == 0 {
						m.install()
					}
				}
				m.checkHistory(t)
				for i, s := range m.snaps {
					m.check(t, s, m.froms[i])
					m.check(t, s, 1+wal.Index(m.rand.Uint64N(uint64(m.froms[i])))) // for the sake of other groups
					m.check(t, s, 1)
				}
			}
		})
	}
}

func TestLogRecoveryRefuses(t *testing.T) {
	entry := func(i, term uint64) record { return record{kind: recordEntry, index: i, term: term} }
	begin := record{kind: recordBegin, index: 1, term: 1}
	for _, tt := range []struct {
		name    string
		start   rsm.State
		records []record
	}{
		{"a gap", rsm.State{}, []record{begin, entry(2, 2), entry(4, 2)}},
		{"no beginning", rsm.State{}, []record{entry(2, 2)}},
		{"the log begins after the snapshot", rsm.State{Index: 5, Term: 2}, []record{entry(7, 2)}},
		{"a snapshot that was installed is not there", rsm.State{Index: 5, Term: 2}, []record{{kind: recordSnapshot, index: 9, term: 3}, entry(10, 3)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &logModel{records: tt.records}
			if _, err := m.recovered(tt.start, 1); !errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestLogOfAGroupThatWasRemoved(t *testing.T) {
	m := &logModel{records: []record{
		{kind: recordBegin, index: 1, term: 1},
		{kind: recordEntry, index: 2, term: 2},
		{kind: recordHardState, term: 2, vote: 1},
		{kind: recordRemoved},
	}}
	l, err := m.recovered(rsm.State{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if l.start.Index != 0 || len(l.refs) != 0 || l.hard != (hardState{}) {
		t.Errorf("left: start %v, %d entries, %+v", l.start, len(l.refs), l.hard)
	}
}
