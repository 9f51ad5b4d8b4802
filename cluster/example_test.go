package cluster_test

import (
	"context"
	"fmt"

	"maru.example/cluster"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
)

// A cluster of one node gets a second.
func Example() {
	ctx := context.Background()
	m := cluster.NewMachine()
	g, err := rsmraft.OpenAlone("metadata", m, &rsmraft.Options{FS: vfs.NewMem(), ReserveBytes: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	s := cluster.NewService(g, m)

	code, err := s.Init(ctx, cluster.Init{
		Cluster: "4d3c2b1a00000000000000000000000f", Partitions: 2, Config: cluster.DefaultConfig(),
		Node: cluster.NewNode{Incarnation: "000000000000000000000000000000a1", Addresses: cluster.Addresses{Peer: "node1:7071"}},
	})
	fmt.Println(code, err)
	id, code, err := s.AddNode(ctx, cluster.NewNode{
		Incarnation: "000000000000000000000000000000b2", Addresses: cluster.Addresses{Peer: "node2:7071"},
	})
	fmt.Println(id, code, err)

	state, err := s.State(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, g := range state.Groups {
		fmt.Println("group", g.ID, "wants", g.Replicas)
	}
	// Output:
	// applied <nil>
	// 2 applied <nil>
	// group 0 wants [1 2]
	// group 1 wants [2 1]
	// group 2 wants [1 2]
}
