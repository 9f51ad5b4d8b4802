package wallethttp

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"maru.example/internal/httpd"
	"maru.example/internal/leaders"
	"maru.example/money"
	"maru.example/wallet"
)

// MaxIdleConns is how many connections a Client keeps for its next calls, and so
// how many callers at once find one open.
const MaxIdleConns = 1024

const (
	defaultTimeout = 30 * time.Second
	dialTimeout    = 5 * time.Second // of one address
)

// maxAnswerBytes is the most that a Client reads of an answer.
const maxAnswerBytes = 4 << 20

// ClientOptions are the settings of a client; nil means all defaults.
type ClientOptions struct {
	APIKey string        // default: none
	Tenant wallet.Tenant // default: the key's, or wallet.DefaultTenant
	TLS    *tls.Config   // default: the system's certificates
	// NoFollow keeps the client at the addresses that it was given. By default it
	// asks the leader of a partition directly once it knows it.
	NoFollow bool
	// Timeout is for calls whose context has no deadline; default 30 s.
	Timeout time.Duration
	// HTTPClient makes the requests, without TLS then; the default is one with
	// connections for MaxIdleConns callers at once.
	HTTPClient *http.Client
}

// Client calls a server over HTTP. A refusal that the wallet decided is a
// [wallet.Code]; whatever else a server answers is a [*Problem]. Every call ends
// with its context or by the Timeout. All of them may be repeated when an answer is
// lost: nothing happens twice. It is safe for concurrent use.
//
// Of the nodes of a cluster a client may be given several: while one cannot be
// reached, or cannot serve, it asks the next. What one account's partition decides
// it asks of the node that leads that, as soon as a node has said which it is; if no
// decision comes from there, it asks the nodes that it was given, and leaves that
// address alone for a while. So a call may make its request more than once, and a
// transfer that was decided by the first, whose answer was lost, is Repeated.
type Client struct {
	bases  []string
	first  atomic.Int32 // which to ask
	header http.Header
	http   *http.Client
	own    bool // http is our own, and nothing in it changes a request's header

	follows bool
	leaders leaders.Table
	assets  assetList

	timeout time.Duration
}

// NewClient returns a client of the server at a URL such as http://127.0.0.1:7070,
// or of nodes of a cluster: up to MaxAddresses, with commas between them.
func NewClient(addresses string, o *ClientOptions) (*Client, error) {
	if o == nil {
		o = &ClientOptions{}
	}
	bases, err := parseBases(addresses)
	if err != nil {
		return nil, err
	}
	c := &Client{
		bases: bases, header: http.Header{"Content-Type": {"application/json"}}, http: o.HTTPClient,
		follows: !o.NoFollow, timeout: cmp.Or(o.Timeout, defaultTimeout),
	}
	if o.APIKey != "" {
		c.header.Set("Authorization", "Bearer "+o.APIKey)
	}
	if o.Tenant != "" {
		c.header.Set(TenantHeader, string(o.Tenant))
	}
	// Without a value this is not sent; it tells the transport that the requests
	// may be repeated on another connection when the server closes an idle one.
	c.header["Idempotency-Key"] = []string{}
	if c.http == nil {
		c.own = true
		dialer := &net.Dialer{Timeout: dialTimeout}
		c.http = &http.Client{Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSClientConfig:     o.TLS,
			MaxIdleConnsPerHost: MaxIdleConns,
			IdleConnTimeout:     time.Minute,
			TLSHandshakeTimeout: 10 * time.Second,
			DisableCompression:  true,
		}}
	}
	return c, nil
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Transfer makes one transfer. With an error that is no *Problem, or one that
// says so, the outcome is unknown: make the same transfer again, or ask for the
// Decision. [wallet.Pending] says that it is under way, and will be done or
// refused: then the same holds.
func (c *Client) Transfer(ctx context.Context, t wallet.Transfer) (wallet.Result, error) {
	return c.TransferBy(ctx, wallet.NoProtocol, t)
}

// TransferBy is Transfer where money that goes to another partition gets there by
// a protocol: see [wallet.Service.TransferBy].
func (c *Client) TransferBy(ctx context.Context, protocol wallet.Protocol, t wallet.Transfer) (wallet.Result, error) {
	return c.NotedTransferBy(ctx, protocol, t, wallet.Notes{})
}

