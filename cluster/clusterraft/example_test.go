package clusterraft_test

import (
	"context"
	"fmt"

	"maru.example/cluster"
	"maru.example/cluster/clusterraft"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
)

// A node runs the metadata and looks after its groups.
func Example() {
	metadata := cluster.NewMachine()
	runtime := rsmraft.NewRuntime()
	host, err := rsmraft.Open("node", 1, &rsmraft.Options{
		FS: vfs.NewMem(), ReserveBytes: -1, Runtime: runtime,
		Machine: func(id rsmraft.GroupID) rsm.Machine {
			if cluster.GroupID(id) == cluster.Metadata {
				return metadata
			}
			return nil // of a partition
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	group, err := host.Begin(rsmraft.GroupID(cluster.Metadata))
	if err == nil {
		err = group.WaitLeader()
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	adapter := clusterraft.New(host)
	r := cluster.NewReconciler(1, metadata, adapter, runtime.NewLoop("reconciler"), nil)
	r.Start()

	service := clusterraft.NewService(adapter, metadata)
	code, err := service.Init(context.Background(), cluster.Init{
		Cluster: "4d3c2b1a00000000000000000000000f", Partitions: 1, Config: cluster.DefaultConfig(),
		Node: cluster.NewNode{Incarnation: "000000000000000000000000000000a1"},
	})
	fmt.Println(code, err, service.Overview().Nodes[0].Health)

	stopped := make(chan struct{})
	r.Stop(func() { close(stopped) })
	<-stopped
	fmt.Println(host.Close())
	runtime.Close()
	// Output:
	// applied <nil> alive
	// <nil>
}
