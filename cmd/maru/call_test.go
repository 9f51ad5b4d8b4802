package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"maru.example/wallet/wallethttp"
)

// TestExplainNoLeader checks that the hint says where to see what is away.
func TestExplainNoLeader(t *testing.T) {
	problem := &wallethttp.Problem{Status: 503, Code: "no_leader", Detail: "why"}
	f, ok := errors.AsType[*failure]((&httpOptions{}).explain(problem))
	if !ok || f.status != exitFailed || f.Error() != "no_leader: why" || !strings.Contains(f.hint, "`maru cluster status`") {
		t.Errorf("got %#v, want a hint with `maru cluster status`", f)
	}
}

// TestExplainCertificates checks that a certificate for another name and one of
// an unknown authority have hints of their own.
func TestExplainCertificates(t *testing.T) {
	for _, tt := range []struct {
		name, hint string
		err        error
	}{
		{"another name", "subject alternative names", x509.HostnameError{Certificate: &x509.Certificate{}, Host: "pay.example.com"}},
		{"unknown authority", "--ca names", x509.UnknownAuthorityError{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := (&httpOptions{}).explain(&tls.CertificateVerificationError{Err: tt.err})
			if f, ok := errors.AsType[*failure](err); !ok || f.status != exitFailed || !strings.Contains(f.hint, tt.hint) {
				t.Errorf("got %#v, want a hint with %q", err, tt.hint)
			}
		})
	}
}