// NotedTransferBy is TransferBy with notes: see [wallet.Transfer.Noted].
func (c *Client) NotedTransferBy(ctx context.Context, protocol wallet.Protocol, t wallet.Transfer, notes wallet.Notes) (wallet.Result, error) {
	body, err := appendNotes(appendTransfer(make([]byte, 0, 256), &t), notes)
	if err != nil {
		return 0, err
	}
	body = appendProtocol(body, protocol)
	return c.command(ctx, t.From, "/v1/wallet/balance_transfer", append(body, '}'))
}

// command posts what an account's partition decides, and returns what it decided.
func (c *Client) command(ctx context.Context, about wallet.AccountID, path string, body []byte) (wallet.Result, error) {
	var answer transferAnswer // of which those about holds have the status too
	header, err := c.doFor(ctx, about, &call{http.MethodPost, path, body, &answer})
	code, err := decided(err)
	if err != nil {
		return 0, err
	}
	if code == wallet.Applied {
		if code, err = statusCode(answer.Status, ""); err != nil {
			return 0, err
		}
	}
	return newResult(code, header.Get(ReplayedHeader) == "true"), nil
}

// Transfers makes up to MaxTransfers transfers, one after the other, each by
// itself, and returns one result each.
func (c *Client) Transfers(ctx context.Context, ts []wallet.Transfer) ([]wallet.Result, error) {
	return c.TransfersBy(ctx, wallet.NoProtocol, ts)
}

// TransfersBy is to Transfers as TransferBy to Transfer.
func (c *Client) TransfersBy(ctx context.Context, protocol wallet.Protocol, ts []wallet.Transfer) ([]wallet.Result, error) {
	body := append(make([]byte, 0, 16+224*len(ts)), `{"transfers":[`...)
	for i := range ts {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(appendTransfer(body, &ts[i]), '}')
	}
	body = append(appendProtocol(append(body, ']'), protocol), '}')
	var answer transfersAnswer
	if err := c.do(ctx, &call{http.MethodPost, "/v1/wallet/balance_transfers", body, &answer}); err != nil {
		return nil, err
	}
	if len(answer.Results) != len(ts) {
		return nil, fmt.Errorf("the server answered %d results for %d transfers", len(answer.Results), len(ts))
	}
	results := make([]wallet.Result, len(ts))
	for i, r := range answer.Results {
		code, err := statusCode(r.Status, r.Code)
		if err != nil {
			return nil, fmt.Errorf("transfer %d: %w", i, err)
		}
		results[i] = newResult(code, r.Replayed)
	}
	return results, nil
}

// Decision returns what was decided for a transaction id, [wallet.Undecided] if
// it was never seen.
func (c *Client) Decision(ctx context.Context, id wallet.TransactionID) (wallet.Code, error) {
	var answer foundAnswer
	err := c.do(ctx, &call{http.MethodGet, "/v1/wallet/transfers/" + id.String() + "?content=false", nil, &answer})
	if p, ok := errors.AsType[*Problem](err); ok && p.Code == codeTransactionNotFound {
		return wallet.Undecided, nil
	}
	if code, err := decided(err); err != nil || code != wallet.Applied {
		return code, err
	}
	return statusCode(answer.Status, answer.Code)
}

// statusCode returns the code that the status of a transfer, and the code of one
// that was refused, stand for.
func statusCode(status, code string) (wallet.Code, error) {
	switch status {
	case "success", "applied":
		return wallet.Applied, nil
	case "pending":
		return wallet.Pending, nil
	case "held":
		return wallet.Held, nil
	}
	c, ok := parseCode(code)
	if !ok {
		return 0, fmt.Errorf("the server answered with the code %q, which this program does not know", code)
	}
	return c, nil
}

