package rsmraft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Messages between hosts have a header; see docs/format/raft.md.
const (
	messageVersion     = 1
	messageHeaderBytes = 8
	raftFixedBytes     = 72
	entryHeadBytes     = 24
	// copyBelow is the size up to which the entries of a message are copied next
	// to its header: larger ones are sent from where they are.
	copyBelow = 16 << 10
)

// messageKind says what a message is. The numbers are part of the format.
type messageKind uint8

const (
	messageRaft    messageKind = 1 // a message of the consensus
	messageForward messageKind = 2 // proposals for the leader
	messageAnswer  messageKind = 3 // to messageForward
	messageOffer   messageKind = 4 // a snapshot is there to be had
	messageWant    messageKind = 5 // the next piece of it, from an offset on
	messagePiece   messageKind = 6
	messageGot     messageKind = 7  // all of it
	messageCall    messageKind = 8  // a request of the system above
	messageReply   messageKind = 9  // to messageCall
	messageFull    messageKind = 10 // the sender has no room for entries
)

var errMessage = errors.New("rsmraft: malformed message")

func marshal(m proto.Message) ([]byte, error) { return proto.Marshal(m) }

func unmarshal(b []byte, m proto.Message) error { return proto.Unmarshal(b, m) }

// appendMessageHeader appends what every message begins with.
func appendMessageHeader(dst []byte, kind messageKind, group GroupID) []byte {
	dst = append(dst, messageVersion, byte(kind), 0, 0)
	return binary.LittleEndian.AppendUint32(dst, uint32(group))
}

// decodeMessageHeader returns what a message is, and the rest of it. A kind that
// is not known is not an error: the sender may be newer.
func decodeMessageHeader(b []byte) (kind messageKind, group GroupID, body []byte, err error) {
	if len(b) < messageHeaderBytes {
		return 0, 0, nil, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	if b[0] != messageVersion {
		return 0, 0, nil, fmt.Errorf("%w: message of version %d, this program speaks %d", ErrVersion, b[0], messageVersion)
	}
	return messageKind(b[1]), GroupID(binary.LittleEndian.Uint32(b[4:])), b[messageHeaderBytes:], nil
}

// encodeRaft returns the parts of a message of the consensus. Large entries are
// referred to, not copied.
func encodeRaft(group GroupID, m *pb.Message) [][]byte {
	var conf []byte
	meta := m.GetSnapshot().GetMetadata()
	if meta != nil {
		conf = encodeConf(meta.GetConfState())
	}
	data := 0
	for _, e := range m.GetEntries() {
		data += len(e.GetData())
	}
	size := messageHeaderBytes + raftFixedBytes + 24 + len(m.GetContext()) + len(conf) + entryHeadBytes*len(m.GetEntries())
	if data <= copyBelow {
		size += data
	}
	b := appendMessageHeader(make([]byte, 0, size), messageRaft, group)
	reject := byte(0)
	if m.GetReject() {
		reject = 1
	}
	b = append(b, byte(m.GetType()), reject, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.GetEntries())))
	for _, v := range [...]uint64{m.GetFrom(), m.GetTerm(), m.GetLogTerm(), m.GetIndex(), m.GetCommit(), m.GetVote(), m.GetRejectHint()} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.GetContext())))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(conf)))
	b = append(b, m.GetContext()...)
	if meta != nil {
		b = binary.LittleEndian.AppendUint64(b, meta.GetIndex())
		b = binary.LittleEndian.AppendUint64(b, meta.GetTerm())
		b = append(b, conf...)
	}
	for _, e := range m.GetEntries() {
		b = binary.LittleEndian.AppendUint64(b, e.GetTerm())
		b = binary.LittleEndian.AppendUint64(b, e.GetIndex())
		b = binary.LittleEndian.AppendUint32(b, uint32(e.GetType()))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(e.GetData())))
	}
	if data <= copyBelow {
		for _, e := range m.GetEntries() {
			b = append(b, e.GetData()...)
		}
		return [][]byte{b}
	}
	parts := make([][]byte, 1, 1+len(m.GetEntries()))
	parts[0] = b
	for _, e := range m.GetEntries() {
		parts = append(parts, e.GetData())
	}
	return parts
}

