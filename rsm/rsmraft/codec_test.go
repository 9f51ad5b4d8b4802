package rsmraft

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"maru.example/rsm"
	"maru.example/wal"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares the pieces, a dump each, with testdata/name.
func golden(t *testing.T, name string, pieces ...[]byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	var dump string
	for _, p := range pieces {
		dump += hex.Dump(p) + "\n"
	}
	if *update {
		if err := os.WriteFile(file, []byte(dump), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), dump); diff != "" {
		t.Errorf("%s differs: the format changed (-want +got):\n%s", file, diff)
	}
}

// someConf is a configuration in the midst of a change.
var someConf = &pb.ConfState{Voters: []uint64{1, 2, 4}, VotersOutgoing: []uint64{1, 2, 3}, Learners: []uint64{5}, AutoLeave: new(true)}

func someRecords() []record {
	return []record{
		{kind: recordEntry, group: 7, term: 3, index: 0x0102, data: []byte("entry")},
		{kind: recordConfEntry, group: 7, term: 3, index: 0x0103, data: []byte{0x10, 1}},
		{kind: recordHardState, group: 7, term: 4, index: 0x0102, vote: 2},
		{kind: recordSnapshot, group: 7, term: 4, index: 0x0200},
		{kind: recordRemoved, group: 7},
		{kind: recordBegin, group: 8, term: 1, index: 1, data: encodeConf(&pb.ConfState{Voters: []uint64{1}})},
	}
}

func (r *record) encode() []byte { return append(appendRecordHeader(nil, r), r.data...) }

var records = cmp.AllowUnexported(record{})

func TestRecords(t *testing.T) {
	var all [][]byte
	for _, r := range someRecords() {
		b := r.encode()
		got, err := decodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, records, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		all = append(all, b)
	}
	golden(t, "records.hex", all...)
}

func TestDecodeRecordRefuses(t *testing.T) {
	entry := someRecords()[0]
	change := func(at int, v byte) []byte {
		b := entry.encode()
		b[at] = v
		return b
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, wal.ErrCorrupt},
		{"half a header", entry.encode()[:31], wal.ErrCorrupt},
		{"newer version", change(0, 2), ErrVersion},
		{"unknown kind", change(1, 7), wal.ErrCorrupt},
		{"no kind", change(1, 0), wal.ErrCorrupt},
		{"no term", change(8, 0), wal.ErrCorrupt},
		{"hard state with data", change(1, byte(recordHardState)), wal.ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := decodeRecord(tt.in); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// FuzzDecodeRecord: what is decoded has one encoding, but for bytes that are
// reserved.
func FuzzDecodeRecord(f *testing.F) {
	for _, r := range someRecords() {
		f.Add(r.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		want := bytes.Clone(b)
		want[2], want[3] = 0, 0
		if got := r.encode(); !bytes.Equal(got, want) {
			t.Errorf("encodes to %x, want %x", got, want)
		}
	})
}

func someCheckpoint() *checkpoint {
	return &checkpoint{from: 0x0102, groups: []checkpointGroup{
		{id: 0, hard: hardState{term: 3, vote: 2, commit: 40}, snapshot: 30},
		{id: 7, hard: hardState{term: 5, commit: 41}},
	}}
}

var checkpoints = cmp.AllowUnexported(checkpoint{}, checkpointGroup{}, hardState{})

func TestCheckpointFile(t *testing.T) {
	for _, c := range []*checkpoint{someCheckpoint(), {from: 1}} {
		got, err := decodeCheckpoint(c.encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got, checkpoints); diff != "" {
			t.Errorf("checkpoint (-want +got):\n%s", diff)
		}
	}
	golden(t, "checkpoint.hex", someCheckpoint().encode())
}

// TestCheckpointFileDamage changes every bit, and cuts at every length.
func TestCheckpointFileDamage(t *testing.T) {
	good := someCheckpoint().encode()
	for i := range good {
		for bit := range 8 {
			damaged := bytes.Clone(good)
			damaged[i] ^= 1 << bit
			want := wal.ErrCorrupt
			if i >= 8 && i < 12 {
				want = ErrVersion
			}
			if _, err := decodeCheckpoint(damaged); !errors.Is(err, want) {
				t.Errorf("bit %d of byte %d: got %v, want %v", bit, i, err, want)
			}
		}
		if _, err := decodeCheckpoint(good[:i]); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("cut at %d: got %v, want ErrCorrupt", i, err)
		}
	}
	if _, err := decodeCheckpoint(append(good, 0)); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("longer: got %v, want ErrCorrupt", err)
	}
}

func FuzzDecodeCheckpoint(f *testing.F) {
	f.Add(someCheckpoint().encode())
	f.Add([]byte(checkpointMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCheckpoint(b)
		if err != nil {
			return
		}
		for _, g := range c.groups {
			if got := (&checkpoint{groups: []checkpointGroup{g}}).encode(); len(got) != checkpointHeaderBytes+checkpointGroupBytes {
				t.Errorf("a group takes %d bytes", len(got))
			}
		}
	})
}

