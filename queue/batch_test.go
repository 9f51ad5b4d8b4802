package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// golden returns a batch that the producer of franz-go made, of five records, as a broker
// gave it back.
func golden(t testing.TB, packing string) Batch {
	t.Helper()
	p, err := os.ReadFile(filepath.Join("testdata", "batch-"+packing+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	b, rest, err := CutBatch(p)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%s: %v, and %d bytes more", packing, err, len(rest))
	}
	return b
}

var goldenTime = Millis(1764547200000)

// TestGoldenBatches reads what a producer made that nobody here wrote.
func TestGoldenBatches(t *testing.T) {
	for i, packing := range []Compression{Uncompressed, Gzip, Snappy, LZ4, Zstd} {
		name := strings.Replace(packing.String(), "uncompressed", "none", 1)
		t.Run(name, func(t *testing.T) {
			b := golden(t, name)
			if err := b.Check(); err != nil {
				t.Error(err)
			}
			type view struct {
				base, last          Offset
				count               int32
				from, to            Millis
				packing             Compression
				sequence            Sequence
				transaction, append bool
			}
			got := view{
				b.BaseOffset(), b.LastOffset(), b.Count(), b.BaseTimestamp(), b.MaxTimestamp(), b.Compression(),
				b.LastSequence(), b.IsTransactional(), b.HasAppendTime(),
			}
			first := Offset(5 * i)
			want := view{first, first + 4, 5, goldenTime, goldenTime + 1000, packing, 4, false, false}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if b.ProducerID() < 0 || b.ProducerEpoch() != 0 {
				t.Errorf("it is of producer %d, epoch %d", b.ProducerID(), b.ProducerEpoch())
			}
		})
	}
}

// record is a Record with its headers.
type record struct {
	Record
	Headers []Header
}

func readRecords(unpacked []byte, count int32) (got []record, err error) {
	for r, err := range Records(unpacked, count) {
		if err != nil {
			return got, err
		}
		v := record{Record: r}
		for h := range r.Headers() {
			v.Headers = append(v.Headers, h)
		}
		v.headers, v.count = nil, 0
		got = append(got, v)
	}
	return got, nil
}

var compareRecords = cmp.AllowUnexported(Record{})

// TestGoldenRecords reads the records of a batch that a producer made, and makes the same
// bytes of them.
func TestGoldenRecords(t *testing.T) {
	b := golden(t, "none")
	got, err := readRecords(b.Packed(), b.Count())
	if err != nil {
		t.Fatal(err)
	}
	var want []record
	for k := range 5 {
		r := record{Record: Record{OffsetDelta: int32(k), TimestampDelta: int64(250 * k)}}
		if k != 1 {
			r.Key = fmt.Appendf(nil, "key %d", k)
		}
		if k != 2 {
			r.Value = fmt.Appendf(nil, "value %d of a batch that is packed by none, by none, by none", k)
		}
		if k == 3 {
			r.Headers = []Header{{"tag", []byte("blue")}, {"none", nil}}
		}
		want = append(want, r)
	}
	if diff := cmp.Diff(want, got, compareRecords); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var records []byte
	for i := range want {
		records = AppendRecord(records, &want[i].Record, want[i].Headers...)
	}
	again := AppendBatch(nil, &BatchHead{
		BaseOffset: b.BaseOffset(), LeaderEpoch: b.LeaderEpoch(), LastOffsetDelta: 4, Count: 5,
		BaseTimestamp: goldenTime, MaxTimestamp: goldenTime + 1000,
		Producer: b.ProducerID(), Epoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(),
	}, records)
	if !bytes.Equal(again, b) {
		t.Errorf("made again it is\n%x, want\n%x", again, []byte(b))
	}
}

// TestCutBatch takes bytes apart that are no batches, too.
func TestCutBatch(t *testing.T) {
	b := golden(t, "none")
	change := func(at int, value ...byte) []byte {
		p := bytes.Clone(b)
		copy(p[at:], value)
		return p
	}
	tests := []struct {
		name string
		p    []byte
		rest int
		err  error
	}{
		{"one", b, 0, nil},
		{"two", append(bytes.Clone(b), b...), len(b), nil},
		{"and half of another", append(bytes.Clone(b), b[:30]...), 30, nil},
		{"none", nil, 0, ErrBatchFormat},
		{"the end is missing", b[:len(b)-1], 0, ErrBatchFormat},
		{"shorter than a header", change(atLength, 0, 0, 0, 48), 0, ErrBatchFormat},
		{"a negative length", change(atLength, 0xff, 0xff, 0xff, 0xff), 0, ErrBatchFormat},
		{"a length that overflows", change(atLength, 0x7f, 0xff, 0xff, 0xff), 0, ErrBatchFormat},
		{"of Kafka 0.9", change(atMagic, 0), 0, ErrBatchVersion},
		{"of Kafka 0.10", change(atMagic, 1), 0, ErrBatchVersion},
		{"of a time to come", change(atMagic, 3), 0, ErrBatchFormat},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, rest, err := CutBatch(test.p)
			if !errors.Is(err, test.err) || err == nil && test.err != nil {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if err == nil && (!bytes.Equal(got, b) || len(rest) != test.rest) {
				t.Errorf("got %d bytes and %d more, want %d and %d", len(got), len(rest), len(b), test.rest)
			}
		})
	}
}