// decodeRaft returns the message in a body. Its bytes refer to the body.
func decodeRaft(b []byte, to NodeID) (*pb.Message, error) {
	if len(b) < raftFixedBytes {
		return nil, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	kind := pb.MessageType(b[0])
	if !slices.Contains(peerMessages, kind) || b[1] > 1 {
		return nil, fmt.Errorf("%w: type %d", errMessage, b[0])
	}
	reject := b[1] == 1
	count := binary.LittleEndian.Uint32(b[4:])
	var v [7]uint64
	for i := range v {
		v[i] = binary.LittleEndian.Uint64(b[8+8*i:])
	}
	context, conf := uint64(binary.LittleEndian.Uint32(b[64:])), uint64(binary.LittleEndian.Uint32(b[68:]))
	b = b[raftFixedBytes:]
	id := uint64(to)
	m := &pb.Message{
		Type: &kind, Reject: &reject, To: &id, From: &v[0], Term: &v[1], LogTerm: &v[2], Index: &v[3],
		Commit: &v[4], Vote: &v[5], RejectHint: &v[6],
	}
	if uint64(len(b)) < context {
		return nil, fmt.Errorf("%w: context of %d bytes", errMessage, context)
	}
	if context > 0 {
		m.Context, b = b[:context:context], b[context:]
	}
	if kind == pb.MsgSnap {
		var err error
		if m.Snapshot, b, err = decodeSnapshotMeta(b, conf); err != nil {
			return nil, err
		}
	}
	if err := decodeEntries(m, b, count); err != nil {
		return nil, err
	}
	if (kind == pb.MsgReadIndex || kind == pb.MsgReadIndexResp) && len(m.Entries) != 1 {
		return nil, fmt.Errorf("%w: %v with %d entries", errMessage, kind, len(m.Entries))
	}
	return m, nil
}

// peerMessages are the messages of the consensus that go from one node to another:
// the others are for the library itself, which may panic on them.
var peerMessages = []pb.MessageType{
	pb.MsgApp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp, pb.MsgSnap, pb.MsgHeartbeat, pb.MsgHeartbeatResp,
	pb.MsgReadIndex, pb.MsgReadIndexResp, pb.MsgTimeoutNow,
}

func decodeSnapshotMeta(b []byte, conf uint64) (*pb.Snapshot, []byte, error) {
	if uint64(len(b)) < 16+conf {
		return nil, nil, fmt.Errorf("%w: configuration of %d bytes", errMessage, conf)
	}
	index, term := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	state, err := decodeConf(b[16 : 16+conf])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &index, Term: &term, ConfState: state}}, b[16+conf:], nil
}

// decodeEntries reads count headers, then the data of each.
func decodeEntries(m *pb.Message, b []byte, count uint32) error {
	if uint64(len(b)) < uint64(count)*entryHeadBytes {
		return fmt.Errorf("%w: %d entries in %d bytes", errMessage, count, len(b))
	}
	heads, data := b[:count*entryHeadBytes], b[count*entryHeadBytes:]
	m.Entries = make([]*pb.Entry, count)
	for i := range m.Entries {
		term, index := binary.LittleEndian.Uint64(heads), binary.LittleEndian.Uint64(heads[8:])
		kind, n := pb.EntryType(binary.LittleEndian.Uint32(heads[16:])), binary.LittleEndian.Uint32(heads[20:])
		heads = heads[entryHeadBytes:]
		if _, ok := pb.EntryType_name[int32(kind)]; !ok || uint64(n) > uint64(len(data)) {
			return fmt.Errorf("%w: entry of type %d with %d bytes", errMessage, kind, n)
		}
		e := &pb.Entry{Term: &term, Index: &index, Type: &kind}
		if n > 0 {
			e.Data, data = data[:n:n], data[n:]
		}
		m.Entries[i] = e
	}
	if len(data) > 0 {
		return fmt.Errorf("%w: %d bytes too many", errMessage, len(data))
	}
	return nil
}
