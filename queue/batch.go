package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// BatchHeaderBytes is the size of what stands before the records of a batch.
const BatchHeaderBytes = 61

// Where the fields of a batch are: the RecordBatch of the Kafka protocol, version 2 of
// the message format (KIP-98), big-endian. docs/format/queue.md describes it.
const (
	atBaseOffset      = 0
	atLength          = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atSum             = 17
	atAttributes      = 21
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atCount           = 57

	lengthEnds  = atLeaderEpoch // what batchLength counts begins here
	batchFormat = 2
)

// The bits of a batch's attributes.
const (
	compressionBits  = 0x07
	appendTimeBit    = 0x08
	transactionalBit = 0x10
	controlBit       = 0x20
	horizonBit       = 0x40
)

// Errors of batches. They say that nothing of it can be kept.
var (
	// ErrBatchFormat says that bytes are no batch of version 2.
	ErrBatchFormat = errors.New("queue: not a record batch")
	// ErrBatchVersion says that a batch is of a version of the message format before 2.
	ErrBatchVersion = errors.New("queue: record batches of version 2 are taken")
	// ErrBatchSum says that a batch was changed on its way: its CRC-32C is another.
	ErrBatchSum = errors.New("queue: wrong checksum of a record batch")
	// ErrBatchTooLarge says that a batch is larger than its topic allows.
	ErrBatchTooLarge = errors.New("queue: record batch too large")
	// ErrBatchCompression says that the records are packed in an unknown way.
	ErrBatchCompression = errors.New("queue: unknown compression of a record batch")
	// ErrBatchInvalid says that a batch contradicts itself, or is of a kind that only the
	// queue itself makes.
	ErrBatchInvalid = errors.New("queue: invalid record batch")
)

// Batch is a record batch in the form of the protocol, with its header; one that
// [CutBatch] returned is as long as it says. Its offset and leader epoch are not covered
// by its checksum: the queue sets them, and keeps everything else as the producer made it.
type Batch []byte

// CutBatch takes the first batch from a sequence of them. It checks no more than where it
// ends. The error wraps ErrBatchFormat or ErrBatchVersion.
func CutBatch(p []byte) (b Batch, rest []byte, err error) {
	if len(p) <= atMagic {
		return nil, nil, fmt.Errorf("%w: %d bytes are too short", ErrBatchFormat, len(p))
	}
	// Older messages have the same fields up to here.
	if v := p[atMagic]; v < batchFormat {
		return nil, nil, fmt.Errorf("%w: this is version %d, that Kafka 0.11 replaced: use a newer client", ErrBatchVersion, v)
	} else if v > batchFormat {
		return nil, nil, fmt.Errorf("%w: version %d is not known", ErrBatchFormat, v)
	}
	n := int64(int32(binary.BigEndian.Uint32(p[atLength:]))) + lengthEnds
	if n < BatchHeaderBytes || n > int64(len(p)) {
		return nil, nil, fmt.Errorf("%w: it says that it has %d bytes, and there are %d", ErrBatchFormat, n, len(p))
	}
	return Batch(p[:n:n]), p[n:], nil
}

