package queue

import "encoding/binary"

// BatchHead is what stands before the records of a batch that is made here.
type BatchHead struct {
	BaseOffset      Offset
	LeaderEpoch     LeaderEpoch
	Compression     Compression
	AppendTime      bool
	Transactional   bool
	Control         bool
	LastOffsetDelta int32
	Count           int32
	BaseTimestamp   Millis
	MaxTimestamp    Millis
	Producer        ProducerID // NoProducer: it has none
	Epoch           ProducerEpoch
	BaseSequence    Sequence
}

// AppendBatch appends a batch of records that are packed as its head says.
func AppendBatch(dst []byte, h *BatchHead, packed []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, BatchHeaderBytes)...)
	dst = append(dst, packed...)
	b, be := Batch(dst[start:]), binary.BigEndian
	b.Place(h.BaseOffset, h.LeaderEpoch)
	be.PutUint32(b[atLength:], uint32(len(b)-lengthEnds))
	b[atMagic] = batchFormat
	be.PutUint16(b[atAttributes:], h.attributes())
	be.PutUint32(b[atLastOffsetDelta:], uint32(h.LastOffsetDelta))
	be.PutUint64(b[atBaseTimestamp:], uint64(h.BaseTimestamp))
	be.PutUint64(b[atMaxTimestamp:], uint64(h.MaxTimestamp))
	be.PutUint64(b[atProducerID:], uint64(h.Producer))
	be.PutUint16(b[atProducerEpoch:], uint16(h.Epoch))
	be.PutUint32(b[atBaseSequence:], uint32(h.BaseSequence))
	be.PutUint32(b[atCount:], uint32(h.Count))
	b.seal()
	return dst
}

func (h *BatchHead) attributes() uint16 {
	a := uint16(h.Compression)
	for _, flag := range []struct {
		set bool
		bit uint16
	}{{h.AppendTime, appendTimeBit}, {h.Transactional, transactionalBit}, {h.Control, controlBit}} {
		if flag.set {
			a |= flag.bit
		}
	}
	return a
}
