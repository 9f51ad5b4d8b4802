package clusterhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
)

// local is a cluster that runs in the test: its metadata on one node.
type local struct {
	*cluster.Service
	err error // instead of every answer, if not nil
}

func (l *local) Overview() *cluster.Overview { return cluster.NewOverview(1, l.Known(), nil) }

func (l *local) Rebalance(ctx context.Context) (cluster.Code, error) {
	if l.err != nil {
		return 0, l.err
	}
	return l.Service.Rebalance(ctx)
}

func incarnation(n int) string { return fmt.Sprintf("%032x", n) }

// newCluster returns a cluster of two nodes.
func newCluster(t testing.TB) *local {
	t.Helper()
	c, closeLog, err := openCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeLog(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// openCluster is newCluster for examples.
func openCluster(ctx context.Context) (c *local, closeLog func() error, err error) {
	m := cluster.NewMachine()
	g, err := rsmraft.OpenAlone("metadata", m, &rsmraft.Options{FS: vfs.NewMem(), ReserveBytes: -1})
	if err != nil {
		return nil, nil, err
	}
	s := cluster.NewService(g, m)
	node := func(n int) cluster.NewNode {
		return cluster.NewNode{Incarnation: cluster.ID(incarnation(n)), Addresses: cluster.Addresses{Peer: fmt.Sprintf("node%d:7071", n)}}
	}
	_, err = s.Init(ctx, cluster.Init{Cluster: cluster.ID(incarnation(0xc)), Partitions: 2, Config: cluster.DefaultConfig(), Node: node(1)})
	if err == nil {
		_, _, err = s.AddNode(ctx, node(2))
	}
	return &local{Service: s}, g.Close, err
}

// ask sends a request and returns the answer.
func ask(h http.Handler, method, path, body, key string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRefusals(t *testing.T) {
	third := func(more string) string {
		return `{"incarnation":"` + incarnation(3) + `","peer":"node3:7071"` + more + `}`
	}
	h := clusterhttp.NewHandler(newCluster(t), nil)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"nothing there", "GET", "/v1/cluster/x", "", 404, "not_found"},
		{"no such method", "PATCH", "/v1/cluster", "", 405, "method_not_allowed"},
		{"body of a GET", "GET", "/v1/cluster", "{}", 422, "invalid_request"},
		{"body of a DELETE", "DELETE", "/v1/cluster/nodes/2", "{}", 422, "invalid_request"},
		{"body of rebalance", "POST", "/v1/cluster/rebalance", "{}", 422, "invalid_request"},
		{"no body", "POST", "/v1/cluster/nodes", "", 415, "unsupported_media_type"},
		{"no JSON", "POST", "/v1/cluster/nodes", "{", 400, "malformed_json"},
		{"more than JSON", "POST", "/v1/cluster/nodes", third("") + "x", 400, "malformed_json"},
		{"a list", "POST", "/v1/cluster/nodes", "[]", 422, "invalid_request"},
		{"null", "POST", "/v1/cluster/nodes", "null", 422, "invalid_request"},
		{"too large", "POST", "/v1/cluster/nodes", third(`,"http":"` + strings.Repeat("x", clusterhttp.MaxBodyBytes) + `"`), 413, "body_too_large"},
		{"unknown member", "POST", "/v1/cluster/nodes", third(`,"color":"red"`), 422, "invalid_request"},
		{"member of other case", "POST", "/v1/cluster/nodes", third(`,"HTTP":"http://a:1"`), 422, "invalid_request"},
		{"member twice", "POST", "/v1/cluster/nodes", third(`,"peer":"a:1"`), 422, "invalid_request"},
		{"null member", "POST", "/v1/cluster/nodes", third(`,"http":null`), 422, "invalid_request"},
		{"object member", "POST", "/v1/cluster/nodes", third(`,"http":{"a":1}`), 422, "invalid_request"},
		{"missing member", "POST", "/v1/cluster/nodes", `{"peer":"a:1"}`, 422, "invalid_request"},
		{"malformed id", "POST", "/v1/cluster/nodes", `{"incarnation":"x","peer":"a:1"}`, 422, "invalid_request"},
		{"malformed address", "POST", "/v1/cluster/nodes", third(`,"stream":"x"`), 422, "invalid_request"},
		{"replaces a string", "POST", "/v1/cluster/nodes", third(`,"replaces":"2"`), 422, "invalid_request"},
		{"replaces zero", "POST", "/v1/cluster/nodes", third(`,"replaces":0`), 422, "invalid_request"},
		{"replaces a fraction", "POST", "/v1/cluster/nodes", third(`,"replaces":2.0`), 422, "invalid_request"},
		{"replaces nobody", "POST", "/v1/cluster/nodes", third(`,"replaces":9`), 404, "unknown_node"},
		{"replaces itself", "POST", "/v1/cluster/nodes", `{"incarnation":"` + incarnation(2) + `","peer":"node2:7071","replaces":2}`, 409, "node_exists"},
		{"address taken", "POST", "/v1/cluster/nodes", `{"incarnation":"` + incarnation(3) + `","peer":"node2:7071"}`, 409, "address_taken"},
		{"no address", "POST", "/v1/cluster/nodes", `{"incarnation":"` + incarnation(3) + `","peer":""}`, 409, "address_missing"},
		{"remove nobody", "DELETE", "/v1/cluster/nodes/9", "", 404, "unknown_node"},
		{"remove no number", "DELETE", "/v1/cluster/nodes/two", "", 422, "invalid_request"},
		{"remove another form of a number", "DELETE", "/v1/cluster/nodes/02", "", 422, "invalid_request"},
		{"remove, forced or not", "DELETE", "/v1/cluster/nodes/2?force=yes", "", 422, "invalid_request"},
		{"lead no group", "POST", "/v1/cluster/groups/9/transfer-leader", `{"to":1}`, 404, "unknown_group"},
		{"lead by nobody", "POST", "/v1/cluster/groups/1/transfer-leader", `{"to":9}`, 404, "unknown_node"},
		{"group number too large", "POST", "/v1/cluster/groups/4294967296/transfer-leader", `{"to":1}`, 422, "invalid_request"},
		{"config out of range", "PUT", "/v1/cluster/config", `{"replicas":2,"metadata_replicas":3,"protocol":"tcc"}`, 422, "invalid_request"},
		{"config, far out of range", "PUT", "/v1/cluster/config", `{"replicas":18446744073709551615,"metadata_replicas":3,"protocol":"tcc"}`, 422, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(h, tt.method, tt.path, tt.body, "")
			var p clusterhttp.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err, w.Body)
			}
			if w.Code != tt.status || p.Code != tt.code || p.Status != tt.status || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %d %+v, want %d %s", w.Code, p, tt.status, tt.code)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		code   string
		retry  string
	}{
		{rsm.ErrBusy, 429, "busy", "1"},
		{rsm.ErrDiskFull, 507, "disk_full", ""},
		{rsm.ErrNoLeader, 503, "no_leader", "1"},
		{rsm.ErrUnknown, 503, "outcome_unknown", "1"},
		{rsm.ErrFailed, 503, "log_failed", "5"},
		{rsm.ErrClosed, 503, "closing", "5"},
		{context.DeadlineExceeded, 504, "deadline_exceeded", ""},
		{errors.New("else"), 500, "internal", ""},
	} {
		t.Run(tt.code, func(t *testing.T) {
			h := clusterhttp.NewHandler(&local{err: fmt.Errorf("wrapped: %w", tt.err)}, nil)
			w := ask(h, "POST", "/v1/cluster/rebalance", "", "")
			if w.Code != tt.status || !strings.Contains(w.Body.String(), `"code":"`+tt.code+`"`) || w.Header().Get("Retry-After") != tt.retry {
				t.Errorf("got %d %s %v, want %d %s", w.Code, w.Body, w.Header(), tt.status, tt.code)
			}
		})
	}
}

