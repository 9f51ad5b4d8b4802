package rsms3_test

import (
	"fmt"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"maru.example/rsm/rsms3"
)

// The archive of node 1 is in a bucket of one's own server.
func Example() {
	store, err := rsms3.New(
		rsms3.Location{Endpoint: "https://storage.example:9000", Bucket: "audit", Prefix: "node-1"},
		&rsms3.Options{Credentials: credentials.NewStaticV4("key", "secret", "")}, // nil: of the environment
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(store != nil)
	// Output: true
}
