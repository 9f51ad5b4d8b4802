package wallethook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"maru.example/wallet"
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
	for _, inside := range leadsTo(ip) {
		if err := checkAddress(netip.AddrPortFrom(inside, at.Port()).String(), publicOnly); err != nil {
			return fmt.Errorf("%v leads there: %w", ip, err)
		}
	}
	switch {
	case ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified(), !ip.IsValid(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%w: %v", errAddress, ip)
	case publicOnly && (ip.IsPrivate() || ip.IsLoopback() || sharedSpace.Contains(ip) || thisNetwork.Contains(ip) || localNAT64.Contains(ip)):
		return fmt.Errorf("%w: %v is not public", errAddress, ip)
	}
	return nil
}

// leadsTo returns the IPv4 addresses that an IPv6 one leads to by translation or a tunnel.
func leadsTo(ip netip.Addr) []netip.Addr {
	if ip.Is4() {
		return nil
	}
	b := ip.As16()
	last := [4]byte(b[12:])
	switch {
	case nat64.Contains(ip):
		return []netip.Addr{netip.AddrFrom4(last)}
	case sixToFour.Contains(ip):
		return []netip.Addr{netip.AddrFrom4([4]byte(b[2:6]))}
	case teredo.Contains(ip):
		for i := range last {
			last[i] ^= 0xff
		}
		return []netip.Addr{netip.AddrFrom4([4]byte(b[4:8])), netip.AddrFrom4(last)}
	case compatible.Contains(ip) && b[12] != 0: // else it is :: or ::1
		return []netip.Addr{netip.AddrFrom4(last)}
	}
	return nil
}

// checkURL refuses an address of numbers that may not be asked, before anything is sent there. What a name stands for is
// looked at when it is dialed.
func (e *Engine) checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := checkAddress(netip.AddrPortFrom(ip, 0).String(), e.o.PublicOnly); err != nil {
			return fmt.Errorf("%w: the URL: %w", wallet.ErrWebhook, err)
		}
	}
	return nil
}

var (
	nat64       = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052
	localNAT64  = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215: the network's own translation
	sixToFour   = netip.MustParsePrefix("2002::/16")      // RFC 3056
	teredo      = netip.MustParsePrefix("2001::/32")      // RFC 4380: a server, and a client with all bits turned
	compatible  = netip.MustParsePrefix("::/96")          // RFC 4291, deprecated
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10")  // RFC 6598
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")      // RFC 1122
)
