package wallethttp

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"

	"maru.example/internal/httpd"
	"maru.example/internal/leaders"
	"maru.example/wallet"
)

// server is the handler's state.
type server struct {
	wallet Wallet
	o      Options
	keyed  bool // Authorize checks keys

	readers *readers      // of events
	slow    atomic.Uint64 // of them, that were dropped
}

// A query is a request that may be served: its tenant is known.
type query struct {
	*http.Request
	wallet Wallet
	tenant wallet.Tenant
	about  *wallet.AccountID // whose partition decides it: the operation says so
}

// A reply is the answer to a request that was not refused.
type reply struct {
	status   int
	body     []byte // JSON
	location string // of what was created
	replayed bool
	position string // that it reflects, "" if that is not said
	etag     string // the version of what it shows, "" for none
	private  bool   // nobody on the way is to keep it
}

// routes returns the handler of the operations, the document and everything else.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, op := range operations() {
		mux.HandleFunc(op.method+" "+op.path, func(w http.ResponseWriter, r *http.Request) {
			answer, err := s.serve(&op, r, w)
			if err != nil {
				s.refuse(w, r, &op, err)
				return
			}
			if answer != nil {
				answer.write(w)
			}
		})
	}
	doc := newDocuments(s.o.Version, s.o.Beside)
	mux.Handle("GET /openapi.json", static("application/openapi+json", doc.json))
	mux.Handle("GET /openapi.yaml", static("application/openapi+yaml", doc.yaml))
	mux.Handle("GET /docs", static("text/html; charset=utf-8", doc.html))
	mux.Handle("/", httpd.NotFound(mux))
	return mux
}

// static serves what content returns, which is the same each time.
func static(contentType string, content func() []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", strconv.Itoa(len(content())))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_, _ = w.Write(content()) // a client that is gone needs no answer
	})
}

// serve finds out who asks and carries out the operation. Without an error and a reply
// it has answered.
func (s *server) serve(op *operation, r *http.Request, w http.ResponseWriter) (*reply, error) {
	header := w.Header()
	if err := s.isMeant(r.Header); err != nil {
		return nil, err
	}
	named, err := tenantHeader(r.Header)
	if err != nil {
		return nil, err
	}
	tenant, err := s.o.Authorize(r.Context(), r.Header.Get("Authorization"), named, op.scope)
	if err != nil {
		return nil, err
	}
	if err := tenant.Validate(); err != nil {
		return nil, invalidParameter(TenantHeader, err)
	}
	if op.webhooks && s.o.Webhooks == nil {
		return nil, errNoWebhooks
	}
	if err := op.knows(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if op.request == nil && hasBody(r) {
		return nil, invalid([]FieldError{{Pointer: "#", Detail: "must not be there: this operation takes no body"}})
	}
	var about wallet.AccountID
	if op.method != http.MethodGet {
		ctx, receipt := wallet.WithReceipt(r.Context())
		r = r.WithContext(ctx)
		defer func() { tellPositions(header, receipt) }()
	}
	if op.stream != nil {
		return nil, op.stream(s, w, query{r, s.wallet, tenant, &about})
	}
	answer, err := op.do(s, query{r, s.wallet, tenant, &about})
	s.tellLeader(header, tenant, about)
	return answer, err
}

// isMeant refuses a request that was sent to the leader of another cluster.
func (s *server) isMeant(h http.Header) error {
	named := h.Get(ClusterHeader)
	if named == "" || s.o.Cluster != nil && named == s.o.Cluster.ID {
		return nil
	}
	return newProblem(http.StatusMisdirectedRequest, codeWrongCluster, "this node is not part of the cluster that the request is for; nothing was done")
}

// tellLeader says in the answer which node leads an account's partition, if that is
// another one.
func (s *server) tellLeader(answer http.Header, tenant wallet.Tenant, id wallet.AccountID) {
	c := s.o.Cluster
	if c == nil || id == "" {
		return
	}
	partition := wallet.PartitionOf(tenant, id, c.Partitions)
	if address := c.Leader(partition); address != "" {
		n := leaders.Notice{Partitions: []uint16{partition}, Of: c.Partitions, Cluster: c.ID, Tenant: string(tenant), Address: address}
		answer.Set(LeaderHeader, n.String())
	}
}

// tellPositions says in the answer where a write was committed.
func tellPositions(answer http.Header, receipt *wallet.Receipt) {
	if ps := receipt.Positions(); len(ps) > 0 {
		answer.Set(PositionHeader, ps.String())
	}
}

// tenantHeader returns the tenant that a request names, "" for none.
func tenantHeader(h http.Header) (string, error) {
	values := h[TenantHeader]
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", invalidParameter(TenantHeader, errors.New("must be there once at most"))
	}
	if err := wallet.Tenant(values[0]).Validate(); err != nil {
		return "", invalidParameter(TenantHeader, err)
	}
	return values[0], nil
}

// parameter returns a parameter of the request's query, "" for none.
func (q query) parameter(name string) (string, error) {
	all, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return "", invalidParameter(name, errors.New("cannot be read: the query of the URL is malformed"))
	}
	values, given := all[name]
	switch {
	case !given:
		return "", nil
	case len(values) > 1:
		return "", invalidParameter(name, errors.New("must be there once at most"))
	case values[0] == "":
		return "", invalidParameter(name, errors.New("must not be empty"))
	}
	return values[0], nil
}

// knows refuses parameters that the operation has not: one that is misspelled would otherwise be passed over.
func (op *operation) knows(rawQuery string) error {
	if rawQuery == "" {
		return nil
	}
	all, _ := url.ParseQuery(rawQuery) // what is malformed is said where one is read
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.ContainsFunc(op.parameters, func(p parameter) bool { return p.name == name }) {
			return invalidParameter(name, errors.New("is no parameter of this operation"))
		}
	}
	return nil
}

// hasBody says whether a request has a body, of which it may read a byte.
func hasBody(r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength > 0
	}
	_, err := io.ReadFull(r.Body, make([]byte, 1))
	return !errors.Is(err, io.EOF)
}

func (a *reply) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	h.Set("X-Content-Type-Options", "nosniff")
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.replayed {
		h.Set(ReplayedHeader, "true")
	}
	if a.position != "" {
		h.Set(PositionHeader, a.position)
	}
	if a.private {
		h.Set("Cache-Control", "no-store")
	}
	if a.etag != "" {
		h.Set("ETag", a.etag)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that is gone needs no answer
}

// refuse answers with the problem that err is. What is the server's own fault is
// logged, as the client is not told.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, op *operation, err error) {
	p := failure(err)
	if p.cause != nil {
		s.o.Logger.ErrorContext(r.Context(), "request failed", "operation", op.id, "error", p.cause)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if p.replayed {
		w.Header().Set(ReplayedHeader, "true")
	}
	httpd.WriteProblem(w, p.Status, p.RetryAfter, p.append(make([]byte, 0, 256)))
}

// jsonReply returns the answer 200 with a value.
func jsonReply(v any) *reply {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // the answers hold strings, numbers and lists of these
	}
	return &reply{status: http.StatusOK, body: body}
}
