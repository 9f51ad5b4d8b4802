// Package clusterhttp serves the metadata of a cluster over HTTP with JSON bodies,
// and calls such a server: [NewHandler] and [Client] are two sides of one API.
//
//	GET    /v1/cluster                              how it stands, as this node sees it
//	PUT    /v1/cluster/config                       {"replicas":3,"metadata_replicas":3,"protocol":"tcc"}
//	POST   /v1/cluster/nodes                        {"incarnation":"…","peer":"…","http":"…","stream":"…","replaces":2}
//	DELETE /v1/cluster/nodes/{id}                   let a node leave
//	POST   /v1/cluster/groups/{id}/transfer-leader  {"to":3}
//	POST   /v1/cluster/rebalance                    spread replicas and leaders evenly
//
// Every refusal is problem details (RFC 9457) with a code: the name of a
// [cluster.Code], or one of the codes that [Problem] lists. Every write says what
// shall be and may be repeated. It is durable when it is answered; the groups
// follow within seconds, as GET /v1/cluster shows.
//
// Requests are read strictly: an unknown, repeated or missing member, null, and
// anything after the object are refused, as a member that is silently ignored may
// have been the one that mattered.
package clusterhttp

import (
	"context"
	"log/slog"
	"net/http"

	"maru.example/cluster"
	"maru.example/internal/auth"
)

// MaxBodyBytes is the most that a request's body may have.
const MaxBodyBytes = 4 << 10

// Scope is what a request needs to be allowed to do.
type Scope string

// The scopes.
const (
	ReadScope  Scope = "cluster:read"  // GET
	AdminScope Scope = "cluster:admin" // everything else
)

// Errors for Authorize to return, by themselves or wrapped. Their texts are
// shown to the client.
var (
	ErrUnauthenticated = auth.ErrUnauthenticated
	ErrForbidden       = auth.ErrForbidden
)

// Authorize returns nil if a request with this Authorization header ("" if absent)
// has a scope.
type Authorize func(ctx context.Context, authorization string, need Scope) error

// Options are the settings of a handler; nil means all defaults.
type Options struct {
	// Authorize checks every request. The default lets everybody do everything:
	// serve that on loopback only.
	Authorize Authorize
	Logger    *slog.Logger // told of failures; default: discards
}

// Cluster is what the handler needs of a cluster: [cluster.Service] is one but for
// Overview, and describes the methods.
type Cluster interface {
	AddNode(ctx context.Context, n cluster.NewNode) (cluster.NodeID, cluster.Code, error)
	RemoveNode(ctx context.Context, id cluster.NodeID, force bool) (cluster.Code, error)
	TransferLeader(ctx context.Context, id cluster.GroupID, to cluster.NodeID) (cluster.Code, error)
	Configure(ctx context.Context, c cluster.Config) (cluster.Code, error)
	Rebalance(ctx context.Context) (cluster.Code, error)
	State(ctx context.Context) (*cluster.State, error)
	// Overview returns how the cluster stands as this node sees it, without
	// asking others.
	Overview() *cluster.Overview
}

// Joined is what a node needs to know to begin.
type Joined struct {
	Cluster    cluster.ID     `json:"cluster_id"`
	Node       cluster.NodeID `json:"node_id"`
	Partitions int            `json:"partitions"`
	Peers      []PeerAddress  `json:"peers"` // the others that are not removed
}

// PeerAddress is where a node is reached by others.
type PeerAddress struct {
	Node    cluster.NodeID `json:"node_id"`
	Address string         `json:"address"`
}

// NewHandler returns the API. It knows its paths from the root, and is to get all
// that begin with /v1/cluster.
func NewHandler(c Cluster, o *Options) http.Handler {
	s := &server{cluster: c}
	if o != nil {
		s.o = *o
	}
	if s.o.Authorize == nil {
		s.o.Authorize = func(context.Context, string, Scope) error { return nil }
	}
	if s.o.Logger == nil {
		s.o.Logger = slog.New(slog.DiscardHandler)
	}
	return s.routes()
}