func TestAuthorize(t *testing.T) {
	authorize := func(_ context.Context, key string, need clusterhttp.Scope) error {
		switch {
		case key == "":
			return clusterhttp.ErrUnauthenticated
		case key != string(need):
			return fmt.Errorf("%w: it has no scope %s", clusterhttp.ErrForbidden, need)
		}
		return nil
	}
	h := clusterhttp.NewHandler(newCluster(t), &clusterhttp.Options{Authorize: authorize})
	for _, tt := range []struct {
		name, method, path, key string
		status                  int
	}{
		{"no key", "GET", "/v1/cluster", "", 401},
		{"read", "GET", "/v1/cluster", "cluster:read", 200},
		{"read to write", "POST", "/v1/cluster/rebalance", "cluster:read", 403},
		{"read to remove", "DELETE", "/v1/cluster/nodes/2", "cluster:read", 403},
		{"read to add, before the body is looked at", "POST", "/v1/cluster/nodes", "cluster:read", 403},
		{"read to transfer", "POST", "/v1/cluster/groups/1/transfer-leader", "cluster:read", 403},
		{"read to configure", "PUT", "/v1/cluster/config", "cluster:read", 403},
		{"admin", "POST", "/v1/cluster/rebalance", "cluster:admin", 200},
		{"admin to read", "GET", "/v1/cluster", "cluster:admin", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(h, tt.method, tt.path, "", tt.key)
			if w.Code != tt.status {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if challenge := w.Header().Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) {
				t.Errorf("got the challenge %q", challenge)
			}
		})
	}
}

