package rsmraft

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"maru.example/rsm"
)

// TestAnswerOf gives the errors of rsm, alone and with the one that says that the
// outcome is unknown: that one counts.
func TestAnswerOf(t *testing.T) {
	for want, err := range map[answerCode]error{
		answerNoLeader: rsm.ErrNoLeader, answerBusy: rsm.ErrBusy, answerDiskFull: rsm.ErrDiskFull, answerUnknown: rsm.ErrFailed,
	} {
		if got := answerOf(err); got != want {
			t.Errorf("%v has the code %d, want %d", err, got, want)
		}
		if got := answerOf(fmt.Errorf("%w: not all was decided: %w", rsm.ErrUnknown, err)); got != answerUnknown {
			t.Errorf("unknown, and %v, has the code %d, want %d", err, got, answerUnknown)
		}
	}
	if got := answerOf(rsm.ErrClosed); got != answerNoLeader {
		t.Errorf("%v has the code %d, want %d", rsm.ErrClosed, got, answerNoLeader)
	}
}

// sentTo keeps what is sent.
type sentTo struct{ messages [][][]byte }

func (s *sentTo) Send(_ NodeID, _ Lane, parts [][]byte) bool {
	s.messages = append(s.messages, parts)
	return true
}

// TestForwardInPart takes two proposals of another node, of which one alone is done,
// or proposed: nobody may be told that nothing was.
func TestForwardInPart(t *testing.T) {
	for _, tt := range []struct {
		name  string
		queue int64
		first error
		then  error
		want  answerCode
	}{
		{"both done", 1 << 20, nil, nil, answerDone},
		{"the second refused", 1 << 20, nil, rsm.ErrNoLeader, answerUnknown},
		{"the first refused", 1 << 20, rsm.ErrNoLeader, nil, answerUnknown},
		{"both refused", 1 << 20, rsm.ErrNoLeader, rsm.ErrNoLeader, answerNoLeader},
		{"no room for the second", 200, nil, nil, answerUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := &sentTo{}
			o, err := (&Options{Network: sent, ReserveBytes: -1}).withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			g := &Group{host: &Host{options: o, runtime: o.Runtime}, id: 1, leads: true}
			g.queue = rsm.NewQueue(tt.queue, func() time.Duration { return 0 }, func() {})
			g.forwards.init(g)
			f := forwarder{g: g, number: 7}
			message := f.encode([]*rsm.Proposal{{Data: make([]byte, 100)}, {Data: make([]byte, 100)}})[0]
			g.forwards.take(2, message[messageHeaderBytes:])
			taken, _ := g.queue.Take(nil, 1<<20)
			for i, err := range []error{tt.first, tt.then}[:len(taken)] {
				taken[i].Done([]byte("done"), rsm.Position{Index: 5}, err)
			}
			a, err := decodeAnswer(sent.messages[0][0][messageHeaderBytes:])
			if err != nil || a.code != tt.want {
				t.Errorf("%d taken, answered with the code %d, %v; want %d", len(taken), a.code, err, tt.want)
			}
		})
	}
}

// TestCallAndClose closes a host whose request may be served: its outcome is unknown.
// Of one that comes later nothing is done.
func TestCallAndClose(t *testing.T) {
	o, err := (&Options{Network: &sentTo{}, ReserveBytes: -1}).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{options: o, runtime: o.Runtime}
	h.calls.init(h)
	var before, after error
	h.calls.call(2, 1, nil, func(_ Reply, err error) { before = err })
	h.calls.fail(rsm.ErrClosed)
	h.calls.call(2, 1, nil, func(_ Reply, err error) { after = err })
	if !errors.Is(before, rsm.ErrUnknown) || !errors.Is(after, rsm.ErrClosed) {
		t.Errorf("got %v and then %v, want ErrUnknown and ErrClosed", before, after)
	}
}
