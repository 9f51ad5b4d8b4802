package clusterhttp_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
)

// A node joins by way of a server of the cluster.
func Example() {
	ctx := context.Background()
	c, closeLog, err := openCluster(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer closeLog() //nolint:errcheck // an example
	server := httptest.NewServer(clusterhttp.NewHandler(c, nil))
	defer server.Close()

	client, err := clusterhttp.NewClient(server.URL, &clusterhttp.ClientOptions{APIKey: "maru_…"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	joined, err := client.AddNode(ctx, cluster.NewNode{
		Incarnation: "000000000000000000000000000000c3",
		Addresses:   cluster.Addresses{Peer: "node3:7071", HTTP: "https://node3:7070"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("node", joined.Node, "of", joined.Partitions, "partitions with", joined.Peers)
	// Output: node 3 of 2 partitions with [{1 node1:7071} {2 node2:7071}]
}
