package main

import (
	"fmt"
	"net"
	"net/netip"
)

// startLine returns the command that starts a node with an address for others. Nodes
// on loopback share a machine, where each needs ports of its own; others talk by TLS.
func startLine(data, peer string) string {
	line := fmt.Sprintf("maru serve --data %s --peer %s", data, peer)
	host, _, err := net.SplitHostPort(peer)
	if err != nil {
		return line
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		free := net.JoinHostPort(host, "0")
		return fmt.Sprintf("%s --http %s --stream %s", line, free, free)
	}
	return line + " --peer-ca FILE --peer-cert FILE --peer-key FILE"
}
