package queue

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// partitionLog is a partition as far as its producers are concerned: the batches and
// marks that it took.
type partitionLog struct {
	producers
	next    Offset
	entries []logEntry
}

type logEntry struct {
	at   Offset
	id   ProducerID
	text string // of a batch
	txn  bool
}

func newPartitionLog() *partitionLog {
	return &partitionLog{producers: newProducers()}
}

// batchOf returns a batch of n records.
func batchOf(id ProducerID, epoch ProducerEpoch, from Sequence, n int32, txn bool) Batch {
	return AppendBatch(nil, &BatchHead{
		LastOffsetDelta: n - 1, Count: n, Producer: id, Epoch: epoch, BaseSequence: from, Transactional: txn,
	}, nil)
}

func (l *partitionLog) append(b Batch, text string) (Code, Offset) {
	code, at := l.admit(b)
	if code != Appended {
		return code, at
	}
	at = l.next
	l.note(b, at, Millis(at))
	l.entries = append(l.entries, logEntry{at, b.ProducerID(), text, b.IsTransactional()})
	l.next += Offset(b.Count())
	return Appended, at
}

func (l *partitionLog) end(e end) Code {
	code := l.admitEnd(&e)
	if code == Appended {
		l.noteEnd(&e, l.next, Millis(l.next))
		l.next++
	}
	return code
}

// committed returns what a reader of committed records sees.
func (l *partitionLog) committed() (texts []string) {
	stable := l.stable(l.next)
	aborted := l.between(0, stable)
	for _, e := range l.entries {
		gone := e.at >= stable || e.txn && slices.ContainsFunc(aborted, func(a AbortedTransaction) bool {
			return a.Producer == e.id && a.First <= e.at && e.at < a.Last
		})
		if !gone {
			texts = append(texts, e.text)
		}
	}
	return texts
}

