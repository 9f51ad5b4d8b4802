package wallet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
)

// idleLog is a log of which nothing is asked but to run functions later, which it
// forgets.
type idleLog struct{ PartitionLog }

func (idleLog) ApplyLoop() rsm.Loop { return idleLoop{} }

type idleLoop struct{}

func (idleLoop) Post(func())                                 {}
func (idleLoop) After(time.Duration, func()) (cancel func()) { return func() {} }

// TestGather has several batches wait for the same transfers, and end in every order.
func TestGather(t *testing.T) {
	t.Parallel()
	a, b, c := byte(1), byte(2), byte(3)
	pending := byte(Pending)
	tests := []struct {
		name    string
		batches []string // of ids
		early   string   // finished before the results are there
		leaves  int      // a batch that gives up, from 1; 0: none
		late    string   // finished after
		want    [][]byte // nil: not answered
	}{
		{"one", []string{"ab"}, "", 0, "ab", [][]byte{{a, b}}},
		{"one, early", []string{"ab"}, "ba", 0, "", [][]byte{{a, b}}},
		{"one of two, late", []string{"ab"}, "a", 0, "", [][]byte{nil}},
		{"one twice in a batch", []string{"aba"}, "", 0, "ab", [][]byte{{a, b, a}}},
		{"one in three batches", []string{"ab", "a", "ca"}, "c", 0, "ab", [][]byte{{a, b}, {a}, {c, a}}},
		{"the first gives up", []string{"a", "a", "a"}, "", 1, "a", [][]byte{nil, {a}, {a}}},
		{"one between gives up", []string{"a", "a", "a"}, "", 2, "a", [][]byte{{a}, nil, {a}}},
		{"the last gives up", []string{"a", "a", "a"}, "", 3, "a", [][]byte{{a}, {a}, nil}},
		{"nothing finishes", []string{"a"}, "b", 0, "c", [][]byte{nil}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := NewPartition(0, 1, nil)
			p.Log, p.Machine = idleLog{}, &Machine{}
			finish := func(ids string) {
				for _, id := range []byte(ids) {
					p.finished(0, TransactionID{id}, Code(id-'a'+1))
				}
			}
			got := make([][]byte, len(test.batches))
			var all []*gathering
			for _, ids := range test.batches {
				var commands [][]byte
				for _, id := range []byte(ids) {
					commands = append(commands, append([]byte{id}, make([]byte, 15)...))
				}
				all = append(all, p.gather(0, commands, false))
			}
			finish(test.early)
			for i, g := range all {
				if i+1 == test.leaves {
					g.leave()
					continue
				}
				results := make([]byte, len(g.places))
				for j := range results {
					results[j] = pending
				}
				g.wait(results, func(result []byte) { got[i] = result })
			}
			finish(test.late)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			for i, g := range all {
				if test.want[i] == nil {
					g.leave()
				}
			}
			if len(p.waiting) > 0 {
				t.Errorf("%d transfers are still waited for", len(p.waiting))
			}
		})
	}
}
