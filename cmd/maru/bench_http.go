package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// errBenchBusy says that the server answered 429: nothing was done.
var errBenchBusy = errors.New("bench: the server is busy")

// benchCallTimeout bounds one request over HTTP.
const benchCallTimeout = time.Minute

// httpCaller makes one transfer per request, POST
// /v1/wallet/balance_transfer, on a connection of its own that is kept alive.
//
// It writes and reads HTTP/1.1 (RFC 9112) itself, as far as the answers of this
// server need it: load and server share the machine, and a request takes 14 µs
// of processor time that way, where wallethttp.Client takes 40 µs, as much as
// the server for its answer.
type httpCaller struct {
	plan    *benchPlan
	head    []byte // the request down to the value of Content-Length
	request []byte
	body    []byte
	conn    net.Conn
	reader  *bufio.Reader
	answer  []byte
	result  [1]wallet.Result
}

// openHTTPCallers connects n callers to a server.
func (b *bench) openHTTPCallers(ctx context.Context, s *benchServer, n int) (*benchCallers, error) {
	out := &benchCallers{}
	out.close = func() error {
		var first error
		for _, c := range out.callers {
			if err := c.(*httpCaller).conn.Close(); err != nil && first == nil {
				first = fmt.Errorf("close connection: %w", err)
			}
		}
		return first
	}
	dial := (&net.Dialer{}).DialContext
	if s.httpTLS != nil {
		dial = (&tls.Dialer{Config: s.httpTLS}).DialContext
	}
	at, err := url.Parse(s.url)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	for range n {
		conn, err := dial(ctx, "tcp", hostPort(at))
		if err != nil {
			_ = out.close() // the error of Dial says more
			return nil, fmt.Errorf("connect: %w", err)
		}
		out.callers = append(out.callers, newHTTPCaller(&b.plan, conn, at.Host, &b.config.credentials))
	}
	return out, nil
}

// hostPort returns where to connect for a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// newHTTPCaller returns a caller on an open connection.
func newHTTPCaller(p *benchPlan, conn net.Conn, host string, c *credentials) *httpCaller {
	head := "POST /v1/wallet/balance_transfer HTTP/1.1\r\n" +
		"Host: " + host + "\r\n" +
		"Content-Type: application/json\r\n"
	if c.key != "" {
		head += "Authorization: Bearer " + c.key + "\r\n"
	}
	if c.tenant != "" {
		head += wallethttp.TenantHeader + ": " + c.tenant + "\r\n"
	}
	head += "Content-Length: "
	return &httpCaller{plan: p, head: []byte(head), conn: conn, reader: bufio.NewReader(conn)}
}

// prepare implements benchCaller.
func (c *httpCaller) prepare(first uint64, _ int) {
	s := c.plan.sides(first)
	b := append(c.body[:0], `{"from_account":"`...)
	b = c.plan.appendAccount(b, s.from)
	b = append(b, `","to_account":"`...)
	b = c.plan.appendAccount(b, s.to)
	b = append(b, `","amount":"`...)
	b = s.amount.AppendFormat(b, c.plan.currency)
	b = append(b, `","currency":"`...)
	b = append(b, c.plan.currency.String()...)
	b = append(b, `","transaction_id":"`...)
	b = c.plan.id(first).Append(b)
	c.body = append(b, `"}`...)

	c.request = append(c.request[:0], c.head...)
	c.request = strconv.AppendInt(c.request, int64(len(c.body)), 10)
	c.request = append(c.request, "\r\n\r\n"...)
	c.request = append(c.request, c.body...)
}

// call implements benchCaller.
func (c *httpCaller) call(ctx context.Context) ([]wallet.Result, error) {
	deadline := time.Now().Add(benchCallTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	status, err := c.readAnswer()
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	switch {
	case status == http.StatusOK && bytes.Contains(c.answer, []byte(`"success"`)):
		c.result[0] = wallet.Result(wallet.Applied)
		return c.result[:], nil
	case status == http.StatusTooManyRequests:
		return nil, errBenchBusy
	}
	var problem struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(c.answer, &problem) == nil {
		for _, code := range wallet.Codes() {
			if code.String() == problem.Code {
				c.result[0] = wallet.Result(code)
				return c.result[:], nil
			}
		}
	}
	return nil, fmt.Errorf("answer with status %d: %s", status, c.answer)
}

// maxBenchAnswer bounds the body of an answer.
const maxBenchAnswer = 1 << 20

// readAnswer reads one answer, its body into c.answer, and returns its status.
func (c *httpCaller) readAnswer() (status int, err error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	const begin = len("HTTP/1.1 ")
	if len(line) < begin+3 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, fmt.Errorf("status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[begin : begin+3])); err != nil {
		return 0, fmt.Errorf("status line %q", line)
	}
	length, err := c.readHeader()
	if err != nil {
		return 0, err
	}
	if cap(c.answer) < length {
		c.answer = make([]byte, length)
	}
	c.answer = c.answer[:length]
	_, err = io.ReadFull(c.reader, c.answer)
	return status, err
}

// readHeader reads the header fields and returns the length of the body.
func (c *httpCaller) readHeader() (length int, err error) {
	length = -1
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, fmt.Errorf("content length %q", value)
			}
		}
	}
	if length < 0 || length > maxBenchAnswer {
		return 0, fmt.Errorf("content length %d, want 0 to %d", length, maxBenchAnswer)
	}
	return length, nil
}
