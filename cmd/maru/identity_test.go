package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"maru.example/cluster"
)

// TestDataOfAnEarlierVersion checks that a directory whose format is not read any
// more is refused, and not taken for an empty one.
func TestDataOfAnEarlierVersion(t *testing.T) {
	o := &serveOptions{data: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(o.data, "wallet", "log"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := o.loadOrFound(); err == nil || !strings.Contains(err.Error(), "cannot read") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(o.data, identityName)); err == nil {
		t.Error("an identity was made")
	}
}

// TestDamagedIdentity checks that a node.json that names nobody is refused when it is
// read, whatever it lacks.
func TestDamagedIdentity(t *testing.T) {
	const some, zero = "00112233445566778899aabbccddeeff", "00000000000000000000000000000000"
	for _, tt := range []struct {
		name     string
		identity identity
		damaged  bool
	}{
		{"whole", identity{Version: 1, Cluster: some, Node: 1, Incarnation: some, Partitions: 1}, false},
		{"no cluster", identity{Version: 1, Node: 1, Incarnation: some, Partitions: 1}, true},
		{"zeros for a cluster", identity{Version: 1, Cluster: zero, Node: 1, Incarnation: some, Partitions: 1}, true},
		{"half a cluster", identity{Version: 1, Cluster: cluster.ID(some[:16]), Node: 1, Incarnation: some, Partitions: 1}, true},
		{"no incarnation", identity{Version: 1, Cluster: some, Node: 1, Partitions: 1}, true},
		{"zeros for an incarnation", identity{Version: 1, Cluster: some, Node: 1, Incarnation: zero, Partitions: 1}, true},
		{"no node", identity{Version: 1, Cluster: some, Incarnation: some, Partitions: 1}, true},
		{"no partitions", identity{Version: 1, Cluster: some, Node: 1, Incarnation: some}, true},
		{"too many partitions", identity{Version: 1, Cluster: some, Node: 1, Incarnation: some, Partitions: cluster.MaxPartitions + 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tt.identity.save(dir); err != nil {
				t.Fatal(err)
			}
			_, err := loadIdentity(dir)
			if !tt.damaged {
				if err != nil {
					t.Error(err)
				}
				return
			}
			f, ok := errors.AsType[*failure](err)
			if !ok || f.Error() != "node.json in "+dir+" is damaged" || !strings.HasPrefix(f.hint, "bring the file back from a copy") {
				t.Errorf("got %#v, want that it is damaged, with a hint", err)
			}
		})
	}
}