func someMessages() []*pb.Message {
	entry := func(index uint64, kind pb.EntryType, data string) *pb.Entry {
		e := &pb.Entry{Term: new(uint64(3)), Index: &index, Type: &kind}
		if data != "" {
			e.Data = []byte(data)
		}
		return e
	}
	message := func(kind pb.MessageType, change func(m *pb.Message)) *pb.Message {
		m := &pb.Message{
			Type: &kind, To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(3)), LogTerm: new(uint64(2)), Index: new(uint64(0x0102)),
			Commit: new(uint64(0x0100)), Vote: new(uint64(0)), RejectHint: new(uint64(0)), Reject: new(false),
		}
		change(m)
		return m
	}
	return []*pb.Message{
		message(pb.MsgApp, func(m *pb.Message) {
			m.Entries = []*pb.Entry{entry(0x0103, pb.EntryNormal, "one"), entry(0x0104, pb.EntryNormal, ""), entry(0x0105, pb.EntryConfChangeV2, "c")}
		}),
		message(pb.MsgAppResp, func(m *pb.Message) { m.Reject, m.RejectHint = new(true), new(uint64(0x99)) }),
		message(pb.MsgHeartbeat, func(m *pb.Message) { m.Context = []byte("context") }),
		message(pb.MsgVote, func(m *pb.Message) { m.Context = []byte("CampaignTransfer") }),
		message(pb.MsgReadIndex, func(m *pb.Message) { m.Entries = []*pb.Entry{entry(0, pb.EntryNormal, "number 1")} }),
		message(pb.MsgSnap, func(m *pb.Message) {
			m.Snapshot = &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(uint64(0x0101)), Term: new(uint64(2)), ConfState: someConf}}
		}),
	}
}

func TestRaftMessages(t *testing.T) {
	var all [][]byte
	for _, m := range someMessages() {
		b := bytes.Join(encodeRaft(7, m), nil)
		got := decodeAll(t, b)
		m.Entries = append([]*pb.Entry{}, m.Entries...)
		if !proto.Equal(m, got) {
			t.Errorf("got  %v\nwant %v", got, m)
		}
		all = append(all, b)
	}
	golden(t, "messages.hex", all...)
}

// decodeAll decodes a message of the consensus for group 7 and node 2.
func decodeAll(t *testing.T, b []byte) *pb.Message {
	t.Helper()
	kind, group, body, err := decodeMessageHeader(b)
	if err != nil || kind != messageRaft || group != 7 {
		t.Fatalf("kind %d, group %d, error %v", kind, group, err)
	}
	m, err := decodeRaft(body, 2)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestLargeEntriesAreNotCopied sends entries that are worth it from where they are.
func TestLargeEntriesAreNotCopied(t *testing.T) {
	m := someMessages()[0]
	m.Entries[1].Data = make([]byte, copyBelow)
	parts := encodeRaft(7, m)
	if len(parts) != 4 || &parts[2][0] != &m.Entries[1].Data[0] {
		t.Errorf("%d parts, or a copy", len(parts))
	}
	if got := decodeAll(t, bytes.Join(parts, nil)); !proto.Equal(m, got) {
		t.Errorf("got %v", got)
	}
}

func TestDecodeRaftRefuses(t *testing.T) {
	body := func(i int, change func(b []byte) []byte) []byte {
		return change(bytes.Join(encodeRaft(7, someMessages()[i]), nil)[messageHeaderBytes:])
	}
	for _, tt := range []struct {
		name string
		in   []byte
	}{
		{"nothing", nil},
		{"short", body(0, func(b []byte) []byte { return b[:71] })},
		{"an unknown type", body(0, func(b []byte) []byte { b[0] = 99; return b })},
		{"a type for the library itself", body(0, func(b []byte) []byte { b[0] = byte(pb.MsgHup); return b })},
		{"a proposal", body(0, func(b []byte) []byte { b[0] = byte(pb.MsgProp); return b })},
		{"neither true nor false", body(0, func(b []byte) []byte { b[1] = 2; return b })},
		{"too many entries", body(0, func(b []byte) []byte { binary.LittleEndian.PutUint32(b[4:], 1<<31); return b })},
		{"a context that is too long", body(0, func(b []byte) []byte { binary.LittleEndian.PutUint32(b[64:], 1<<31); return b })},
		{"a configuration that is too long", body(5, func(b []byte) []byte { binary.LittleEndian.PutUint32(b[68:], 1<<31); return b })},
		{"bytes too few", body(0, func(b []byte) []byte { return b[:len(b)-1] })},
		{"bytes too many", body(0, func(b []byte) []byte { return append(b, 0) })},
		{"a question without its number", body(1, func(b []byte) []byte { b[0] = byte(pb.MsgReadIndex); return b })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := decodeRaft(tt.in, 2); !errors.Is(err, errMessage) {
				t.Errorf("got %v, %v, want errMessage", m, err)
			}
		})
	}
}

