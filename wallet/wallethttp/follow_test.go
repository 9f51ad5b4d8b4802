package wallethttp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// counted is a node of a cluster of one partition that counts its requests.
type counted struct {
	*httptest.Server
	requests atomic.Int64
	leader   atomic.Pointer[string] // what it says
	instead  atomic.Pointer[http.HandlerFunc]
}

// newCounted serves a wallet that applies everything, as a node of a cluster.
func newCounted(t *testing.T, cluster string) *counted {
	t.Helper()
	n := &counted{}
	n.leader.Store(new(""))
	h := wallethttp.NewHandler(scripted{code: wallet.Applied}, &wallethttp.Options{Cluster: &wallethttp.Cluster{
		ID: cluster, Partitions: 1, Leader: func(uint16) string { return *n.leader.Load() },
	}})
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.requests.Add(1)
		if instead := n.instead.Load(); instead != nil {
			(*instead)(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(n.Close)
	return n
}

func pay(ctx context.Context, c *wallethttp.Client) error {
	r, err := c.Transfer(ctx, wallet.Transfer{ID: tid(1), From: "a", To: "b", Amount: 1, Currency: usd})
	if err == nil && r.Code() != wallet.Applied {
		err = errors.New(r.Code().String())
	}
	return err
}

func wantRequests(t *testing.T, when string, nodes []*counted, want ...int64) {
	t.Helper()
	for i, n := range nodes {
		if got := n.requests.Swap(0); got != want[i] {
			t.Errorf("%s: node %d got %d requests, want %d", when, i, got, want[i])
		}
	}
}

func dial(t *testing.T, addresses string, o *wallethttp.ClientOptions) *wallethttp.Client {
	t.Helper()
	c, err := wallethttp.NewClient(addresses, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClientFollowsTheLeader(t *testing.T) {
	given, leader, third := newCounted(t, "c"), newCounted(t, "c"), newCounted(t, "c")
	nodes := []*counted{given, leader, third}
	given.leader.Store(&leader.URL)
	c := dial(t, given.URL, nil)
	calls := []func() error{
		func() error { return pay(t.Context(), c) },
		func() error { _, _, err := c.Account(t.Context(), "a"); return err },
		func() error { _, _, err := c.SetStatus(t.Context(), "a", wallet.Frozen); return err },
		func() error {
			_, _, err := c.OpenAccount(t.Context(), wallet.NewAccount{ID: "a", Currency: usd})
			return err
		},
		func() error { _, _, _, err := c.AccountStale(t.Context(), "a"); return err },
		func() error { _, err := c.Decision(t.Context(), tid(1)); return err },
		func() error { _, _, err := c.Totals(t.Context()); return err },
	}
	all := func() {
		t.Helper()
		for i, call := range calls {
			if err := call(); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
	}
	all()
	wantRequests(t, "learning", nodes, 4, 3, 0)
	all()
	wantRequests(t, "following", nodes, 3, 4, 0)
	leader.leader.Store(&third.URL)
	all()
	wantRequests(t, "the leader says that another leads", nodes, 3, 1, 3)

	c = dial(t, given.URL, &wallethttp.ClientOptions{NoFollow: true})
	all()
	wantRequests(t, "told not to follow", nodes, 7, 0, 0)
}

// Whatever a leader answers that is no decision, the client is as well off as if it
// had not asked it.
func TestClientFallsBack(t *testing.T) {
	for name, instead := range map[string]http.HandlerFunc{
		"no leader":   wallethttp.NewHandler(*causes()["no_leader"].wallet, nil).ServeHTTP,
		"closing":     wallethttp.NewHandler(*causes()["closing"].wallet, nil).ServeHTTP,
		"outcome":     wallethttp.NewHandler(*causes()["outcome_unknown"].wallet, nil).ServeHTTP,
		"busy":        wallethttp.NewHandler(*causes()["busy"].wallet, nil).ServeHTTP,
		"another key": wallethttp.NewHandler(scripted{}, &wallethttp.Options{Authorize: refuseKey(wallethttp.ErrUnauthenticated).Authorize}).ServeHTTP,
		"no cluster":  wallethttp.NewHandler(scripted{code: wallet.Applied}, nil).ServeHTTP,
		"another":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"senseless":   func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("welcome")) },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		},
		"never": func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) //nolint:errcheck // then the server sees that the client has gone
			<-r.Context().Done()
		},
		"not any more": nil,
	} {
		t.Run(name, func(t *testing.T) {
			given, leader := newCounted(t, "c"), newCounted(t, "c")
			nodes := []*counted{given, leader}
			given.leader.Store(&leader.URL)
			c := dial(t, given.URL, nil)
			for range 2 {
				if err := pay(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			wantRequests(t, "before", nodes, 1, 1)
			asked := int64(1)
			if instead == nil {
				leader.CloseClientConnections()
				leader.Close()
				asked = 0
			} else {
				leader.instead.Store(&instead)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for range 3 {
				if err := pay(ctx, c); err != nil {
					t.Error(err)
				}
			}
			wantRequests(t, "after", nodes, 3, asked)
		})
	}
}

func TestLeaderOfAnotherCluster(t *testing.T) {
	given, leader := newCounted(t, "c"), newCounted(t, "another")
	given.leader.Store(&leader.URL)
	c := dial(t, given.URL, nil)
	for range 3 {
		if err := pay(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	wantRequests(t, "refused by the other", []*counted{given, leader}, 3, 1)
}

// Addresses that a client may not ask, whoever names them.
func TestClientDoesNotFollow(t *testing.T) {
	leader := newCounted(t, "c")
	for name, tt := range map[string]struct{ given, leader string }{
		"by the way that was given": {"http://127.0.0.1", leader.URL},
		"without TLS":               {"https://127.0.0.1", leader.URL},
		"another scheme":            {"http://127.0.0.1", strings.Replace(leader.URL, "http", "https", 1)},
		"this machine":              {"http://node1", leader.URL},
		"no URL":                    {"http://127.0.0.1", leader.Listener.Addr().String()},
		"two words":                 {"http://127.0.0.1", leader.URL + " x"},
	} {
		t.Run(name, func(t *testing.T) {
			given := newCounted(t, "c")
			given.leader.Store(&tt.leader)
			toGiven := func(ctx context.Context, _, address string) (net.Conn, error) {
				if address != leader.Listener.Addr().String() {
					address = given.Listener.Addr().String()
				}
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			}
			transport := &http.Transport{DialContext: toGiven, DialTLSContext: toGiven}
			defer transport.CloseIdleConnections()
			c := dial(t, tt.given, &wallethttp.ClientOptions{HTTPClient: &http.Client{Transport: transport}})
			for range 3 {
				if err := pay(t.Context(), c); err != nil {
					t.Error(err)
				}
			}
			want := []int64{3, 0}
			if name == "by the way that was given" {
				want = []int64{1, 2}
			}
			wantRequests(t, "named", []*counted{given, leader}, want...)
		})
	}
}

func TestClientOfSeveralNodes(t *testing.T) {
	unable := http.HandlerFunc(wallethttp.NewHandler(*causes()["no_leader"].wallet, nil).ServeHTTP)
	busy := http.HandlerFunc(wallethttp.NewHandler(*causes()["busy"].wallet, nil).ServeHTTP)
	nodes := []*counted{newCounted(t, "c"), newCounted(t, "c"), newCounted(t, "c")}
	down := httptest.NewServer(unable)
	down.Close()
	c := dial(t, strings.Join([]string{down.URL, nodes[0].URL + "/", " " + nodes[1].URL, nodes[2].URL}, ","), nil)
	steps := []struct {
		name  string
		first func()
		code  string // of the refusal
		want  []int64
	}{
		{"the first is down", func() {}, "", []int64{1, 0, 0}},
		{"the first is left out", func() {}, "", []int64{1, 0, 0}},
		{"one cannot serve", func() { nodes[0].instead.Store(&unable) }, "", []int64{1, 1, 0}},
		{"one refuses", func() { nodes[1].instead.Store(&busy) }, "busy", []int64{0, 1, 0}},
		{"one has gone", func() { nodes[1].CloseClientConnections(); nodes[1].Close() }, "", []int64{0, 0, 1}},
		{"none can", func() { nodes[2].instead.Store(&unable) }, "", []int64{1, 0, 1}},
	}
	for _, s := range steps {
		s.first()
		err := pay(t.Context(), c)
		p, refused := errors.AsType[*wallethttp.Problem](err)
		switch {
		case s.name == "none can":
			if err == nil {
				t.Errorf("%s: served", s.name)
			}
		case refused != (s.code != "") || refused && p.Code != s.code || !refused && err != nil:
			t.Errorf("%s: got %v", s.name, err)
		}
		wantRequests(t, s.name, nodes, s.want...)
	}
	for _, bad := range []string{"http://a,", "http://a,b:1", ",", strings.Repeat("http://a,", wallethttp.MaxAddresses) + "http://a"} {
		if _, err := wallethttp.NewClient(bad, nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
