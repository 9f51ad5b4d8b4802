package rsmraft_test

import (
	"context"
	"fmt"

	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

// A node that is alone: everything is on its disk before it is answered.
func ExampleOpenAlone() {
	disk := vfs.NewMem() // without it the operating system's files
	for range 2 {        // the second time the log is replayed
		machine := &rsmtest.List{}
		group, err := rsmraft.OpenAlone("data", machine, &rsmraft.Options{FS: disk})
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, _, err := group.Propose(context.Background(), []byte("hello")); err != nil {
			fmt.Println(err)
		}
		if err := group.Read(context.Background(), func() { fmt.Println(machine.Data()) }); err != nil {
			fmt.Println(err)
		}
		if err := group.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// [hello]
	// [hello hello]
}
