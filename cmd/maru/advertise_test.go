package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/cluster"
)

func TestAdvertised(t *testing.T) {
	type addresses = cluster.Addresses
	a := func(peer, http, stream string) addresses { return addresses{Peer: peer, HTTP: http, Stream: stream} }
	none := addresses{}
	for _, tt := range []struct {
		name               string
		option             string // --peer
		advertise          addresses
		peer, http, stream string // where it listens
		tls                bool
		want               addresses
	}{
		{"alone", "", none, "", "127.0.0.1:80", "127.0.0.1:81", false, a("", "http://127.0.0.1:80", "127.0.0.1:81")},
		{"alone, everywhere", "", none, "", "[::]:80", "0.0.0.0:81", true, none},
		{"alone, everywhere, and it says where", "", a("", "https://pay:443", "pay:81"), "", "[::]:80", "0.0.0.0:81", false, a("", "https://pay:443", "pay:81")},
		{"one of several", "db1:0", none, "10.0.0.1:82", "10.0.0.1:80", "10.0.0.1:81", true, a("db1:82", "https://10.0.0.1:80", "10.0.0.1:81")},
		{"one of several, everywhere", "db1:82", none, "10.0.0.1:82", "[::]:80", "0.0.0.0:81", false, a("db1:82", "http://db1:80", "db1:81")},
		{"all of it everywhere", ":82", a("db1:9", "", ""), "[::]:82", "[::]:80", "[::]:81", false, a("db1:9", "http://db1:80", "db1:81")},
		{"it says all", ":82", a("db1:9", "pay:7", "[fe80::1]:8"), "[::]:82", "[::]:80", "[::]:81", true, a("db1:9", "https://pay:7", "[fe80::1]:8")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &serveOptions{peer: tt.option, advertise: tt.advertise}
			if err := o.validateAdvertised(); err != nil {
				t.Error(err)
			}
			got := o.advertised(tt.peer, tt.http, tt.stream, tt.tls)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}
