package clusterhttp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"maru.example/cluster"
	"maru.example/internal/httpd"
)

const defaultTimeout = 30 * time.Second

// maxAnswerBytes is the most that a Client reads of an answer.
const maxAnswerBytes = 16 << 20

// ClientOptions are the settings of a client; nil means all defaults.
type ClientOptions struct {
	APIKey string      // default: none
	TLS    *tls.Config // default: the system's certificates
	// Timeout is for calls whose context has no deadline; default 30 s.
	Timeout time.Duration
	// HTTPClient makes the requests, without TLS then; the default is one of its own.
	HTTPClient *http.Client
}

// Client calls a server over HTTP. What a server refuses is a [*Problem]. All calls
// may be repeated when an answer is lost. It is safe for concurrent use.
type Client struct {
	base    string
	key     string
	http    *http.Client
	timeout time.Duration
}

// NewClient returns a client of the server at a URL such as http://127.0.0.1:7070.
func NewClient(baseURL string, o *ClientOptions) (*Client, error) {
	if o == nil {
		o = &ClientOptions{}
	}
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("address of the cluster: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("address of the cluster: %q is not like http://127.0.0.1:7070", baseURL)
	}
	c := &Client{base: strings.TrimSuffix(baseURL, "/"), key: o.APIKey, http: o.HTTPClient, timeout: cmp.Or(o.Timeout, defaultTimeout)}
	if c.http == nil {
		c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: o.TLS, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute}}
	}
	return c, nil
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Overview returns how the cluster stands, as the server sees it.
func (c *Client) Overview(ctx context.Context) (*cluster.Overview, error) {
	return c.overview(ctx, http.MethodGet, "/v1/cluster", nil)
}

// Configure changes the settings.
func (c *Client) Configure(ctx context.Context, config cluster.Config) (*cluster.Overview, error) {
	return c.overview(ctx, http.MethodPut, "/v1/cluster/config", config)
}

// addRequest is the body of POST /v1/cluster/nodes.
type addRequest struct {
	Incarnation cluster.ID     `json:"incarnation"`
	Peer        string         `json:"peer"`
	HTTP        string         `json:"http"`
	Stream      string         `json:"stream"`
	Replaces    cluster.NodeID `json:"replaces,omitempty"`
}

// AddNode adds a node and returns what it needs to begin.
func (c *Client) AddNode(ctx context.Context, n cluster.NewNode) (Joined, error) {
	var j Joined
	a := n.Addresses
	err := c.do(ctx, http.MethodPost, "/v1/cluster/nodes", addRequest{n.Incarnation, a.Peer, a.HTTP, a.Stream, n.Replaces}, &j)
	return j, err
}

// RemoveNode lets a node leave; force: also with what no other node has of the past.
func (c *Client) RemoveNode(ctx context.Context, id cluster.NodeID, force bool) (*cluster.Overview, error) {
	path := "/v1/cluster/nodes/" + strconv.FormatUint(uint64(id), 10)
	if force {
		path += "?force=true"
	}
	return c.overview(ctx, http.MethodDelete, path, nil)
}

// transferRequest is the body of POST /v1/cluster/groups/{id}/transfer-leader.
type transferRequest struct {
	To cluster.NodeID `json:"to"`
}

// TransferLeader lets a node lead a group.
func (c *Client) TransferLeader(ctx context.Context, id cluster.GroupID, to cluster.NodeID) (*cluster.Overview, error) {
	return c.overview(ctx, http.MethodPost, fmt.Sprintf("/v1/cluster/groups/%d/transfer-leader", id), transferRequest{to})
}

// Rebalance spreads replicas and leaders evenly.
func (c *Client) Rebalance(ctx context.Context) (*cluster.Overview, error) {
	return c.overview(ctx, http.MethodPost, "/v1/cluster/rebalance", nil)
}

// overview makes a request that is answered with how the cluster stands.
func (c *Client) overview(ctx context.Context, method, path string, body any) (*cluster.Overview, error) {
	var o cluster.Overview
	if err := c.do(ctx, method, path, body, &o); err != nil {
		return nil, err
	}
	return &o, nil
}

// do makes a request and decodes the answer. A refusal is a *Problem.
func (c *Client) do(ctx context.Context, method, path string, body, answer any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	content, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return problem(resp, content)
	}
	if err := json.Unmarshal(content, answer); err != nil {
		return fmt.Errorf("%s %s: decode the answer: %w", method, path, err)
	}
	return nil
}

// problem returns what a server refused with, which between a client and the
// cluster may be another server.
func problem(resp *http.Response, content []byte) *Problem {
	p := &Problem{}
	if err := json.Unmarshal(content, p); err != nil || resp.Header.Get("Content-Type") != httpd.ProblemType {
		const most = 200
		p = httpd.NewProblem(resp.StatusCode, "", fmt.Sprintf("an answer that is not the cluster's: %.*q", most, content))
	}
	p.Status = resp.StatusCode
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return p
}
