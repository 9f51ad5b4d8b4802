package rsm_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/vfs"
)

// counter is a machine with one number. A batch is what to add, in 8 bytes.
type counter struct{ value uint64 }

func (c *counter) Apply(dst []byte, b rsm.Batch) []byte {
	if len(b.Data) == 8 { // what cannot be decoded is answered too
		c.value += binary.LittleEndian.Uint64(b.Data)
	}
	return binary.LittleEndian.AppendUint64(dst, c.value)
}

func (c *counter) Snapshot() rsm.Snapshot { return counterSnapshot(c.value) }

func (c *counter) Restore(r io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(r, 9))
	switch {
	case err != nil:
		return err
	case len(raw) == 0:
		c.value = 0
	case len(raw) == 8:
		c.value = binary.LittleEndian.Uint64(raw)
	default:
		return fmt.Errorf("counter of %d bytes", len(raw))
	}
	return nil
}

type counterSnapshot uint64

func (s counterSnapshot) Next(dst []byte, _ int) ([]byte, bool) {
	return binary.LittleEndian.AppendUint64(dst, uint64(s)), false
}

func (s counterSnapshot) Close() {}

// A consensus decides what is in the log; a Replica applies it. Here nothing is
// decided by anybody: package rsmraft does that.
func ExampleReplica() {
	world, disk := sim.New(1), vfs.NewMem()
	for range 2 { // the second time from a snapshot
		process := world.Start()
		r, err := rsm.OpenReplica("data", &counter{}, process, process.NewLoop("apply"), process.NewLoop("disk"), &rsm.ReplicaOptions{FS: disk})
		if err != nil {
			fmt.Println(err)
			return
		}
		p := &rsm.Proposal{Data: binary.LittleEndian.AppendUint64(nil, 21)}
		p.Done = func(result []byte, at rsm.Position, _ error) {
			fmt.Println("index", at.Index, "value", binary.LittleEndian.Uint64(result))
		}
		one := []*rsm.Proposal{p}
		err = r.Apply(&rsm.Committed{Index: r.State().Index + 1, Term: 1, Data: rsm.AppendEntry(nil, 0, one), Proposals: one})
		if err != nil {
			fmt.Println(err)
			return
		}
		written := false
		r.Snapshot(func(error) { written = true })
		world.Run(time.Minute, func() bool { return written })
	}
	// Output:
	// index 1 value 21
	// index 2 value 42
}
