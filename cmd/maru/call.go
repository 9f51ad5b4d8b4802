package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// call runs what a command asks of the server: with a client and a deadline. An
// error that it returns says what to do.
func (o *httpOptions) call(cmd *cobra.Command, ask func(context.Context, *wallethttp.Client) error) error {
	client, err := o.dial(cmd)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	return o.explain(ask(ctx, client))
}

// reach returns the servers' addresses, and how connections to them are encrypted.
func (o *httpOptions) reach() ([]string, *tls.Config, error) {
	urls, err := o.urls()
	if err != nil {
		return nil, nil, err
	}
	config, err := o.tlsConfig()
	return urls, config, err
}

// dial returns a client of the server.
func (o *httpOptions) dial(cmd *cobra.Command) (*wallethttp.Client, error) {
	urls, config, err := o.reach()
	if err != nil {
		return nil, err
	}
	client, err := wallethttp.NewClient(strings.Join(urls, ","), &wallethttp.ClientOptions{
		APIKey: o.key, Tenant: wallet.Tenant(o.tenant), TLS: config,
	})
	if err != nil {
		return nil, usageError("see `"+cmd.CommandPath()+" --help`", "%w", err)
	}
	return client, nil
}

// explain adds to an error of the client what to do about it.
func (o *httpOptions) explain(err error) error {
	var known *failure
	var problem *wallethttp.Problem
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.As(err, &problem) && problem.Code == "no_leader":
		return failed(problem, "nothing was done: try again in a moment, a transfer with the same --id; while it lasts, `maru cluster status` shows which nodes are silent")
	case errors.As(err, &problem) && (problem.Code == "history_unavailable" || problem.Code == "history_behind"):
		return failed(problem, "ask another node with --addr, or try again later: `maru wallet rebuild-history` makes a node's history anew, of its log and archive; --history=false keeps none")
	case errors.As(err, &problem) && problem.Code == wallet.UnknownAccount.String():
		return &failure{err: problem, status: exitRefused, hint: explain(wallet.UnknownAccount).hint}
	case errors.As(err, &problem):
		return explainStatus(problem, problem.Status)
	case isMalformed(err):
		return usageError("see --help for the form of ids and amounts", "%w", err)
	case errors.As(err, new(x509.HostnameError)):
		return failed(err, "the certificate must have the host of --addr among its subject alternative names")
	case isUntrusted(err):
		return failed(err, "--ca names the file of the certificate authority that signed the server's certificate")
	case errors.Is(err, context.DeadlineExceeded):
		return failed(fmt.Errorf("no answer within %v: whether anything was done is unknown", o.timeout),
			"repeat the command, a transfer with the same --id: nothing is done twice")
	case errors.Is(err, context.Canceled):
		return failed(errors.New("interrupted: whether anything was done is unknown"),
			"repeat the command, a transfer with the same --id: nothing is done twice")
	case isUnreachable(err):
		return failed(fmt.Errorf("no server at %s: %w", o.addr, err), "start one with `maru serve`, or say with --addr where it is")
	}
	return failed(err, "repeat the command, a transfer with the same --id: nothing is done twice")
}

// explainStatus explains a problem that is not one of the machine's codes, by its HTTP
// status.
func explainStatus(p error, status int) error {
	switch status {
	case http.StatusUnauthorized:
		return failed(p, "set MARU_KEY to an API key; `maru key create` makes one where the server runs")
	case http.StatusForbidden:
		return failed(p, "use a key with another scope or tenant; `maru key list` shows what keys allow")
	case http.StatusTooManyRequests:
		return failed(p, "nothing was done: try again in a moment")
	case http.StatusInsufficientStorage:
		return failed(p, "make room on the server's disk")
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		return usageError("see --help for the form of ids and amounts", "%w", p)
	case http.StatusNotFound:
		return failed(p, "is --addr the address of maru's HTTP API?")
	}
	return failed(p, "repeat the command, a transfer with the same --id: nothing is done twice")
}

// isMalformed says whether the client refused the form of the input.
func isMalformed(err error) bool {
	for _, target := range []error{
		wallet.ErrAccountID, wallet.ErrTenant, wallet.ErrTransactionID, wallet.ErrBatchSize, wallet.ErrCurrency, wallet.ErrAsset, wallet.ErrAssetDigits,
		wallet.ErrPostings, wallet.ErrPosting, wallet.ErrReference, wallet.ErrMetadata, wallet.ErrReversal, wallet.ErrTwoPhase,
		money.ErrSyntax, money.ErrOverflow, money.ErrTooPrecise, money.ErrUnknownCurrency,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// isUntrusted says whether the server's certificate was not accepted.
func isUntrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &record)
}

// isUnreachable says whether there was no connection, so that nothing was done.
func isUnreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