// InFlight lists transfers between partitions that are under way, at most limit:
// see [wallet.Service.InFlight].
func (c *Client) InFlight(ctx context.Context, limit int) (wallet.InFlightList, error) {
	var answer inFlightAnswer
	if err := c.do(ctx, &call{http.MethodGet, "/v1/wallet/in-flight?limit=" + strconv.Itoa(limit), nil, &answer}); err != nil {
		return wallet.InFlightList{}, err
	}
	list := wallet.InFlightList{More: answer.More, Stale: answer.Stale}
	for i := range answer.Transfers {
		f, err := answer.Transfers[i].parse(ctx, c)
		if err != nil {
			return wallet.InFlightList{}, fmt.Errorf("the server's answer: %w", err)
		}
		list.Transfers = append(list.Transfers, f)
	}
	return list, nil
}

// OpenAccount opens an account that holds one currency and returns it; with the
// same content again it returns it as it is, which may be frozen.
func (c *Client) OpenAccount(ctx context.Context, a wallet.NewAccount) (wallet.Account, wallet.Code, error) {
	smallest := limit(formatLimit(a.Min, a.Currency))
	return c.account(ctx, a.ID, http.MethodPost, "/v1/wallet/accounts",
		accountRequest{ID: accountID(a.ID), Currency: currency(a.Currency.String()), Min: &smallest})
}

// Account returns an account's state.
func (c *Client) Account(ctx context.Context, id wallet.AccountID) (wallet.Account, wallet.Code, error) {
	return c.accountOf(ctx, http.MethodGet, id, "", nil)
}

// AccountStale returns an account's state as the server knows it without asking
// others, and how old that may be.
func (c *Client) AccountStale(ctx context.Context, id wallet.AccountID) (wallet.Account, wallet.Code, time.Duration, error) {
	if err := id.Validate(); err != nil {
		return wallet.Account{}, 0, 0, err
	}
	var answer accountAnswer
	err := c.do(ctx, &call{http.MethodGet, accountPath(id) + "?consistency=stale", nil, &answer})
	a, code, err := c.readAccount(ctx, &answer, err)
	if err != nil || code != wallet.Applied {
		return a, code, 0, err
	}
	if answer.AgeMS == nil || *answer.AgeMS < 0 || *answer.AgeMS > math.MaxInt64/int64(time.Millisecond) {
		return wallet.Account{}, 0, 0, errors.New("the server's answer has no age_ms")
	}
	return a, code, time.Duration(*answer.AgeMS) * time.Millisecond, nil
}

// AddCurrency lets an account hold one more currency.
func (c *Client) AddCurrency(ctx context.Context, id wallet.AccountID, of money.Currency, smallest money.Amount) (wallet.Account, wallet.Code, error) {
	text := limit(formatLimit(smallest, of))
	return c.accountOf(ctx, http.MethodPost, id, "/currencies", currencyRequest{Currency: currency(of.String()), Min: &text})
}

// SetLimit changes the smallest balance of a currency.
func (c *Client) SetLimit(ctx context.Context, id wallet.AccountID, of money.Currency, smallest money.Amount) (wallet.Account, wallet.Code, error) {
	return c.accountOf(ctx, http.MethodPut, id, "/limits/"+of.String(), limitRequest{limit(formatLimit(smallest, of))})
}

// SetStatus freezes, unfreezes ([wallet.Open]) or closes an account.
func (c *Client) SetStatus(ctx context.Context, id wallet.AccountID, to wallet.Status) (wallet.Account, wallet.Code, error) {
	verb := "unfreeze"
	switch to {
	case wallet.Open:
	case wallet.Frozen:
		verb = "freeze"
	case wallet.Closed:
		verb = "close"
	}
	return c.accountOf(ctx, http.MethodPost, id, "/"+verb, nil)
}

// Totals adds up all accounts of the tenant: see [wallet.Service.Totals].
func (c *Client) Totals(ctx context.Context) (totals []wallet.Total, settled bool, err error) {
	var answer totalsAnswer
	if err := c.do(ctx, &call{http.MethodGet, "/v1/wallet/totals", nil, &answer}); err != nil {
		return nil, false, err
	}
	for _, t := range answer.Totals {
		of, err := c.ParseCurrency(ctx, string(t.Currency))
		if err != nil {
			return nil, false, fmt.Errorf("the server answered: %w", err)
		}
		total, okSum := parseSum(string(t.Sum), of)
		issued, okIssued := parseSum(string(t.Issued), of)
		inFlight, okInFlight := parseSum(string(t.InFlight), of)
		if !okSum || !okIssued || !okInFlight {
			return nil, false, fmt.Errorf("the server answered with the sums %q, %q and %q, which are not all amounts of %v", t.Sum, t.Issued, t.InFlight, of)
		}
		totals = append(totals, wallet.Total{Currency: of, Balances: t.Balances, Sum: total, Issued: issued, InFlight: inFlight})
	}
	return totals, answer.Settled, nil
}

