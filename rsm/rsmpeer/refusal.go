package rsmpeer

import (
	"fmt"
	"strconv"
)

// Refusal is why a node does not let another one in. The numbers are part of the
// protocol.
type Refusal uint8

// Refusals.
const (
	Accepted         Refusal = iota
	OtherVersion             // the sender's version of the protocol is not spoken here
	OtherCluster             // the sender belongs to another cluster
	OtherNode                // the sender wanted to reach another node
	UnknownNode              // the sender is no member, or is not known to be one yet
	OtherIncarnation         // the sender came back with another disk
	Duplicate                // another process with the sender's id is connected
	UnknownLane              // the sender's lane is not known here
	RemovedNode              // the sender left the cluster for good
	refusals
)

// String returns the name of the refusal.
func (r Refusal) String() string {
	if r < refusals {
		return [...]string{
			"accepted", "other_version", "other_cluster", "other_node", "unknown_node",
			"other_incarnation", "duplicate", "unknown_lane", "removed_node",
		}[r]
	}
	return "refusal_" + strconv.Itoa(int(r))
}

// A verdict is the answer to a hello: the code, and for people why and what to do.
type verdict struct {
	code Refusal
	text string
}

// judge decides about who says hello to self. peer is what self knows of the
// sender, or nil, and removed that the sender left the cluster.
func judge(self Identity, h hello, peer *Peer, removed bool) verdict {
	switch {
	case h.version != version:
		return verdict{OtherVersion, fmt.Sprintf(
			"who dials speaks version %d of the peer protocol, node %v speaks version %d: upgrade the older one of the two",
			h.version, self.Node, version)}
	case h.cluster != self.Cluster:
		return verdict{OtherCluster, fmt.Sprintf(
			"node %v of cluster %v reached node %v of cluster %v: correct the address, or give the node that is wrong the data of its own cluster",
			h.from, h.cluster, self.Node, self.Cluster)}
	case h.to != self.Node:
		return verdict{OtherNode, fmt.Sprintf(
			"node %v reached node %v, not %v: correct the address, or start each node with its own data", h.from, self.Node, h.to)}
	case h.from == self.Node:
		return verdict{Duplicate, fmt.Sprintf(
			"node %v reached a node with its own id: stop one of the two and start it with data of its own", h.from)}
	case h.lane >= lanes:
		return verdict{UnknownLane, fmt.Sprintf("%v is not known to node %v: upgrade it", h.lane, self.Node)}
	case removed:
		return verdict{RemovedNode, fmt.Sprintf(
			"node %v was removed from the cluster and does not come back: stop it; its machine can become a new node, with an empty directory", h.from)}
	case peer == nil:
		return verdict{UnknownNode, fmt.Sprintf(
			"node %v is no member that node %v knows: it has to be added first; if it was removed, stop it", h.from, self.Node)}
	case peer.Incarnation != Incarnation{} && peer.Incarnation != h.incarnation:
		return otherIncarnation(h.from, h.incarnation, peer.Incarnation)
	}
	return verdict{}
}

func otherIncarnation(node NodeID, is, want Incarnation) verdict {
	return verdict{OtherIncarnation, fmt.Sprintf(
		"node %v has disk %v and is known with disk %v: an empty or another disk must not return under an old id; replace it by a new node, or give it its disk back",
		node, is, want)}
}

func duplicate(node NodeID, remote string) verdict {
	return verdict{Duplicate, fmt.Sprintf(
		"node %v is connected from another process, at %s: stop one of the two; if the machine has just crashed this passes in seconds", node, remote)}
}

// A refusedError is a verdict as the outcome of an attempt to connect.
type refusedError struct{ verdict }

func (e *refusedError) Error() string { return fmt.Sprintf("refused: %v: %s", e.code, e.text) }