// TestProducers plays what clients do, and what goes wrong on the way.
func TestProducers(t *testing.T) {
	type step struct {
		what string
		do   func(l *partitionLog) (Code, Offset)
		code Code
		at   Offset
	}
	batch := func(epoch ProducerEpoch, from Sequence, n int32) func(*partitionLog) (Code, Offset) {
		return func(l *partitionLog) (Code, Offset) { return l.append(batchOf(7, epoch, from, n, false), "") }
	}
	txn := func(epoch ProducerEpoch, from Sequence, n int32) func(*partitionLog) (Code, Offset) {
		return func(l *partitionLog) (Code, Offset) { return l.append(batchOf(7, epoch, from, n, true), "") }
	}
	ends := func(epoch ProducerEpoch, coordinator int32) func(*partitionLog) (Code, Offset) {
		return func(l *partitionLog) (Code, Offset) { return l.end(end{7, epoch, coordinator, true}), noOffset }
	}
	tests := map[string][]step{
		"in order, and again": {
			{"first", batch(0, 0, 3), Appended, 0},
			{"second", batch(0, 3, 2), Appended, 3},
			{"first again", batch(0, 0, 3), DuplicateBatch, 0},
			{"second again", batch(0, 3, 2), DuplicateBatch, 3},
			{"other bounds", batch(0, 3, 1), OutOfOrderSequence, noOffset},
			{"a gap", batch(0, 6, 1), OutOfOrderSequence, noOffset},
			{"third", batch(0, 5, 1), Appended, 5},
		},
		"too old to be known again": {
			{"1", batch(0, 0, 1), Appended, 0},
			{"2", batch(0, 1, 1), Appended, 1},
			{"3", batch(0, 2, 1), Appended, 2},
			{"4", batch(0, 3, 1), Appended, 3},
			{"5", batch(0, 4, 1), Appended, 4},
			{"1 again", batch(0, 0, 1), DuplicateBatch, 0},
			{"6", batch(0, 5, 1), Appended, 5},
			{"1 once more", batch(0, 0, 1), OutOfOrderSequence, noOffset},
			{"2 again", batch(0, 1, 1), DuplicateBatch, 1},
		},
		"sequences begin again after the largest": {
			{"a long one before", batch(0, 0, maxSequence-1), Appended, 0},
			{"the last", batch(0, maxSequence-1, 2), Appended, maxSequence - 1},
			{"the first", batch(0, 0, 1), Appended, maxSequence + 1},
			{"the last again", batch(0, maxSequence-1, 2), DuplicateBatch, maxSequence - 1},
		},
		"around the largest": {
			{"a long one before", batch(0, 0, maxSequence-1), Appended, 0},
			{"over it", batch(0, maxSequence-1, 4), Appended, maxSequence - 1},
			{"after it", batch(0, 2, 1), Appended, maxSequence + 3},
		},
		"a later epoch": {
			{"old", batch(0, 0, 5), Appended, 0},
			{"not from 0", batch(1, 5, 1), OutOfOrderSequence, noOffset},
			{"from 0", batch(1, 0, 1), Appended, 5},
			{"old again", batch(0, 5, 1), InvalidProducerEpoch, noOffset},
			{"old and known", batch(0, 0, 5), InvalidProducerEpoch, noOffset},
		},
		"a transaction": {
			{"begins", txn(0, 0, 2), Appended, 0},
			{"a batch outside", batch(0, 2, 1), InvalidTransactionState, noOffset},
			{"goes on", txn(0, 2, 1), Appended, 2},
			{"ends", ends(0, 1), Appended, noOffset},
			{"a batch outside now", batch(0, 3, 1), Appended, 4},
			{"another", txn(0, 4, 1), Appended, 5},
			{"an older coordinator", ends(0, 0), TransactionCoordinatorFenced, noOffset},
			{"the end raises the epoch", ends(1, 1), Appended, noOffset},
			{"the old one is late", txn(0, 5, 1), InvalidProducerEpoch, noOffset},
			{"an end of the old epoch", ends(0, 1), InvalidProducerEpoch, noOffset},
			{"the next begins at 0", txn(1, 0, 1), Appended, 7},
		},
		"an end without a beginning": {
			{"ends", ends(3, 2), Appended, noOffset},
			{"an old epoch", batch(2, 0, 1), InvalidProducerEpoch, noOffset},
			{"of the epoch", batch(3, 0, 1), Appended, 1},
		},
		"who never wrote begins at 0": {
			{"its second batch is early", batch(2, 40, 1), OutOfOrderSequence, noOffset},
			{"the first", batch(2, 0, 40), Appended, 0},
			{"and the second", batch(2, 40, 1), Appended, 40},
		},
		"who may be forgotten begins anywhere": {
			{"one that was silent", func(l *partitionLog) (Code, Offset) { return l.append(batchOf(8, 0, 0, 1, false), "") }, Appended, 0},
			{"is forgotten", func(l *partitionLog) (Code, Offset) { l.forget(1, 0); return Appended, noOffset }, Appended, noOffset},
			{"an older one goes on", batch(2, 40, 1), Appended, 1},
			{"a younger one does not", func(l *partitionLog) (Code, Offset) { return l.append(batchOf(9, 0, 40, 1, false), "") }, OutOfOrderSequence, noOffset},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			l := newPartitionLog()
			for _, s := range steps {
				if code, at := s.do(l); code != s.code || at != s.at {
					t.Fatalf("%s: got %v at %d, want %v at %d", s.what, code, at, s.code, s.at)
				}
			}
		})
	}
}

// TestForget lets go of producers that were silent, and of aborted transactions whose
// records are deleted.
func TestForget(t *testing.T) {
	l := newPartitionLog()
	l.append(batchOf(1, 0, 0, 1, false), "silent")
	l.append(batchOf(2, 0, 0, 1, true), "open")
	l.append(batchOf(3, 0, 0, 1, true), "aborted")
	l.end(end{3, 0, 0, false}) // at 3
	l.append(batchOf(4, 0, 0, 1, false), "heard of")
	l.forget(4, 3)
	var known []ProducerID
	for id := range l.of {
		known = append(known, id)
	}
	slices.Sort(known)
	if want := []ProducerID{2, 4}; !slices.Equal(known, want) {
		t.Errorf("known are %v, want %v", known, want)
	}
	if want := []AbortedTransaction{{3, 2, 3}}; !slices.Equal(l.between(0, 10), want) {
		t.Errorf("aborted are %v, want %v", l.between(0, 10), want)
	}
	if got := l.between(4, 10); len(got) > 0 {
		t.Errorf("aborted from 4 on: %v, want none", got)
	}
	l.forget(4, 4)
	if got := l.between(0, 10); len(got) > 0 {
		t.Errorf("aborted are %v, want none", got)
	}
	if l.stable(l.next) != 1 {
		t.Errorf("stable up to %d, want 1, where the open transaction begins", l.stable(l.next))
	}
}

// client is a producer that sends what it has to say over a net that loses answers,
// doubles, delays and reorders, and that sends again until it has an answer.
type client struct {
	id      ProducerID
	txn     bool    // it writes in transactions
	said    []Batch // in the order of their sequences
	texts   []string
	answer  []bool
	sent    []int // on their way, by number; several times, perhaps
	next    Sequence
	decided int      // so many were decided
	ordered []string // those that were committed
}