func FuzzDecodeRaft(f *testing.F) {
	for _, m := range someMessages() {
		f.Add(bytes.Join(encodeRaft(7, m), nil)[messageHeaderBytes:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeRaft(b, 2)
		if err != nil {
			return
		}
		again, err := decodeRaft(bytes.Join(encodeRaft(7, m), nil)[messageHeaderBytes:], 2)
		if err != nil || !proto.Equal(m, again) {
			t.Errorf("%v becomes %v, %v", m, again, err)
		}
	})
}

func someForward() []byte {
	f := &forwarder{g: &Group{id: 7}, number: 0x0102}
	return bytes.Join(f.encode([]*rsm.Proposal{{Data: []byte("one")}, {}, {Data: []byte("three")}}), nil)
}

func someAnswers() []answer {
	return []answer{
		{number: 0x0102, code: answerDone, at: rsm.Position{Index: 0x0304, Time: 1_700_000_000_000_000_001}, results: [][]byte{[]byte("r"), {}, []byte("rr")}},
		{number: 0x0102, code: answerBusy},
	}
}

func TestForwardAndAnswer(t *testing.T) {
	b := someForward()
	number, data, err := decodeForward(b[messageHeaderBytes:])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]byte{[]byte("one"), {}, []byte("three")}, data, cmpopts.EquateEmpty()); diff != "" || number != 0x0102 {
		t.Errorf("number %d, proposals (-want +got):\n%s", number, diff)
	}
	all := [][]byte{b}
	for _, a := range someAnswers() {
		b := a.encode(7)
		got, err := decodeAnswer(b[messageHeaderBytes:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, got, cmp.AllowUnexported(answer{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("answer (-want +got):\n%s", diff)
		}
		all = append(all, b)
	}
	golden(t, "forward.hex", all...)
}

func TestAnswersThatAreNotUnderstood(t *testing.T) {
	done := someAnswers()[0]
	for _, code := range []uint32{uint32(answerUnknown), 99, 256, 1<<32 - 1} {
		b := done.encode(7)[messageHeaderBytes:]
		binary.LittleEndian.PutUint32(b[8:], code)
		if a, err := decodeAnswer(b); err != nil || a.code != answerUnknown || !errors.Is(a.code.err(2), rsm.ErrUnknown) {
			t.Errorf("code %d: got %v, %v", code, a.code, err)
		}
	}
	good := done.encode(7)[messageHeaderBytes:]
	for i := range good {
		if a, err := decodeAnswer(good[:i]); err == nil {
			t.Errorf("cut at %d: got %+v", i, a)
		}
	}
}

// TestErrorsTravel sends each error that a leader may have through an answer.
func TestErrorsTravel(t *testing.T) {
	for _, tt := range []struct{ in, want error }{
		{rsm.ErrBusy, rsm.ErrBusy},
		{rsm.ErrDiskFull, rsm.ErrDiskFull},
		{rsm.ErrNoLeader, rsm.ErrNoLeader},
		{rsm.ErrClosed, rsm.ErrNoLeader},
		{rsm.ErrFailed, rsm.ErrUnknown},
		{rsm.ErrUnknown, rsm.ErrUnknown},
		{errors.New("anything"), rsm.ErrUnknown},
	} {
		if got := answerOf(tt.in).err(2); !errors.Is(got, tt.want) {
			t.Errorf("%v becomes %v, want %v", tt.in, got, tt.want)
		}
	}
	if err := answerOf(nil).err(2); err != nil {
		t.Errorf("no error becomes %v", err)
	}
}

func FuzzDecodeForward(f *testing.F) {
	f.Add(someForward()[messageHeaderBytes:])
	f.Fuzz(func(t *testing.T, b []byte) {
		number, data, err := decodeForward(b)
		if err != nil {
			return
		}
		again := &forwarder{g: &Group{id: 7}, number: number}
		var proposals []*rsm.Proposal
		for _, d := range data {
			proposals = append(proposals, &rsm.Proposal{Data: d})
		}
		if got := bytes.Join(again.encode(proposals), nil)[messageHeaderBytes:]; !bytes.Equal(got, b) {
			t.Errorf("encodes to %x, want %x", got, b)
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, a := range someAnswers() {
		f.Add(a.encode(7)[messageHeaderBytes:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b)
		if err != nil || a.code != answerDone {
			return
		}
		if got := a.encode(7)[messageHeaderBytes:]; !bytes.Equal(got, b) {
			t.Errorf("encodes to %x, want %x", got, b)
		}
	})
}

func TestDecodeMessageHeaderRefuses(t *testing.T) {
	if _, _, _, err := decodeMessageHeader([]byte{1, 2, 3}); !errors.Is(err, errMessage) {
		t.Errorf("short: got %v", err)
	}
	if _, _, _, err := decodeMessageHeader([]byte{2, 1, 0, 0, 0, 0, 0, 0}); !errors.Is(err, ErrVersion) {
		t.Errorf("newer: got %v", err)
	}
}
