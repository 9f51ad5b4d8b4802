package rsmpeer_test

import (
	"context"
	"fmt"

	"maru.example/rsm/rsmpeer"
)

// Two nodes on one machine, in plain text. Beyond it, Options.Certificates has to
// name their files.
func Example() {
	ctx := context.Background()
	cluster := rsmpeer.ClusterID{1} // random, made when the cluster is
	received := make(chan string)
	receive := func(from rsmpeer.NodeID, lane rsmpeer.Lane, message []byte) {
		received <- fmt.Sprintf("from node %v on lane %v: %s", from, lane, message)
	}
	var nodes [2]*rsmpeer.Network
	var peers []rsmpeer.Peer
	for i := range nodes {
		self := rsmpeer.Identity{Cluster: cluster, Node: rsmpeer.NodeID(i + 1), Incarnation: rsmpeer.Incarnation{byte(i + 1)}}
		n, err := rsmpeer.Listen(ctx, "127.0.0.1:0", self, receive, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer n.Close()
		nodes[i] = n
		peers = append(peers, rsmpeer.Peer{ID: self.Node, Addr: n.LocalAddr().String(), Incarnation: self.Incarnation})
	}
	for i := range nodes {
		// The last is told last: whoever it dials knows it already.
		if err := nodes[i].SetPeers(peers); err != nil {
			fmt.Println(err)
			return
		}
	}
	nodes[1].Send(1, rsmpeer.Raft, [][]byte{[]byte("hello "), []byte("peer")})
	fmt.Println(<-received)
	// Output: from node 2 on lane raft: hello peer
}
