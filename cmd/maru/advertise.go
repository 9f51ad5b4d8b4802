package main

import (
	"cmp"
	"net"
	"net/netip"
	"strings"

	"maru.example/cluster"
	"maru.example/rsm/rsmpeer"
)

// validateAdvertised refuses addresses that are none, and that of a node among others
// which does not say where it is.
func (o *serveOptions) validateAdvertised() error {
	a := o.advertise
	a.HTTP = withScheme(a.HTTP, false)
	if err := a.Validate(); err != nil {
		return usageError("see `maru serve --help`", "advertise %w", err)
	}
	if err := checkReachable("--advertise-peer", a.Peer); err != nil {
		return err
	}
	if err := checkReachable("--advertise-stream", a.Stream); err != nil {
		return err
	}
	if err := checkReachable("--advertise-http", strings.TrimPrefix(strings.TrimPrefix(a.HTTP, "http://"), "https://")); err != nil {
		return err
	}
	if o.peer != "" && a.Peer == "" && isEverywhere(o.peer) {
		return usageError("say it with --advertise-peer HOST:PORT", "--peer %s does not say where other nodes reach this one", o.peer)
	}
	return nil
}

// validatePeerCertificates refuses certificates for other nodes that are not usable.
func (o *serveOptions) validatePeerCertificates() error {
	const hint = "--peer-ca, --peer-cert and --peer-key name PEM files: an authority, a certificate that it issued, and its key"
	given := 0
	for _, name := range []string{o.peerCA, o.peerCert, o.peerKey} {
		if name != "" {
			given++
		}
	}
	switch {
	case o.peer == "" || given == 0:
		return nil
	case given < 3:
		return usageError(hint, "of --peer-ca, --peer-cert and --peer-key, only some are given")
	}
	files := &rsmpeer.Certificates{Authority: o.peerCA, Chain: o.peerCert, Key: o.peerKey}
	if err := files.Check(); err != nil {
		return usageError(hint, "%w", err)
	}
	return nil
}

// checkReachable refuses the address of a flag at which nobody reaches anything.
func checkReachable(flag, address string) error {
	if isEverywhere(address) {
		return usageError("give the host and port by which others reach this node", "%s %s is no address of one host", flag, address)
	}
	return nil
}

// isEverywhere says that an address is that of all interfaces, at which one can listen
// and which nobody else can reach.
func isEverywhere(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// advertised returns where the cluster is told that this node is, from where it
// listens: peer is "" for a node that has no port for others.
func (o *serveOptions) advertised(peer, http, stream string, tls bool) cluster.Addresses {
	a := o.advertise
	a.Peer = cmp.Or(a.Peer, at(o.peer, peer))
	if peer == "" {
		a.Peer = ""
	}
	a.HTTP = withScheme(cmp.Or(a.HTTP, reachable(http, a.Peer)), tls)
	a.Stream = cmp.Or(a.Stream, reachable(stream, a.Peer))
	return a
}

// reachable returns where to reach what listens at an address: if that is everywhere,
// at the host of this node's address for other nodes, and "" if it has none.
func reachable(listens, peer string) string {
	switch {
	case !isEverywhere(listens):
		return listens
	case peer == "":
		return ""
	}
	return at(peer, listens)
}

// at returns an address with the host of one and the port of another, "" if one of
// them is none.
func at(host, port string) string {
	host, _, err := net.SplitHostPort(host)
	_, port, err2 := net.SplitHostPort(port)
	if err != nil || err2 != nil {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// withScheme returns the URL of an HTTP address, which may be one already, or be "".
func withScheme(address string, tls bool) string {
	switch {
	case address == "" || strings.Contains(address, "://"):
		return address
	case tls:
		return "https://" + address
	}
	return "http://" + address
}
