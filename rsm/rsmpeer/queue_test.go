package rsmpeer

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQueueIsBounded(t *testing.T) {
	const kib = 1 << 10
	for _, tt := range []struct {
		name     string
		bytes    int64
		messages int
		size     int
		want     int // messages that are taken
	}{
		{"by messages", 1 << 30, 3, kib, 3},
		{"by bytes", 3 * (kib + messageOverhead), 100, kib, 3},
		{"by one byte less", 3*(kib+messageOverhead) - 1, 100, kib, 2},
		{"by empty messages", 2 * messageOverhead, 100, 0, 2},
		{"larger than the queue, alone", kib, 100, 2 * kib, 1},
		{"larger than a message may be", 1 << 30, 100, MaxMessageBytes + 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := newQueue(tt.bytes, tt.messages)
			part := [][]byte{make([]byte, tt.size)}
			fill := func() (n int) {
				for n < 10 && q.push(part) {
					n++
				}
				return n
			}
			if got := fill(); got != tt.want {
				t.Errorf("took %d messages, want %d", got, tt.want)
			}
			taken := q.take()
			if got := fill(); got != 0 {
				t.Errorf("took %d more while the first are written", got)
			}
			q.written(len(taken), int64(len(taken)*tt.size))
			if got := fill(); got != tt.want {
				t.Errorf("took %d when the first were written, want %d", got, tt.want)
			}
			if dropped := q.reset(false); dropped != tt.want {
				t.Errorf("dropped %d, want %d", dropped, tt.want)
			}
			if got := fill(); got != 0 {
				t.Errorf("took %d while shut", got)
			}
			q.open()
			if got := fill(); got != tt.want {
				t.Errorf("took %d when opened again, want %d", got, tt.want)
			}
		})
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	q := newQueue(1<<20, 100)
	var got []byte
	for _, b := range []string{"ab", "", "c", "def"} {
		for i := range len(b) {
			q.push([][]byte{[]byte(b[i : i+1])})
		}
		for _, m := range q.take() {
			got = append(got, bytes.Join(m.parts, nil)...)
			q.written(1, int64(m.size))
		}
	}
	if messages, size := q.size(); string(got) != "abcdef" || messages != 0 || size != 0 {
		t.Errorf("got %q; %d messages of %d bytes are left", got, messages, size)
	}
}

func TestCut(t *testing.T) {
	whole := [][]byte{[]byte("abc"), nil, []byte("d"), []byte("efgh")}
	for limit := 1; limit < 10; limit++ {
		bufs := append([][]byte(nil), whole...)
		var pieces []string
		for len(bufs) > 0 {
			var piece [][]byte
			piece, bufs = cut(nil, bufs, limit)
			pieces = append(pieces, string(bytes.Join(piece, nil)))
		}
		var want []string
		for rest := "abcdefgh"; rest != ""; {
			n := min(limit, len(rest))
			want, rest = append(want, rest[:n]), rest[n:]
		}
		if diff := cmp.Diff(want, pieces); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
}
