package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/wallet/walletraft"
)

// A backup is an archive in another place, whose chains begin with the first entries, and a
// manifest of each time that it was brought up to date, written last: what came after the newest manifest
// belongs to one that was interrupted.

// backupOwner stands for the incarnation in the owner of a backup: no node's.
const backupOwner cluster.ID = "00000000000000000000000000000000"

const (
	manifestFolder = "maru"
	manifestPrefix = "backup-"
	manifestSuffix = ".json"
	maxManifest    = 1 << 20
)

// manifest says up to where a backup goes.
type manifest struct {
	Version  int              `json:"version"`
	Number   int              `json:"number"` // from 1
	Cluster  cluster.ID       `json:"cluster_id"`
	Protocol cluster.Protocol `json:"protocol"`
	Made     time.Time        `json:"made"`
	// Nodes are the incarnations of the cluster's nodes, those that were removed too. A wallet that was restored
	// has others. Version 1 has none.
	Nodes      []cluster.ID `json:"nodes,omitempty"`
	Partitions []backedUpTo `json:"partitions"` // all, in their order
}

const manifestVersion = 2

// backedUpTo is up to where a partition is in a backup.
type backedUpTo struct {
	Partition uint16    `json:"partition"`
	Index     rsm.Index `json:"index"`
	Time      time.Time `json:"time"` // of the last entry
	Link      string    `json:"link"` // of the chain, after it
	// What the place had then: see rsmarchive.Listing. Version 1 does not say it.
	Segments int    `json:"segments,omitempty"`
	Listing  []byte `json:"listing,omitempty"`
}

// listing returns what the place had; the zero one if the manifest does not say it.
func (b *backedUpTo) listing() (l rsmarchive.Listing) {
	if len(b.Listing) == len(l.Sum) {
		l.Segments = b.Segments
		copy(l.Sum[:], b.Listing)
	}
	return l
}

func manifestName(number int) string {
	return fmt.Sprintf("%s/%s%06d%s", manifestFolder, manifestPrefix, number, manifestSuffix)
}

// newestManifest returns the newest one; nil if there is none.
func newestManifest(ctx context.Context, store rsmarchive.Store) (*manifest, error) {
	names, err := store.List(ctx, manifestFolder)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(s string) bool {
		return !strings.HasPrefix(s, manifestPrefix) || !strings.HasSuffix(s, manifestSuffix)
	})
	if len(names) == 0 {
		return nil, nil
	}
	name := manifestFolder + "/" + slices.Max(names)
	b, err := store.Get(ctx, name, 0, maxManifest)
	if err != nil {
		return nil, err
	}
	return parseManifest(name, b)
}

// parseManifest reads a manifest that has a name.
func parseManifest(name string, b []byte) (*manifest, error) {
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if m.Version < 1 || m.Version > manifestVersion || m.Number < 1 || manifestName(m.Number) != name || m.Cluster.Validate() != nil || len(m.Partitions) == 0 || len(m.Partitions) > cluster.MaxPartitions {
		return nil, fmt.Errorf("%s is of version %d, or damaged", name, m.Version)
	}
	for i, p := range m.Partitions {
		if int(p.Partition) != i || p.Index == 0 {
			return nil, fmt.Errorf("%s is damaged", name)
		}
	}
	return &m, nil
}

// expected returns what the chain of a partition has to be.
func (m *manifest) expected(partition uint16) (all []rsmarchive.Expected) {
	if m == nil || int(partition) >= len(m.Partitions) {
		return nil
	}
	at := m.Partitions[partition]
	e := rsmarchive.Expected{Index: at.Index, Source: "manifest " + manifestName(m.Number)}
	// A link that cannot be read is none that the chain has.
	if b, err := base64.StdEncoding.DecodeString(at.Link); err == nil {
		copy(e.Link[:], b)
	}
	return append(all, e)
}

// continues says whether a backup is of the same life of a wallet, and not of one that was restored: then they
// know a node in common, as a cluster remembers the nodes that were removed.
func (m *manifest) continues(of *backupSource) bool {
	return len(m.Nodes) == 0 || slices.ContainsFunc(of.Nodes, func(id cluster.ID) bool { return slices.Contains(m.Nodes, id) })
}

// position returns up to where a partition goes.
func (m *manifest) position(partition uint16) backedUpTo { return m.Partitions[partition] }

// ends returns up to when the backup has all: it was begun then, or has entries that are later.
func (m *manifest) ends() time.Time {
	ends := m.Made
	for _, p := range m.Partitions {
		if p.Time.After(ends) {
			ends = p.Time
		}
	}
	return ends
}

// chainedOf names what is archived of a cluster's partition.
func chainedOf(id cluster.ID, partition uint16) rsmarchive.Chained {
	return rsmarchive.Chained{Cluster: string(id), Group: uint64(walletraft.Group(partition))}
}

// openBackup opens the place of a backup: of a wallet, whose may begin there, or, without one, any.
func openBackup(ctx context.Context, place location, of *backupSource) (rsmarchive.Store, error) {
	if of != nil && place.dir != "" {
		if _, err := os.Lstat(filepath.Join(place.dir, identityName)); err == nil {
			return nil, failed(fmt.Errorf("%s is the directory of a node: it has a %s", place, identityName), "a backup has a place of its own")
		}
	}
	store, err := place.open()
	if err != nil {
		return nil, err
	}
	is, err := readOwner(ctx, store)
	switch {
	case errors.Is(err, rsmarchive.ErrNotFound) && of != nil:
		return store, writeOwner(ctx, store, owner{Version: 1, Cluster: of.Cluster, Incarnation: backupOwner, Partitions: of.Partitions})
	case errors.Is(err, rsmarchive.ErrNotFound):
		return nil, failed(fmt.Errorf("there is no backup at %s", place), hintLocation)
	case err != nil:
		return nil, failed(fmt.Errorf("the backup at %s: %w", place, err), "it has to be in reach: "+hintPlace(err))
	case is.Incarnation != backupOwner:
		return nil, failed(fmt.Errorf("%s is the archive of node %d, and no backup", place, is.Node), "a backup has a place of its own")
	case of != nil && is.Cluster != of.Cluster:
		return nil, failed(fmt.Errorf("%s is the backup of another cluster, %s", place, is.Cluster), "each wallet's backup has a place of its own")
	}
	return store, nil
}
