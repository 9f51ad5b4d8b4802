package wallethttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"maru.example/internal/leaders"
	"maru.example/wallet"
)

// MaxAddresses is how many nodes a Client can be given.
const MaxAddresses = 16

// followPatience is how long an answer of a leader is waited for at the most before
// the nodes are asked that the client was given.
const followPatience = 2 * time.Second

// parseBases reads the addresses of nodes.
func parseBases(addresses string) ([]string, error) {
	bases := strings.Split(addresses, ",")
	if len(bases) > MaxAddresses {
		return nil, fmt.Errorf("addresses of the wallet: %d, and %d at the most", len(bases), MaxAddresses)
	}
	for i, base := range bases {
		base = strings.TrimSuffix(strings.TrimSpace(base), "/")
		if _, err := parseBase(base); err != nil {
			return nil, err
		}
		bases[i] = base
	}
	return bases, nil
}

func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("address of the wallet: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("address of the wallet: %q is not like http://127.0.0.1:7070", base)
	}
	return u, nil
}

// A call is a request that a Client makes. It may be made of several nodes.
type call struct {
	method, path string
	body         []byte // nil: none
	answer       any    // what the answer is decoded into; nil: nothing
}

// do makes a request of the nodes that the client was given. A refusal is a *Problem.
func (c *Client) do(ctx context.Context, r *call) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	_, err := c.doAny(ctx, r)
	return err
}

// doFor is do for what an account's partition decides: it asks that one's leader
// first, if it is known. Only what the wallet decided counts from there. It returns
// the answer's header too.
func (c *Client) doFor(ctx context.Context, id wallet.AccountID, r *call) (http.Header, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if leader, ok := c.leader(id); ok {
		header, err := c.askLeader(ctx, leader, r)
		if _, undecided := decided(err); undecided == nil {
			c.learn(header)
			return header, err
		}
		if ctx.Err() != nil {
			return header, err
		}
	}
	header, err := c.doAny(ctx, r)
	c.learn(header)
	return header, err
}

// bound gives a context the client's time, if it has no deadline.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// doAny asks one node after the other, until one can serve the request: the one
// first that could last time.
func (c *Client) doAny(ctx context.Context, r *call) (header http.Header, err error) {
	first := int(c.first.Load())
	for i := range c.bases {
		at := (first + i) % len(c.bases)
		header, err = c.ask(ctx, c.bases[at], c.header, r)
		if !unserved(err) {
			if i > 0 {
				c.first.Store(int32(at))
			}
			return header, err
		}
		if ctx.Err() != nil {
			return header, err
		}
	}
	return header, err
}

// unserved says that a node could not be asked, or not serve: another may.
func unserved(err error) bool {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status == http.StatusServiceUnavailable
	}
	_, transport := errors.AsType[*url.Error](err)
	return transport
}

// leader returns the leader of an account's partition, if the client may ask it.
func (c *Client) leader(id wallet.AccountID) (leaders.Leader, bool) {
	if !c.follows {
		return leaders.Leader{}, false
	}
	return c.leaders.Find(func(tenant string, of uint16) uint16 {
		return wallet.PartitionOf(wallet.Tenant(tenant), id, of)
	})
}

// askLeader asks a leader, in a part of the time that there is.
func (c *Client) askLeader(ctx context.Context, leader leaders.Leader, r *call) (http.Header, error) {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, min(time.Until(deadline)/2, followPatience))
	defer cancel()
	header := c.header.Clone()
	header.Set(ClusterHeader, leader.Cluster)
	answer, err := c.ask(ctx, leader.Address, header, r)
	if _, undecided := decided(err); undecided != nil {
		c.leaders.Failed(leader.Address)
	} else {
		c.leaders.Reached(leader.Address)
	}
	return answer, err
}

// learn remembers the leader that an answer names, if the client may ask it.
func (c *Client) learn(header http.Header) {
	text := header.Get(LeaderHeader)
	if !c.follows || text == "" {
		return
	}
	if n, err := leaders.Parse(text); err == nil && n.Of <= wallet.MaxPartitions && c.mayFollow(n.Address) {
		c.leaders.Learn(n)
	}
}

// mayFollow says whether the client may ask an address as it asks those that it was
// given: by TLS if any of them wants that, and at an address of this machine only if
// they are.
func (c *Client) mayFollow(address string) bool {
	leader, err := parseBase(address)
	return err == nil && !slices.ContainsFunc(c.bases, func(base string) bool {
		u, err := parseBase(base)
		return err != nil || u.Scheme != leader.Scheme || leaders.Local(leader.Host) && !leaders.Local(u.Host)
	})
}

// ask makes a request of a node.
func (c *Client) ask(ctx context.Context, base string, header http.Header, call *call) (http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, call.method, base+call.path, bytes.NewReader(call.body))
	if err != nil {
		return nil, err
	}
	if r.Header = header; !c.own {
		r.Header = header.Clone()
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, &url.Error{Op: call.method, URL: base + call.path, Err: err}
	}
	if ps, err := wallet.ParseHistoryPositions(resp.Header.Get(PositionHeader)); err == nil && call.method != http.MethodGet {
		wallet.NoteReceipt(ctx, ps)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return resp.Header, problem(resp, content)
	}
	if call.answer != nil {
		if err := json.Unmarshal(content, call.answer); err != nil {
			return nil, fmt.Errorf("%s %s: decode the answer: %w", call.method, call.path, err)
		}
	}
	return resp.Header, nil
}