// CreateTenant makes a tenant; one that exists is Applied too.
func (c *Client) CreateTenant(ctx context.Context, name wallet.Tenant) (wallet.Code, error) {
	body, err := json.Marshal(tenantRequest{tenantName(name)})
	if err != nil {
		return 0, err
	}
	err = c.do(ctx, &call{http.MethodPost, "/v1/wallet/tenants", body, nil})
	return decided(err)
}

// Tenants returns the names of all tenants, in the order in which they were made.
func (c *Client) Tenants(ctx context.Context) ([]wallet.Tenant, error) {
	var answer tenantsAnswer
	if err := c.do(ctx, &call{http.MethodGet, "/v1/wallet/tenants", nil, &answer}); err != nil {
		return nil, err
	}
	names := make([]wallet.Tenant, len(answer.Tenants))
	for i, name := range answer.Tenants {
		names[i] = wallet.Tenant(name)
	}
	return names, nil
}

// accountOf makes a request of an account that its path names. What is no id
// would be another path.
func (c *Client) accountOf(ctx context.Context, method string, id wallet.AccountID, below string, request any) (wallet.Account, wallet.Code, error) {
	if err := id.Validate(); err != nil {
		return wallet.Account{}, 0, err
	}
	return c.account(ctx, id, method, accountPath(id)+below, request)
}

// account makes a request of an account that is answered with it.
func (c *Client) account(ctx context.Context, id wallet.AccountID, method, path string, request any) (wallet.Account, wallet.Code, error) {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return wallet.Account{}, 0, err
		}
	}
	var answer accountAnswer
	_, err := c.doFor(ctx, id, &call{method, path, body, &answer})
	return c.readAccount(ctx, &answer, err)
}

// readAccount returns the account that a request was answered with.
func (c *Client) readAccount(ctx context.Context, answer *accountAnswer, err error) (wallet.Account, wallet.Code, error) {
	if code, err := decided(err); err != nil || code != wallet.Applied {
		return wallet.Account{}, code, err
	}
	a, err := answer.parse(ctx, c)
	if err != nil {
		return wallet.Account{}, 0, fmt.Errorf("the server's answer: %w", err)
	}
	return a, wallet.Applied, nil
}

// problem returns what a server refused with, which between a client and its
// wallet may be another server.
func problem(resp *http.Response, content []byte) *Problem {
	p := &Problem{}
	if err := json.Unmarshal(content, p); err != nil || resp.Header.Get("Content-Type") != httpd.ProblemType {
		const most = 200
		p = newProblem(resp.StatusCode, "", fmt.Sprintf("an answer that is not the wallet's: %.*q", most, content))
	}
	p.Status = resp.StatusCode
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return p
}

// decided turns a refusal that the wallet decided into its code.
func decided(err error) (wallet.Code, error) {
	if err == nil {
		return wallet.Applied, nil
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		if code, ok := parseCode(p.Code); ok && p.Status < http.StatusInternalServerError {
			return code, nil
		}
	}
	return wallet.Undecided, err
}

// parseCode returns the code with a name.
func parseCode(name string) (wallet.Code, bool) {
	for _, c := range wallet.Codes() {
		if c.String() == name {
			return c, true
		}
	}
	return 0, false
}

// newResult returns the result of a code, with the mark of one that was decided before.
func newResult(c wallet.Code, replayed bool) wallet.Result {
	if replayed {
		return wallet.Repeat(c)
	}
	return wallet.Result(c)
}

// appendTransfer appends a transferItem without its closing brace.
func appendTransfer(dst []byte, t *wallet.Transfer) []byte {
	dst = appendString(append(dst, `{"from_account":`...), string(t.From))
	dst = appendString(append(dst, `,"to_account":`...), string(t.To))
	dst = t.Amount.AppendFormat(append(dst, `,"amount":"`...), t.Currency)
	dst = append(append(dst, `","currency":"`...), t.Currency.String()...)
	return append(t.ID.Append(append(dst, `","transaction_id":"`...)), '"')
}

