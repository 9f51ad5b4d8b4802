package main

import "testing"

func TestStartLine(t *testing.T) {
	for _, tt := range []struct{ name, peer, want string }{
		{"one machine", "127.0.0.1:7582", "maru serve --data n2 --peer 127.0.0.1:7582 --http 127.0.0.1:0 --stream 127.0.0.1:0"},
		{"its name", "localhost:7582", "maru serve --data n2 --peer localhost:7582 --http localhost:0 --stream localhost:0"},
		{"IPv6", "[::1]:7582", "maru serve --data n2 --peer [::1]:7582 --http [::1]:0 --stream [::1]:0"},
		{"a machine of its own", "node2:7482", "maru serve --data n2 --peer node2:7482 --peer-ca FILE --peer-cert FILE --peer-key FILE"},
		{"its address", "10.0.0.2:7482", "maru serve --data n2 --peer 10.0.0.2:7482 --peer-ca FILE --peer-cert FILE --peer-key FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := startLine("n2", tt.peer); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
