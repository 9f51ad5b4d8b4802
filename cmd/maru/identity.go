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
	"strings"

	"maru.example/cluster"
	"maru.example/rsm"
	"maru.example/rsm/rsmpeer"
)

// identity is who a node is: node.json in its data directory. Made once, it is
// never changed but for Started, Founding and Archive.
type identity struct {
	Version     int              `json:"version"`
	Cluster     cluster.ID       `json:"cluster_id"`
	Node        cluster.NodeID   `json:"node_id"`
	Incarnation cluster.ID       `json:"incarnation"`       // of the disk
	Started     bool             `json:"started,omitempty"` // there was a log: without it this is not the node any more
	Partitions  int              `json:"partitions"`
	Protocol    cluster.Protocol `json:"protocol,omitempty"` // of a cluster that begins here
	Founding    bool             `json:"founding,omitempty"` // the cluster begins with this node, and has not yet
	Peers       []peerAddress    `json:"peers,omitempty"`    // those that it begins with
	// Archive is where the node was archived last: a place, or a directory in the data directory.
	Archive string `json:"archive,omitempty"`
	// Restored is the last entry of each partition that came of a backup, if the node was made of one.
	Restored []rsm.Index `json:"restored,omitempty"`
}

// peerAddress is where another node is.
type peerAddress struct {
	Node    cluster.NodeID `json:"node_id"`
	Address string         `json:"address"`
}

const (
	identityVersion = 1
	identityName    = "node.json"
	logName         = "log"  // the directory of the log
	logOwnerName    = "node" // in it: the incarnation that it belongs to

	// restoringName is there from before a restore writes anything until all is there, and was verified.
	restoringName = "restoring"
)

// markUnfinished makes a directory, and says in it that a restore begins there.
func markUnfinished(data string) error {
	if err := os.MkdirAll(data, 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(data, restoringName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(data))
}

// markFinished says that all is there, durably, and as it should be.
func markFinished(data string) error {
	return errors.Join(os.Remove(filepath.Join(data, restoringName)), syncDir(data))
}

// unfinished refuses a directory in which a restore has not come to its end.
func unfinished(data string) error {
	_, err := os.Lstat(filepath.Join(data, restoringName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return openError(data, err)
	}
	return failed(fmt.Errorf("%s is an unfinished restore", data), "if it is not going on any more, remove the directory and restore again: `maru wallet restore --data "+data+"` with --from")
}

// pendingNode stands in an identity whose node has no number yet.
const pendingNode cluster.NodeID = 1<<64 - 1

// loadIdentity reads a node's identity; fs.ErrNotExist says that the directory is no
// node yet.
func loadIdentity(data string) (*identity, error) {
	if err := unfinished(data); err != nil {
		return nil, err
	}
	return readIdentity(data)
}

// readIdentity is loadIdentity, for the restore that makes the directory too.
func readIdentity(data string) (*identity, error) {
	b, err := os.ReadFile(filepath.Join(data, identityName))
	if errors.Is(err, fs.ErrNotExist) && hasLog(data) {
		return nil, failed(fmt.Errorf("%s in %s is gone, and the log of a node is there", identityName, data),
			"bring the file back from a copy, or give the node's place to another: `maru cluster replace NODE --data OTHER --peer HOST:PORT`")
	}
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
	case id.Node == 0 || !usable(id.Cluster) || !usable(id.Incarnation) || id.Partitions < 1 || id.Partitions > cluster.MaxPartitions:
		return nil, failed(fmt.Errorf("%s in %s is damaged", identityName, data), "bring the file back from a copy, or remove this node from the cluster and add another")
	}
	return &id, nil
}

// usable says that an id names something: zeros, to other nodes, are no id.
func usable(id cluster.ID) bool { return id.Validate() == nil && raw(id) != [16]byte{} }

// hasLog says that a node has written a log in a directory.
func hasLog(data string) bool {
	_, err := os.Stat(filepath.Join(data, logName, "log"))
	return err == nil
}

// added refuses an identity that no cluster has taken yet.
func (id *identity) added(data string) error {
	if id.Node != pendingNode {
		return nil
	}
	return failed(fmt.Errorf("%s was not added to a cluster yet: it got no answer", data), "repeat `maru cluster add --data "+data+" --peer HOST:PORT`, or the `maru cluster replace` that it was")
}

// claimLog ties the log to the identity before it is first opened. From then on it is
// refused to do without: a node that has voted, and does not know, must not vote again.
func (id *identity) claimLog(data string) error {
	dir := filepath.Join(data, logName)
	b, err := os.ReadFile(filepath.Join(dir, logOwnerName))
	owner, missing := strings.TrimSpace(string(b)), errors.Is(err, fs.ErrNotExist)
	replace := fmt.Sprintf("it must not come back under its id, as it may have voted; give its place to another: `maru cluster replace %d --data OTHER --peer HOST:PORT`, with --addr of a node that serves", id.Node)
	switch {
	case missing && id.Started:
		return failed(fmt.Errorf("the log of node %d is gone from %s", id.Node, dir), replace)
	case err == nil && owner != string(id.Incarnation):
		return failed(fmt.Errorf("the log in %s is not that of node %d, but of another disk", dir, id.Node), "bring back the log that belongs to "+identityName+"; without it, "+replace)
	case err != nil && !missing:
		return openError(data, err)
	case missing:
		if err := writeDurably(dir, logOwnerName, []byte(id.Incarnation+"\n"), 0o640); err != nil {
			return openError(data, err)
		}
	}
	if id.Started {
		return nil
	}
	id.Started = true
	if err := id.save(data); err != nil {
		return openError(data, err)
	}
	return nil
}

// save writes the identity, durably.
func (id *identity) save(data string) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	return writeDurably(data, identityName, append(b, '\n'), 0o640)
}

// writeDurably makes or replaces a file, and its directory if there is none. A crash
// leaves all of the old or all of the new.
func writeDurably(dir, name string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	temporary := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
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
		if err == nil {
			err = id.added(o.data)
		}
		if err == nil && o.partitions != 0 && o.partitions != id.Partitions {
			return nil, usageError("leave --partitions out: their number was fixed when the cluster was made", "the cluster has %d partitions, not %d", id.Partitions, o.partitions)
		}
		return id, err
	}
	if _, err := os.Stat(filepath.Join(o.data, "wallet", "log")); err == nil {
		return nil, failed(fmt.Errorf("%s was written by a version of the program that this one cannot read", o.data),
			"use that version, or another directory with --data: nothing was changed")
	}
	if o.peer != "" { // a wiped disk looks like a new one: nobody shall take it for what it was
		return nil, failed(fmt.Errorf("%s is no node yet, and with --peer none is made", o.data),
			"`maru cluster init --data "+o.data+"` makes a new cluster; `maru cluster add` or `replace`, with --data and --peer, makes it a node of one that there is")
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