// TestClient goes through the API with the client, doing everything twice.
func TestClient(t *testing.T) {
	c := newCluster(t)
	server := httptest.NewServer(clusterhttp.NewHandler(c, nil))
	defer server.Close()
	client, err := clusterhttp.NewClient(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := t.Context()
	for range 2 {
		joined, err := client.AddNode(ctx, cluster.NewNode{
			Incarnation: cluster.ID(incarnation(3)), Addresses: cluster.Addresses{Peer: "node2:7071", HTTP: "https://node3:7070"}, Replaces: 2,
		})
		want := clusterhttp.Joined{
			Cluster: cluster.ID(incarnation(0xc)), Node: 3, Partitions: 2,
			Peers: []clusterhttp.PeerAddress{{Node: 1, Address: "node1:7071"}, {Node: 2, Address: "node2:7071"}}, // the second leaves yet
		}
		if err != nil || !cmp.Equal(joined, want) {
			t.Fatalf("add: %+v, %v, want %+v", joined, err, want)
		}
	}
	for range 2 {
		o, err := client.TransferLeader(ctx, 1, 3)
		if err != nil || o.Groups[1].Wanted[0] != 3 {
			t.Fatalf("transfer: %+v, %v", o, err)
		}
	}
	for range 2 {
		want := cluster.Config{Replicas: 5, MetadataReplicas: 5, Protocol: cluster.Saga}
		if o, err := client.Configure(ctx, want); err != nil || o.Config != want {
			t.Fatalf("configure: %+v, %v", o, err)
		}
		if _, err := client.Rebalance(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		o, err := client.RemoveNode(ctx, 1, false)
		if err != nil || o.Nodes[0].Status != cluster.Leaving {
			t.Fatalf("remove: %+v, %v", o, err)
		}
	}
	if o, err := client.RemoveNode(ctx, 1, true); err != nil || !o.Nodes[0].Forced {
		t.Fatalf("remove, forced: %+v, %v", o, err)
	}
	got, err := client.Overview(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Overview(), got); diff != "" {
		t.Errorf("overview (-want +got):\n%s", diff)
	}
	_, err = client.RemoveNode(ctx, 3, false)
	if p, ok := errors.AsType[*clusterhttp.Problem](err); !ok || p.Code != cluster.LastNode.String() || p.Status != http.StatusConflict {
		t.Errorf("the last node: %v", err)
	}
}

func TestClientOfAnotherServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) }))
	defer server.Close()
	client, err := clusterhttp.NewClient(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Overview(t.Context())
	if p, ok := errors.AsType[*clusterhttp.Problem](err); !ok || p.Status != http.StatusBadGateway || p.Code != "" {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"", "node1:7070", "ftp://node1", "http://"} {
		if _, err := clusterhttp.NewClient(bad, nil); err == nil {
			t.Errorf("the address %q is taken", bad)
		}
	}
}
