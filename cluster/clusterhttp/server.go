package clusterhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"maru.example/cluster"
	"maru.example/internal/httpd"
)

// server is the handler's state.
type server struct {
	cluster Cluster
	o       Options
}

// An operation is a row of the API.
type operation struct {
	pattern string
	scope   Scope
	do      func(*server, *http.Request) (any, error) // the answer is made JSON
}

func operations() []operation {
	return []operation{
		{"GET /v1/cluster", ReadScope, (*server).overview},
		{"PUT /v1/cluster/config", AdminScope, (*server).configure},
		{"POST /v1/cluster/nodes", AdminScope, (*server).addNode},
		{"DELETE /v1/cluster/nodes/{id}", AdminScope, (*server).removeNode},
		{"POST /v1/cluster/groups/{id}/transfer-leader", AdminScope, (*server).transferLeader},
		{"POST /v1/cluster/rebalance", AdminScope, (*server).rebalance},
	}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, op := range operations() {
		mux.HandleFunc(op.pattern, func(w http.ResponseWriter, r *http.Request) {
			err := s.o.Authorize(r.Context(), r.Header.Get("Authorization"), op.scope)
			var answer any
			if err == nil {
				answer, err = op.do(s, r)
			}
			if err != nil {
				s.refuse(w, r, err)
				return
			}
			writeJSON(w, answer)
		})
	}
	mux.Handle("/", httpd.NotFound(mux))
	return mux
}

func writeJSON(w http.ResponseWriter, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // the answers hold strings, numbers and lists of these
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// refuse answers with the problem that err is. What is the server's own fault is
// logged, as the client is not told.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := failure(err)
	if p.Status == http.StatusInternalServerError {
		s.o.Logger.ErrorContext(r.Context(), "request failed", "operation", r.Pattern, "error", err)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	p.Write(w)
}

func (s *server) overview(r *http.Request) (any, error) {
	if err := noBody(r); err != nil {
		return nil, err
	}
	return s.cluster.Overview(), nil
}

func (s *server) configure(r *http.Request) (any, error) {
	var c cluster.Config
	var replicas, metadata uint64
	var protocol string
	err := readBody(r, []member{
		{name: "replicas", number: &replicas}, {name: "metadata_replicas", number: &metadata}, {name: "protocol", text: &protocol},
	})
	if err != nil {
		return nil, err
	}
	c.Replicas, c.MetadataReplicas, c.Protocol = int(min(replicas, 100)), int(min(metadata, 100)), cluster.Protocol(protocol)
	if err := decided(s.cluster.Configure(r.Context(), c)); err != nil {
		return nil, err
	}
	return s.after(r)
}

func (s *server) addNode(r *http.Request) (any, error) {
	var incarnation string
	var replaces uint64
	var n cluster.NewNode
	err := readBody(r, []member{
		{name: "incarnation", text: &incarnation},
		{name: "peer", text: &n.Addresses.Peer},
		{name: "http", text: &n.Addresses.HTTP, optional: true},
		{name: "stream", text: &n.Addresses.Stream, optional: true},
		{name: "replaces", number: &replaces, optional: true},
	})
	if err != nil {
		return nil, err
	}
	n.Incarnation, n.Replaces = cluster.ID(incarnation), cluster.NodeID(replaces)
	id, code, err := s.cluster.AddNode(r.Context(), n)
	if err := decided(code, err); err != nil {
		return nil, err
	}
	state, err := s.cluster.State(r.Context())
	if err != nil {
		return nil, err
	}
	joined := Joined{Cluster: state.Cluster, Node: id, Partitions: state.Partitions, Peers: []PeerAddress{}}
	for _, other := range state.Nodes {
		if other.Status != cluster.Removed && other.ID != id {
			joined.Peers = append(joined.Peers, PeerAddress{other.ID, other.Addresses.Peer})
		}
	}
	return joined, nil
}

func (s *server) removeNode(r *http.Request) (any, error) {
	id, err := pathNumber(r, 64)
	if err != nil {
		return nil, err
	}
	if err := noBody(r); err != nil {
		return nil, err
	}
	force := r.URL.Query().Get("force")
	if force != "" && force != "true" {
		return nil, invalid("the query parameter force must be true, or missing")
	}
	if err := decided(s.cluster.RemoveNode(r.Context(), cluster.NodeID(id), force == "true")); err != nil {
		return nil, err
	}
	return s.after(r)
}

func (s *server) transferLeader(r *http.Request) (any, error) {
	id, err := pathNumber(r, 32)
	if err != nil {
		return nil, err
	}
	var to uint64
	if err := readBody(r, []member{{name: "to", number: &to}}); err != nil {
		return nil, err
	}
	if err := decided(s.cluster.TransferLeader(r.Context(), cluster.GroupID(id), cluster.NodeID(to))); err != nil {
		return nil, err
	}
	return s.after(r)
}

func (s *server) rebalance(r *http.Request) (any, error) {
	if err := noBody(r); err != nil {
		return nil, err
	}
	if err := decided(s.cluster.Rebalance(r.Context())); err != nil {
		return nil, err
	}
	return s.after(r)
}

// after answers a change with how the cluster stands, where the change is seen.
func (s *server) after(r *http.Request) (any, error) {
	if _, err := s.cluster.State(r.Context()); err != nil { // waits until this node knows
		return nil, err
	}
	return s.cluster.Overview(), nil
}

// pathNumber returns the id in a request's path.
func pathNumber(r *http.Request, bits int) (uint64, error) {
	text := r.PathValue("id")
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, invalid("the id in the path is no number of a node or group")
	}
	return n, nil
}