// Check checks a batch that a producer sent, as CutBatch returned it, without looking at
// its records: the checksum, and that the header does not contradict itself.
func (b Batch) Check() error {
	if sum := crc32.Checksum(b[atAttributes:], castagnoli); sum != b.sum() {
		return fmt.Errorf("%w: %08x, and it says %08x", ErrBatchSum, sum, b.sum())
	}
	if b.Compression() > Zstd {
		return fmt.Errorf("%w: %v", ErrBatchCompression, b.Compression())
	}
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrBatchInvalid}, args...)...)
	}
	switch n := b.Count(); {
	case n <= 0:
		return invalid("%d records", n)
	case b.LastOffsetDelta() != n-1:
		return invalid("%d records, and the last is number %d", n, b.LastOffsetDelta())
	case b.IsControl():
		return invalid("control records are made by the queue alone")
	case b.hasHorizon():
		return invalid("a delete horizon is set by the queue alone")
	case b.ProducerID() < NoProducer:
		return invalid("producer %d", b.ProducerID())
	case b.ProducerID() == NoProducer && b.IsTransactional():
		return invalid("a transaction without a producer id")
	case b.ProducerID() != NoProducer && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0):
		return invalid("producer %d with epoch %d and sequence %d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BaseOffset returns the offset of the first record.
func (b Batch) BaseOffset() Offset { return Offset(b.int64(atBaseOffset)) }

// LastOffset returns the offset of the last record, also if that was compacted away.
func (b Batch) LastOffset() Offset { return b.BaseOffset() + Offset(b.LastOffsetDelta()) }

// LeaderEpoch returns the epoch of the leader that took the batch.
func (b Batch) LeaderEpoch() LeaderEpoch { return LeaderEpoch(b.int32(atLeaderEpoch)) }

// Place gives the batch its place in a partition.
func (b Batch) Place(at Offset, by LeaderEpoch) {
	binary.BigEndian.PutUint64(b[atBaseOffset:], uint64(at))
	binary.BigEndian.PutUint32(b[atLeaderEpoch:], uint32(by))
}

// LastOffsetDelta returns how far the last record's offset is after the first.
func (b Batch) LastOffsetDelta() int32 { return b.int32(atLastOffsetDelta) }

// Count returns how many records there are.
func (b Batch) Count() int32 { return b.int32(atCount) }

// BaseTimestamp returns the time that those of the records are relative to.
func (b Batch) BaseTimestamp() Millis { return Millis(b.int64(atBaseTimestamp)) }

// MaxTimestamp returns the latest time of a record, as the producer says.
func (b Batch) MaxTimestamp() Millis { return Millis(b.int64(atMaxTimestamp)) }

// ProducerID returns the producer's id, or NoProducer.
func (b Batch) ProducerID() ProducerID { return ProducerID(b.int64(atProducerID)) }

// ProducerEpoch returns the producer's epoch, -1 where it has no id.
func (b Batch) ProducerEpoch() ProducerEpoch {
	return ProducerEpoch(binary.BigEndian.Uint16(b[atProducerEpoch:]))
}

// BaseSequence returns the sequence of the first record, -1 where the producer has no id.
func (b Batch) BaseSequence() Sequence { return Sequence(b.int32(atBaseSequence)) }

// LastSequence returns the sequence of the last record.
func (b Batch) LastSequence() Sequence { return b.BaseSequence().Add(b.LastOffsetDelta()) }

// Compression says how the records are packed.
func (b Batch) Compression() Compression { return Compression(b.attributes() & compressionBits) }

// HasAppendTime says that the time of each record is the batch's MaxTimestamp: when the
// queue took it.
func (b Batch) HasAppendTime() bool { return b.attributes()&appendTimeBit != 0 }

// IsTransactional says that the records are part of a transaction.
func (b Batch) IsTransactional() bool { return b.attributes()&transactionalBit != 0 }

// IsControl says that the batch is a mark that the queue made, such as a transaction's end.
func (b Batch) IsControl() bool { return b.attributes()&controlBit != 0 }

// Packed returns the records as they are, packed by the batch's compression.
func (b Batch) Packed() []byte { return b[BatchHeaderBytes:] }

// SetAppendTime makes a time that of all records.
func (b Batch) SetAppendTime(at Millis) {
	binary.BigEndian.PutUint16(b[atAttributes:], b.attributes()|appendTimeBit)
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(at))
	b.seal()
}

// seal sets the checksum.
func (b Batch) seal() {
	binary.BigEndian.PutUint32(b[atSum:], crc32.Checksum(b[atAttributes:], castagnoli))
}

func (b Batch) hasHorizon() bool { return b.attributes()&horizonBit != 0 }

func (b Batch) attributes() uint16 { return binary.BigEndian.Uint16(b[atAttributes:]) }

func (b Batch) sum() uint32 { return binary.BigEndian.Uint32(b[atSum:]) }

func (b Batch) int32(at int) int32 { return int32(binary.BigEndian.Uint32(b[at:])) }

func (b Batch) int64(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