// appendNotes appends the members that are notes, if there are some.
func appendNotes(dst []byte, n wallet.Notes) ([]byte, error) {
	if n.Reference != "" {
		dst = appendString(append(dst, `,"reference":`...), n.Reference)
	}
	if len(n.Metadata) == 0 {
		return dst, nil
	}
	text, err := json.Marshal(n.Metadata)
	return append(append(dst, `,"metadata":`...), text...), err
}

// appendProtocol appends the member that names a protocol, nothing for the cluster's.
func appendProtocol(dst []byte, p wallet.Protocol) []byte {
	if p == wallet.NoProtocol {
		return dst
	}
	return append(append(append(dst, `,"protocol":"`...), p.String()...), '"')
}

// parse returns the account that an answer describes.
func (a *accountAnswer) parse(ctx context.Context, c *Client) (wallet.Account, error) {
	handle, err := strconv.ParseUint(a.Handle, 10, 64)
	if err != nil {
		return wallet.Account{}, fmt.Errorf("handle: %w", err)
	}
	opened, err := time.Parse(time.RFC3339Nano, a.OpenedAt)
	if err != nil {
		return wallet.Account{}, fmt.Errorf("opened_at: %w", err)
	}
	out := wallet.Account{ID: wallet.AccountID(a.ID), Handle: wallet.Handle(handle), OpenedAt: opened.UnixNano()}
	for out.Status = range wallet.Closed + 1 {
		if out.Status.String() == a.Status {
			break
		}
	}
	if out.Status.String() != a.Status {
		return wallet.Account{}, fmt.Errorf("unknown status %q", a.Status)
	}
	for _, b := range a.Balances {
		of, err := c.ParseCurrency(ctx, string(b.Currency))
		if err != nil {
			return wallet.Account{}, err
		}
		balance, err := money.ParseAmount(string(b.Balance), of)
		if err != nil {
			return wallet.Account{}, err
		}
		smallest, err := parseLimit(string(b.Min), of)
		if err != nil {
			return wallet.Account{}, err
		}
		parsed := wallet.Balance{Currency: of, Amount: balance, Min: smallest}
		if err := b.parseHolds(&parsed); err != nil {
			return wallet.Account{}, err
		}
		out.Balances = append(out.Balances, parsed)
	}
	return out, nil
}

// parse returns the transfer under way that an answer describes.
func (a *inFlightTransfer) parse(ctx context.Context, c *Client) (f wallet.InFlight, err error) {
	if f.ID, err = wallet.ParseTransactionID(string(a.ID)); err != nil {
		return f, err
	}
	if f.Currency, err = c.ParseCurrency(ctx, string(a.Currency)); err != nil {
		return f, err
	}
	if f.Amount, err = money.ParseAmount(string(a.Amount), f.Currency); err != nil {
		return f, err
	}
	handle, err := strconv.ParseUint(a.ToHandle, 10, 64)
	if err != nil {
		return f, fmt.Errorf("to_handle: %w", err)
	}
	began, err := time.Parse(time.RFC3339Nano, a.BeganAt)
	if err != nil {
		return f, fmt.Errorf("began_at: %w", err)
	}
	f.Legs = a.Legs
	f.From, f.To, f.ToAccount, f.BeganAt = wallet.AccountID(a.From), wallet.Handle(handle), wallet.AccountID(a.To), began.UnixNano()
	if f.Protocol, err = wallet.ParseProtocol(a.Protocol); err != nil {
		return f, err
	}
	for _, phase := range wallet.Phases() {
		if phase.String() == a.Phase {
			f.Phase = phase
		}
	}
	if f.Phase == wallet.NoPhase {
		return f, fmt.Errorf("unknown phase %q", a.Phase)
	}
	return f, nil
}

// parseSum reads what money.FormatSum writes.
func parseSum(s string, c money.Currency) (*big.Int, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(fraction) != c.Digits() {
		return nil, false
	}
	return new(big.Int).SetString(whole+fraction, 10)
}