// noBody refuses a request that has a body.
func noBody(r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	if _, err := io.ReadFull(r.Body, make([]byte, 1)); errors.Is(err, io.EOF) {
		return nil
	}
	return invalid("this operation takes no body")
}

// decided returns the problem of a refusal, or the error.
func decided(code cluster.Code, err error) error {
	if err != nil || code == cluster.Applied {
		return err
	}
	status, detail := describe(code)
	return httpd.NewProblem(status, code.String(), detail)
}

// describe is the table of the codes: the HTTP status of each, and what it means.
func describe(c cluster.Code) (status int, detail string) {
	switch c {
	case cluster.Applied:
		return http.StatusOK, "done"
	case cluster.UnknownNode:
		return http.StatusNotFound, "there is no such node"
	case cluster.UnknownGroup:
		return http.StatusNotFound, "there is no such group"
	case cluster.NotInitialized:
		return http.StatusConflict, "there is no cluster yet"
	case cluster.Initialized:
		return http.StatusConflict, "there is another cluster"
	case cluster.NodeRemoved:
		return http.StatusConflict, "the node leaves or was removed: it does not come back, and nobody takes its place any more"
	case cluster.AddressTaken:
		return http.StatusConflict, "another node has this peer address"
	case cluster.AddressMissing:
		return http.StatusConflict, "each node of several needs a peer address, and so does the first"
	case cluster.LastNode:
		return http.StatusConflict, "it is the last node: there is nobody to take its replicas"
	case cluster.NoReplica:
		return http.StatusConflict, "the node shall have no replica of this group"
	case cluster.LimitReached:
		return http.StatusConflict, fmt.Sprintf("the cluster has %d nodes, which is the most", cluster.MaxNodes)
	case cluster.Outdated:
		return http.StatusConflict, "a later report is known"
	case cluster.NodeExists:
		return http.StatusConflict, "the new node is one of the cluster already, and did not take the place of that one"
	case cluster.Malformed, cluster.Undecided:
		// The service checks the form first, and undecided is no answer to a command.
		return http.StatusInternalServerError, "the server made a mistake; nothing was done"
	}
	panic(fmt.Sprintf("clusterhttp: no status for code %v", c))
}
