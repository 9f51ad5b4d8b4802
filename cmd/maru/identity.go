package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"maru.example/cluster"
	"maru.example/rsm/rsmpeer"
)

// identity is who a node is: node.json in its data directory. Made once, it is
// never changed but for Founding.
type identity struct {
	Version     int              `json:"version"`
	Cluster     cluster.ID       `json:"cluster_id"`
	Node        cluster.NodeID   `json:"node_id"`
	Incarnation cluster.ID       `json:"incarnation"` // of the disk
	Partitions  int              `json:"partitions"`
	Protocol    cluster.Protocol `json:"protocol,omitempty"` // of a cluster that begins here
	Founding    bool             `json:"founding,omitempty"` // the cluster begins with this node, and has not yet
	Peers       []peerAddress    `json:"peers,omitempty"`    // those that it begins with
}

// peerAddress is where another node is.
type peerAddress struct {
	Node    cluster.NodeID `json:"node_id"`
	Address string         `json:"address"`
}

const (
	identityVersion = 1
	identityName    = "node.json"
)

// loadIdentity reads a node's identity; fs.ErrNotExist says that it has none yet.
func loadIdentity(data string) (*identity, error) {
	b, err := os.ReadFile(filepath.Join(data, identityName))
	if err != nil {
		return nil, err
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil {
		return nil, failed(fmt.Errorf("%s in %s: %w", identityName, data, err), "bring the file back from a copy, or remove this node from the cluster and add another")
	}
	switch {
	case id.Version > identityVersion:
		return nil, failed(fmt.Errorf("%s in %s is of version %d, this program reads %d", identityName, data, id.Version, identityVersion), "run the version that wrote it, or a newer one")
	case id.Node == 0 || id.Cluster.Validate() != nil || id.Incarnation.Validate() != nil || id.Partitions < 1 || id.Partitions > cluster.MaxPartitions:
		return nil, failed(fmt.Errorf("%s in %s is damaged", identityName, data), "bring the file back from a copy, or remove this node from the cluster and add another")
	}
	return &id, nil
}

// save writes the identity, durably.
func (id *identity) save(data string) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(data, 0o750); err != nil {
		return err
	}
	temporary := filepath.Join(data, identityName+".tmp")
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(data, identityName)); err != nil {
		return err
	}
	d, err := os.Open(data)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// found makes the identity of the first node of a new cluster.
func found(data string, partitions int, protocol cluster.Protocol) (*identity, error) {
	if partitions < 1 || partitions > cluster.MaxPartitions {
		return nil, usageError("their number never changes: 4 is enough for most, 1 for a node that stays alone", "a cluster has 1 to %d partitions, not %d", cluster.MaxPartitions, partitions)
	}
	id := &identity{Version: identityVersion, Cluster: newID(), Node: 1, Incarnation: newID(), Partitions: partitions, Protocol: protocol, Founding: true}
	if err := id.save(data); err != nil {
		return nil, openError(data, err)
	}
	return id, nil
}

// loadOrFound returns a directory's identity, that of a new cluster if there is none.
func (o *serveOptions) loadOrFound() (*identity, error) {
	id, err := loadIdentity(o.data)
	if !errors.Is(err, fs.ErrNotExist) {
		if err == nil && o.partitions != 0 && o.partitions != id.Partitions {
			return nil, usageError("leave --partitions out: their number was fixed when the cluster was made", "the cluster has %d partitions, not %d", id.Partitions, o.partitions)
		}
		return id, err
	}
	if _, err := os.Stat(filepath.Join(o.data, "wallet", "log")); err == nil {
		return nil, failed(fmt.Errorf("%s was written by a version of the program that this one cannot read", o.data),
			"use that version, or another directory with --data: nothing was changed")
	}
	return found(o.data, max(o.partitions, 1), cluster.TCC)
}

func newID() cluster.ID {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		panic(err) // it never fails
	}
	return cluster.ID(hex.EncodeToString(b))
}

// raw returns the bytes of a validated id.
func raw(id cluster.ID) (b [16]byte) {
	if _, err := hex.Decode(b[:], []byte(id)); err != nil {
		panic(err)
	}
	return b
}

// peer returns the identity as other nodes are told.
func (id *identity) peer() rsmpeer.Identity {
	return rsmpeer.Identity{Cluster: raw(id.Cluster), Node: rsmpeer.NodeID(id.Node), Incarnation: raw(id.Incarnation)}
}
