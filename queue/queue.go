// Package queue keeps records in the partitions of topics, in order, until they are
// old: what the Kafka protocol calls a broker.
//
// A producer makes batches of records ([Batch]); the queue checks them, keeps them as
// they are, and hands them out as they are.
package queue

import "fmt"

// Offset numbers the records of a partition from 0. After compaction some are missing.
type Offset int64

// LeaderEpoch numbers the leaders of a partition, one after the other.
type LeaderEpoch int32

// Millis is a point in time in milliseconds since 1970 UTC, -1 where none is known.
type Millis int64

// ProducerID names a producer whose batches are kept once each, however often it sends
// them. It is given by the queue.
type ProducerID int64

// NoProducer is the id in the batches of a producer that has none.
const NoProducer ProducerID = -1

// ProducerEpoch tells the lives of a producer apart: a batch of an earlier one is refused.
type ProducerEpoch int16

// Sequence numbers the records of a producer in one partition from 0. After the largest
// value comes 0 again.
type Sequence int32

// Add returns the sequence that comes n after s.
func (s Sequence) Add(n int32) Sequence {
	return Sequence((int64(s) + int64(n)) & maxSequence)
}

const maxSequence = 1<<31 - 1

// Compression says how the records of a batch are packed. The numbers are the protocol's.
type Compression uint8

// The ways of packing.
const (
	Uncompressed Compression = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String returns the name that topics' settings have for it.
func (c Compression) String() string {
	switch c {
	case Uncompressed:
		return "uncompressed"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("compression %d", uint8(c))
}