// TestProducersModel lets producers write over such a net, in transactions that are
// committed or aborted, or without: each batch is there once, in order, and readers see
// what was committed.
func TestProducersModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newPartitionLog()
		clients := []*client{{id: 1}, {id: 2, txn: true}, {id: 3, txn: true}}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			c := clients[rapid.IntRange(0, len(clients)-1).Draw(t, "client")]
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				c.say(int32(rapid.IntRange(1, 4).Draw(t, "records")))
			case 1, 2, 3:
				c.deliver(t, l)
			case 4:
				if c.txn {
					c.finish(t, l, rapid.Bool().Draw(t, "commit"))
				}
			}
			// What is behind an open transaction is seen later.
			for id, seen := range l.seen(t) {
				if c := clients[id-1]; c.txn && (len(seen) > len(c.ordered) || !slices.Equal(seen, c.ordered[:len(seen)])) {
					t.Fatalf("of producer %d %v is seen, and %v is committed", id, seen, c.ordered)
				}
			}
		}
		for _, c := range clients {
			c.finish(t, l, true)
		}
		seen := l.seen(t)
		for _, c := range clients {
			if diff := cmp.Diff(c.ordered, seen[c.id]); diff != "" {
				t.Errorf("of producer %d (-said +seen):\n%s", c.id, diff)
			}
		}
	})
}

// seen returns what a reader of committed records sees of each producer.
func (l *partitionLog) seen(t *rapid.T) map[ProducerID][]string {
	seen := map[ProducerID][]string{}
	for _, text := range l.committed() {
		var id ProducerID
		if _, err := fmt.Sscanf(text, "%d:", &id); err != nil {
			t.Fatal(err)
		}
		seen[id] = append(seen[id], text)
	}
	return seen
}

// say makes a batch, if not too many have come since the oldest without an answer.
func (c *client) say(records int32) {
	oldest := slices.Index(c.answer, false)
	if oldest >= 0 && len(c.said)-oldest == RememberedBatches {
		return
	}
	c.said = append(c.said, batchOf(c.id, 0, c.next, records, c.txn))
	c.texts = append(c.texts, fmt.Sprintf("%d:%d", c.id, len(c.said)))
	c.answer = append(c.answer, false)
	c.sent = append(c.sent, len(c.said)-1)
	c.next = c.next.Add(records)
}

// deliver brings one of the batches that are on their way, perhaps not for the last time,
// and its answer, perhaps.
func (c *client) deliver(t *rapid.T, l *partitionLog) {
	if len(c.sent) == 0 {
		return
	}
	i := rapid.IntRange(0, len(c.sent)-1).Draw(t, "which")
	n := c.sent[i]
	if !rapid.Bool().Draw(t, "again") {
		c.sent = slices.Delete(c.sent, i, i+1)
	}
	c.receive(t, l, n, rapid.Bool().Draw(t, "answered"))
}

func (c *client) receive(t *rapid.T, l *partitionLog, n int, answered bool) {
	code, at := l.append(c.said[n], c.texts[n])
	if code == OutOfOrderSequence {
		if !c.answer[n] { // else it is an old one, late
			c.sent = append(c.sent, n)
		}
		return
	}
	if code != Appended && code != DuplicateBatch {
		t.Fatalf("batch %s: %v", c.texts[n], code)
	}
	if i := slices.IndexFunc(l.entries, func(e logEntry) bool { return e.text == c.texts[n] }); i < 0 || l.entries[i].at != at {
		t.Fatalf("batch %s is said to be at %d, and is not", c.texts[n], at)
	}
	if answered {
		c.answer[n] = true
	} else {
		c.sent = append(c.sent, n)
	}
}

// finish sends what has no answer until it has, and decides what was said since the last
// time: by the end of a transaction, if the client makes any.
func (c *client) finish(t *rapid.T, l *partitionLog, commit bool) {
	for n := range c.said {
		if !c.answer[n] {
			c.receive(t, l, n, true)
		}
		if !c.answer[n] {
			t.Fatalf("batch %s is not taken though all before it are", c.texts[n])
		}
	}
	if commit {
		c.ordered = append(c.ordered, c.texts[c.decided:]...)
	}
	c.decided = len(c.texts)
	c.sent = nil
	if !c.txn {
		return
	}
	if code := l.end(end{c.id, 0, 0, commit}); code != Appended {
		t.Fatalf("the end of a transaction of %d: %v", c.id, code)
	}
}
