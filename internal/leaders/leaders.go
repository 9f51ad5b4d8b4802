// Package leaders lets the clients of a cluster send what concerns a partition
// straight to the node that leads it. Servers tell them who that is, by a [Notice],
// and clients remember it in a [Table].
//
// A client trusts an address that it was told less than one that it was given: it
// goes there only if it is one that it could reach in the same way, it names the
// cluster that it expects there, and it falls back to what it was given when
// anything but the answer comes from there.
package leaders

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Notice says where the node listens that leads some partitions. Its text is
//
//	partition[,partition…]/partitions cluster tenant address
type Notice struct {
	Partitions []uint16 // that it leads
	Of         uint16   // how many there are
	Cluster    string   // its id
	Tenant     string   // for whom the client acts
	Address    string   // a URL or host:port, as the client's own addresses are
}

// String returns the notice's text.
func (n *Notice) String() string {
	var list []byte
	for i, p := range n.Partitions {
		if i > 0 {
			list = append(list, ',')
		}
		list = strconv.AppendUint(list, uint64(p), 10)
	}
	return fmt.Sprintf("%s/%d %s %s %s", list, n.Of, n.Cluster, n.Tenant, n.Address)
}

// Parse reads a notice's text.
func Parse(text string) (*Notice, error) {
	fields := strings.Split(text, " ")
	list, of, ok := strings.Cut(fields[0], "/")
	if len(fields) != 4 || !ok || slices.Contains(fields, "") {
		return nil, fmt.Errorf("leaders: malformed notice %q", text)
	}
	n := &Notice{Cluster: fields[1], Tenant: fields[2], Address: fields[3]}
	total, err := strconv.ParseUint(of, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("leaders: partitions of %q: %w", text, err)
	}
	n.Of = uint16(total)
	for number := range strings.SplitSeq(list, ",") {
		p, err := strconv.ParseUint(number, 10, 16)
		if err != nil || p >= total {
			return nil, fmt.Errorf("leaders: partition %q in %q", number, text)
		}
		n.Partitions = append(n.Partitions, uint16(p))
	}
	return n, nil
}

// Local says whether host:port is of this machine only. Such an address means
// another machine to everybody else.
func Local(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && (ip.IsLoopback() || ip.IsUnspecified())
}
