package wallethook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errAddress says that an address may not be asked.
var errAddress = errors.New("the address is one that may not be asked")

const dialWithin = 5 * time.Second

// newTransport returns what makes the requests. The address is looked at when it is dialed,
// so that a name that changes what it stands for gets no further.
func newTransport(publicOnly bool) http.RoundTripper {
	dialer := &net.Dialer{Timeout: dialWithin, Control: func(_, address string, _ syscall.RawConn) error {
		return checkAddress(address, publicOnly)
	}}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		MaxIdleConnsPerHost:    maxInFlight,
		MaxIdleConns:           256,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    dialWithin,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
}

// checkAddress refuses what no receiver is at: link-local addresses, where clouds tell machines their
// secrets, and groups of hosts. With publicOnly also private networks, and this host.
func checkAddress(address string, publicOnly bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	switch {
	case ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified(), !ip.IsValid(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%w: %v", errAddress, ip)
	case publicOnly && (ip.IsPrivate() || ip.IsLoopback() || sharedSpace.Contains(ip) || thisNetwork.Contains(ip)):
		return fmt.Errorf("%w: %v is not public", errAddress, ip)
	}
	return nil
}

var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")     // RFC 1122
)
