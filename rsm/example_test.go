package rsm_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

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

func Example() {
	disk := vfs.NewMem() // the zero Options take the operating system's files
	ctx := context.Background()
	for range 2 { // the second time the log is replayed
		c := &counter{}
		n, err := rsm.Open("data", c, &rsm.Options{FS: disk})
		if err != nil {
			fmt.Println(err)
			return
		}
		result, at, err := n.Propose(ctx, binary.LittleEndian.AppendUint64(nil, 21))
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("index", at.Index, "value", binary.LittleEndian.Uint64(result))
		if err := n.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// index 1 value 21
	// index 2 value 42
}
