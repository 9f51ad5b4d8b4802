package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	callmetadata "google.golang.org/grpc/metadata"

	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// protocolArgs are the values of --protocol and what a server is to get of each; "" stands for none.
var protocolArgs = map[string][]string{"": nil, "tcc": {"--protocol", "tcc"}, "saga": {"--protocol=saga"}, "2pc": {"--protocol", "2pc"}}

func TestTransferByProtocol(t *testing.T) {
	for want, args := range protocolArgs {
		t.Run(want, func(t *testing.T) {
			var got struct{ Protocol string }
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
					t.Error(err)
				}
				_, _ = io.WriteString(w, `{"status":"success","transaction_id":"`+uuid(1)+`"}`)
			}))
			defer server.Close()
			_, _, err := runHere(t, append([]string{"wallet", "transfer", "a", "b", "1", "USD", "--id", uuid(1), "--addr", server.URL}, args...)...)
			if err != nil || got.Protocol != want {
				t.Errorf("the server got %q, want %q; %v", got.Protocol, want, err)
			}
		})
	}
}

func TestLoadByProtocol(t *testing.T) {
	machine := wallet.NewMachine(nil)
	node, err := rsmraft.OpenAlone("data", machine, &rsmraft.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	server := walletgrpc.NewServer(wallet.NewService(node, machine), &walletgrpc.ServerOptions{
		Authorize: func(ctx context.Context, _, _ string) (wallet.Tenant, error) {
			got = callmetadata.ValueFromIncomingContext(ctx, "maru-protocol")
			return wallet.DefaultTenant, nil
		},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	file := filepath.Join(t.TempDir(), "accounts.csv")
	if err := os.WriteFile(file, []byte("id,currency\na,USD\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range protocolArgs {
		_, _, err := runHere(t, append([]string{"wallet", "load", file, "--stream", l.Addr().String()}, args...)...)
		if len(got) == 0 {
			got = []string{""}
		}
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("the server got %q, want %q; %v", got, want, err)
		}
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := node.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnknownProtocol(t *testing.T) {
	for _, command := range [][]string{{"transfer", "a", "b", "1", "USD"}, {"load", "f.csv"}} {
		for _, name := range []string{"3pc", "none", "TCC", ""} {
			_, _, err := runHere(t, append(append([]string{"wallet"}, command...), "--protocol", name)...)
			if f := failureOf(err); f.status != exitUsage {
				t.Errorf("%s --protocol %q: got %+v, want status %d", command[0], name, f, exitUsage)
			}
		}
	}
}
