package rsmpeer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	magic   = "MaruPEER"
	version = 1 // of the protocol

	prefixBytes = 16 // magic, version, checksum
	helloBytes  = 80
	answerBytes = 64 // without the text
	maxText     = 512
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errNoPeer  = errors.New("no peer: it does not speak this protocol")
	errDamaged = errors.New("damaged")
)

// hello is the first that goes over a connection, from who dialed.
type hello struct {
	version     uint32
	cluster     ClusterID
	from, to    NodeID
	incarnation Incarnation
	session     uint64 // random for each process
	lane        Lane
}

// answer is what who accepted answers to a hello.
type answer struct {
	version uint32 // the newest that is spoken there
	self    Identity
	verdict verdict
}

func encodeHello(h hello) []byte {
	dst := appendPrefix(make([]byte, 0, helloBytes), h.version)
	dst = append(dst, h.cluster[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.from))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.to))
	dst = append(dst, h.incarnation[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.session)
	dst = append(dst, byte(h.lane), 0, 0, 0, 0, 0, 0, 0)
	putChecksum(dst)
	return dst
}

// readHello reads a hello. Of one of another version, only the version.
func readHello(r io.Reader) (hello, error) {
	b := make([]byte, helloBytes)
	if _, err := io.ReadFull(r, b[:prefixBytes]); err != nil {
		return hello{}, err
	}
	h := hello{version: binary.LittleEndian.Uint32(b[8:])}
	if string(b[:8]) != magic {
		return hello{}, errNoPeer
	}
	if h.version != version {
		return h, nil
	}
	if _, err := io.ReadFull(r, b[prefixBytes:]); err != nil {
		return hello{}, err
	}
	if !checksumFits(b) {
		return hello{}, fmt.Errorf("hello: %w", errDamaged)
	}
	h.cluster = ClusterID(b[16:])
	h.from = NodeID(binary.LittleEndian.Uint64(b[32:]))
	h.to = NodeID(binary.LittleEndian.Uint64(b[40:]))
	h.incarnation = Incarnation(b[48:])
	h.session = binary.LittleEndian.Uint64(b[64:])
	h.lane = Lane(b[72])
	return h, nil
}

func encodeAnswer(a answer) []byte {
	text := a.verdict.text[:min(len(a.verdict.text), maxText)]
	dst := appendPrefix(make([]byte, 0, answerBytes+len(text)), a.version)
	dst = append(dst, a.self.Cluster[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(a.self.Node))
	dst = append(dst, a.self.Incarnation[:]...)
	dst = append(dst, byte(a.verdict.code), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(text)))
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, text...)
	putChecksum(dst)
	return dst
}

func readAnswer(r io.Reader) (answer, error) {
	b := make([]byte, answerBytes, answerBytes+maxText)
	if _, err := io.ReadFull(r, b); err != nil {
		return answer{}, err
	}
	if string(b[:8]) != magic {
		return answer{}, errNoPeer
	}
	n := int(binary.LittleEndian.Uint16(b[58:]))
	if n > maxText {
		return answer{}, fmt.Errorf("answer: %w", errDamaged)
	}
	b = b[:answerBytes+n]
	if _, err := io.ReadFull(r, b[answerBytes:]); err != nil {
		return answer{}, err
	}
	if !checksumFits(b) {
		return answer{}, fmt.Errorf("answer: %w", errDamaged)
	}
	return answer{
		version: binary.LittleEndian.Uint32(b[8:]),
		self: Identity{
			Cluster:     ClusterID(b[16:]),
			Node:        NodeID(binary.LittleEndian.Uint64(b[32:])),
			Incarnation: Incarnation(b[40:]),
		},
		verdict: verdict{code: Refusal(b[56]), text: string(b[answerBytes:])},
	}, nil
}

func appendPrefix(dst []byte, version uint32) []byte {
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	return append(dst, 0, 0, 0, 0) // the checksum
}

func putChecksum(b []byte) {
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[prefixBytes:], castagnoli))
}

func checksumFits(b []byte) bool {
	return binary.LittleEndian.Uint32(b[12:]) == crc32.Checksum(b[prefixBytes:], castagnoli)
}
