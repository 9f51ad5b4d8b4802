package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
	"maru.example/wallet/wallethttp"
)

// Where a server listens unless it is told otherwise, and a client looks for it.
const (
	defaultHTTP   = "127.0.0.1:7480"
	defaultStream = "127.0.0.1:7481"
	defaultData   = "./data"
)

// credentials are the flags of every command that talks to a server.
type credentials struct {
	key     string
	tenant  string
	ca      string // file of PEM certificates
	timeout time.Duration
}

func (c *credentials) register(cmd *cobra.Command, timeout time.Duration) {
	f := cmd.Flags()
	f.StringVar(&c.key, "key", "", "API `key`; better in the environment, where other users do not see it")
	f.StringVar(&c.tenant, "tenant", "", "`tenant` to act for; the key's, or default, if not given")
	f.StringVar(&c.ca, "ca", "", "PEM `file` with the certificate authority of a server with TLS")
	c.timeout = timeout
	f.Var((*positiveDuration)(&c.timeout), "timeout", "give up after this `time`")
	fromEnvironment(cmd, "key", "tenant", "ca")
}

// positiveDuration is the value of a flag: a time above zero.
type positiveDuration time.Duration

// String implements pflag.Value.
func (d *positiveDuration) String() string { return time.Duration(*d).String() }

// Type implements pflag.Value.
func (d *positiveDuration) Type() string { return "duration" }

// Set implements pflag.Value.
func (d *positiveDuration) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	if v <= 0 {
		return errors.New("must be above zero")
	}
	*d = positiveDuration(v)
	return nil
}

// tlsConfig returns a configuration that trusts the authority of --ca, or the
// system's.
func (c *credentials) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca == "" {
		return config, nil
	}
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, usageError("--ca names a file with PEM certificates", "%w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, usageError("--ca names a file with PEM certificates", "%s holds no certificate", c.ca)
	}
	return config, nil
}

// httpOptions are the flags of commands that use the HTTP API.
type httpOptions struct {
	credentials
	addr string
	json bool
}

func (o *httpOptions) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.addr, "addr", "http://"+defaultHTTP, "`address` of the server: host:port, or a URL such as https://host:port with TLS; of several nodes, with commas between, the next is asked while one is down")
	fromEnvironment(cmd, "addr")
	o.credentials.register(cmd, 15*time.Second)
	jsonFlag(cmd, &o.json)
}

// urls returns the URLs of the server's nodes.
func (o *httpOptions) urls() ([]string, error) {
	urls := strings.Split(o.addr, ",")
	if len(urls) > wallethttp.MaxAddresses {
		return nil, usageError(fmt.Sprintf("give %d at the most", wallethttp.MaxAddresses), "--addr has %d addresses", len(urls))
	}
	for i, address := range urls {
		u, err := url.Parse(o.asURL(strings.TrimSpace(address)))
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, usageError("--addr is host:port, such as "+defaultHTTP+", or a URL, or several with commas between them", "%q is not the address of a server", address)
		}
		urls[i] = u.Scheme + "://" + u.Host
	}
	return urls, nil
}

// asURL returns an address that is host:port alone as a URL: of a server with TLS if
// --ca is given. Others it returns as they are.
func (o *httpOptions) asURL(address string) string {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || host == "" || port == "" || strings.Contains(address, "://"):
		return address
	case o.ca != "":
		return "https://" + address
	}
	return "http://" + address
}

// streamOptions are the flags of commands that use the batch stream.
type streamOptions struct {
	credentials
	stream string
}

func (o *streamOptions) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.stream, "stream", defaultStream, "`address` of the server's stream: host:port, or https://host:port with TLS; of several nodes, with commas between, the next is asked while one is down")
	fromEnvironment(cmd, "stream")
	o.credentials.register(cmd, 30*time.Second)
}

// target returns the stream's host:port, or several with commas between them, and
// how to encrypt it: nil for not at all. One that is to be encrypted makes that of all.
func (o *streamOptions) target() (string, *tls.Config, error) {
	hosts, encrypted := strings.Split(o.stream, ","), o.ca != ""
	if len(hosts) > walletgrpc.MaxAddresses {
		return "", nil, usageError(fmt.Sprintf("give %d at the most", walletgrpc.MaxAddresses), "--stream has %d addresses", len(hosts))
	}
	for i, address := range hosts {
		hosts[i] = strings.TrimSpace(address)
		if u, err := url.Parse(hosts[i]); err == nil && u.Host != "" {
			hosts[i], encrypted = u.Host, encrypted || u.Scheme == "https"
		}
		if _, _, err := net.SplitHostPort(hosts[i]); err != nil {
			return "", nil, usageError("--stream is host:port, such as "+defaultStream+", or several with commas between them", "%q is not an address", address)
		}
	}
	target := strings.Join(hosts, ",")
	if !encrypted {
		return target, nil, nil
	}
	config, err := o.tlsConfig()
	if err != nil {
		return "", nil, fmt.Errorf("stream: %w", err)
	}
	return target, config, nil
}

// protocolFlag is the value of --protocol: how a transfer gets to an account of
// another partition.
type protocolFlag wallet.Protocol

func (p *protocolFlag) register(cmd *cobra.Command) {
	cmd.Flags().Var(p, "protocol", "make transfers between partitions by `tcc`, saga or 2pc (default: as the cluster does)")
	completeFlag(cmd, "protocol", wallet.TCC.String(), wallet.Saga.String(), wallet.TwoPhase.String())
}

// String implements pflag.Value.
func (p *protocolFlag) String() string {
	if wallet.Protocol(*p) == wallet.NoProtocol {
		return ""
	}
	return wallet.Protocol(*p).String()
}

// Type implements pflag.Value.
func (p *protocolFlag) Type() string { return "protocol" }

// Set implements pflag.Value.
func (p *protocolFlag) Set(name string) error {
	by, err := wallet.ParseProtocol(name)
	if err != nil {
		return errors.New("it is tcc, saga or 2pc")
	}
	*p = protocolFlag(by)
	return nil
}

// isTerminal says whether somebody looks at the file as it is written.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