// TestCheck refuses batches that contradict themselves.
func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		change func(Batch)
		err    error
	}{
		{"as it was", func(Batch) {}, nil},
		{"no producer", func(b Batch) {
			put(b, atProducerID, int64(-1))
			put(b, atProducerEpoch, int16(-1))
			put(b, atBaseSequence, int32(-1))
		}, nil},
		{"a transaction", func(b Batch) { b[atAttributes+1] |= transactionalBit }, nil},
		{"no records", func(b Batch) { put(b, atCount, int32(0)); put(b, atLastOffsetDelta, int32(-1)) }, ErrBatchInvalid},
		{"fewer records than offsets", func(b Batch) { put(b, atCount, int32(4)) }, ErrBatchInvalid},
		{"more records than offsets", func(b Batch) { put(b, atCount, int32(6)) }, ErrBatchInvalid},
		{"control records", func(b Batch) { b[atAttributes+1] |= controlBit }, ErrBatchInvalid},
		{"a delete horizon", func(b Batch) { b[atAttributes+1] |= horizonBit }, ErrBatchInvalid},
		{"unknown compression", func(b Batch) { b[atAttributes+1] |= 5 }, ErrBatchCompression},
		{"a producer below none", func(b Batch) { put(b, atProducerID, int64(-2)) }, ErrBatchInvalid},
		{"a transaction of nobody", func(b Batch) { b[atAttributes+1] |= transactionalBit; put(b, atProducerID, int64(-1)) }, ErrBatchInvalid},
		{"a producer without epoch", func(b Batch) { put(b, atProducerEpoch, int16(-1)) }, ErrBatchInvalid},
		{"a producer without sequence", func(b Batch) { put(b, atBaseSequence, int32(-1)) }, ErrBatchInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := Batch(bytes.Clone(golden(t, "none")))
			test.change(b)
			b.seal()
			if err := b.Check(); !errors.Is(err, test.err) || err == nil && test.err != nil {
				t.Errorf("got %v, want %v", err, test.err)
			}
		})
	}
}

// put writes a number into a batch.
func put(b Batch, at int, v any) {
	if _, err := binary.Encode(b[at:], binary.BigEndian, v); err != nil {
		panic(err)
	}
}

// TestEveryFlip changes each bit of a batch: all but its place, and its length, which says
// where the next one is, are covered by the checksum.
func TestEveryFlip(t *testing.T) {
	b := golden(t, "zstd")
	for i := range b {
		for bit := range 8 {
			p := bytes.Clone(b)
			p[i] ^= 1 << bit
			got, _, err := CutBatch(p)
			if err == nil {
				err = got.Check()
			}
			place := i < atLength || i >= atLeaderEpoch && i < atMagic
			if (err == nil) != place {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

// TestPlace gives a batch an offset, an epoch and a time, and it stays whole.
func TestPlace(t *testing.T) {
	b := Batch(bytes.Clone(golden(t, "gzip")))
	b.Place(1<<40, 7)
	b.SetAppendTime(goldenTime + 5)
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	if b.BaseOffset() != 1<<40 || b.LastOffset() != 1<<40+4 || b.LeaderEpoch() != 7 || b.MaxTimestamp() != goldenTime+5 || !b.HasAppendTime() || b.Compression() != Gzip {
		t.Errorf("got offsets %d to %d, epoch %d, time %d (append: %v), %v", b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.MaxTimestamp(), b.HasAppendTime(), b.Compression())
	}
}

// TestSequence begins again at 0 after the largest one, as producers do.
func TestSequence(t *testing.T) {
	tests := []struct {
		s    Sequence
		n    int32
		want Sequence
	}{{0, 1, 1}, {maxSequence - 1, 1, maxSequence}, {maxSequence, 1, 0}, {maxSequence - 2, 5, 2}, {5, 0, 5}}
	for _, test := range tests {
		if got := test.s.Add(test.n); got != test.want {
			t.Errorf("%d after %d is %d, want %d", test.n, test.s, got, test.want)
		}
	}
}
