package wallethttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
)

// recorder is a wallet that applies every transfer and keeps the last.
type recorder struct {
	Wallet
	got *transferBy
}

type transferBy struct {
	wallet.Transfer

	Protocol wallet.Protocol
	Notes    wallet.Notes
}

func (r *recorder) TransferBy(_ context.Context, _ wallet.Tenant, by wallet.Protocol, t wallet.Transfer) (wallet.Result, error) {
	r.got = &transferBy{Transfer: t, Protocol: by}
	return wallet.Result(wallet.Applied), nil
}

func (r *recorder) TransactBy(_ context.Context, _ wallet.Tenant, by wallet.Protocol, t *wallet.Transaction) (wallet.Result, error) {
	to := &t.Postings[1]
	r.got = &transferBy{
		wallet.Transfer{ID: t.ID, From: t.Postings[0].Account, To: to.Account, Amount: to.Amount, Currency: to.Currency},
		by,
		wallet.Notes{Reference: t.Reference, Metadata: t.Metadata},
	}
	return wallet.Result(wallet.Applied), nil
}

func (*recorder) ParseCurrency(_ context.Context, _ wallet.Tenant, text string) (money.Currency, error) {
	return money.ParseCurrency(text)
}

type humaInput struct{ Body transferRequest }

type humaOutput struct{ Body transferAnswer }

// newHuma returns the operation balance-transfer as the library would serve it:
// by decoding into a map, validating that against the schema of the document,
// and decoding into the struct.
func newHuma(w Wallet) http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("twin", "0")
	config.CreateHooks, config.OpenAPIPath, config.DocsPath, config.SchemasPath = nil, "", "", ""
	huma.Register(humago.New(mux, config), huma.Operation{
		OperationID: "balance-transfer", Method: http.MethodPost, Path: "/v1/wallet/balance_transfer",
	}, func(ctx context.Context, in *humaInput) (*humaOutput, error) {
		t, notes, by, err := in.Body.parse()
		if err != nil {
			return nil, huma.Error422UnprocessableEntity(err.Error())
		}
		if !notes.Empty() {
			made, code := t.Noted(notes)
			if code != wallet.Applied {
				return nil, huma.Error422UnprocessableEntity(code.String())
			}
			if _, err := w.TransactBy(ctx, wallet.DefaultTenant, by, made); err != nil {
				return nil, err
			}
			return &humaOutput{transferAnswer{Status: "success", ID: transactionID(t.ID.String())}}, nil
		}
		if _, err := w.TransferBy(ctx, wallet.DefaultTenant, by, t); err != nil {
			return nil, err
		}
		return &humaOutput{transferAnswer{Status: "success", ID: transactionID(t.ID.String())}}, nil
	})
	return mux
}

// parse converts a request that satisfies its schema.
func (b *transferRequest) parse() (t wallet.Transfer, notes wallet.Notes, by wallet.Protocol, err error) {
	body, err := json.Marshal(b)
	if err != nil {
		return t, notes, by, err
	}
	d, err := newDecoder(body)
	if err != nil {
		return t, notes, by, err
	}
	t, notes, by = d.transfer()
	if len(d.errs) > 0 {
		return t, notes, by, invalid(d.errs)
	}
	return t, notes, by, nil
}

func post(t testing.TB, h http.Handler, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v1/wallet/balance_transfer", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const goodTransfer = `{"from_account":"customer:12345678","to_account":"merchant:987654","amount":"10.50","currency":"USD","transaction_id":"01900000-0000-7000-8000-000000000001"}`

// corpus has requests to begin with: good ones and every kind of bad one.
var corpus = []string{
	goodTransfer,
	strings.ReplaceAll(goodTransfer, ",", " ,\r\n\t"),
	strings.Replace(goodTransfer, "customer", `cust\u006fmer`, 1),
	strings.Replace(goodTransfer, "from_account", `from\u005faccount`, 1),
	strings.Replace(goodTransfer, "customer", `\ud800`, 1),
	strings.Replace(goodTransfer, "customer", "\xff", 1),
	strings.Replace(goodTransfer, `"10.50"`, "10.50", 1),
	strings.Replace(goodTransfer, `"10.50"`, "null", 1),
	strings.Replace(goodTransfer, `"10.50"`, `{"value":["10.50"]}`, 1),
	strings.Replace(goodTransfer, `"10.50"`, `"10.505"`, 1),
	strings.Replace(goodTransfer, `"10.50"`, `"-10"`, 1),
	strings.Replace(goodTransfer, `"10.50"`, `"-0"`, 1),
	strings.Replace(goodTransfer, `"10.50"`, `"010"`, 1),
	strings.Replace(goodTransfer, `"10.50"`, `"99999999999999999999"`, 1),
	strings.Replace(goodTransfer, `"10.50"`, `"1e3"`, 1),
	strings.Replace(goodTransfer, `"10.50"`, `""`, 1),
	strings.Replace(goodTransfer, "USD", "usd", 1),
	strings.Replace(goodTransfer, "USD", "XXX", 1),
	strings.Replace(goodTransfer, "0001", "000", 1),
	strings.Replace(goodTransfer, "7000-8000", "abcd-ABCD", 1),
	strings.Replace(goodTransfer, "01900000-0000-7000-8000-000000000001", "00000000-0000-0000-0000-000000000000", 1),
	strings.Replace(goodTransfer, "01900000-0000-7000-8000-000000000001", "{1900000-0000-7000-8000-00000000000}", 1),
	strings.Replace(goodTransfer, "customer:12345678", "", 1),
	strings.Replace(goodTransfer, "customer:12345678", strings.Repeat("x", 64), 1),
	strings.Replace(goodTransfer, "customer:12345678", strings.Repeat("x", 65), 1),
	strings.Replace(goodTransfer, "customer:12345678", "a b", 1),
	strings.Replace(goodTransfer, "customer:12345678", "a/b", 1),
	strings.Replace(goodTransfer, `"currency":"USD",`, "", 1),
	strings.Replace(goodTransfer, "{", `{"note":"x",`, 1),
	strings.Replace(goodTransfer, "{", `{"currency":"EUR",`, 1),
	strings.Replace(goodTransfer, "currency", "Currency", 1),
	strings.Replace(goodTransfer, "{", `{"protocol":"saga",`, 1),
	strings.Replace(goodTransfer, "{", `{"protocol":"2pc",`, 1),
	strings.Replace(goodTransfer, "{", `{"protocol":"",`, 1),
	strings.Replace(goodTransfer, "{", `{"protocol":"none",`, 1),
	strings.Replace(goodTransfer, "{", `{"protocol":"TCC",`, 1),
	strings.Replace(goodTransfer, "{", `{"protocol":null,`, 1),
	strings.Replace(goodTransfer, "{", `{"protocol":2,`, 1),
	strings.Replace(goodTransfer, "{", `{"reference":"order","metadata":{"k":"v"},`, 1),
	strings.Replace(goodTransfer, "{", `{"reference":"",`, 1),
	strings.Replace(goodTransfer, "{", `{"reference":"`+strings.Repeat("x", 65)+`",`, 1),
	goodTransfer + goodTransfer, goodTransfer + "x", goodTransfer[:len(goodTransfer)-1], "\ufeff" + goodTransfer,
	"", " ", "null", "[]", "{}", "7", `"x"`, "[" + goodTransfer + "]", "true", "{", `{"a":`, `{"a":1,}`, "{'a':1}", "nul",
	strings.Repeat("[", 20000),
}

// stricter says whether the twin may take a body that we refuse: it takes a name
// twice, and in either case, and null for what can be left out.
func stricter(body []byte) bool {
	seen := make(map[string]bool)
	d := json.NewDecoder(bytes.NewReader(body))
	depth, name := 0, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) || err != nil {
			return false
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' && depth == 1 {
				return true // metadata, whose members are as strict
			}
			if token == '{' || token == '[' {
				depth++
			} else {
				depth--
			}
			name = depth == 1
			continue
		case nil:
			if depth == 1 {
				return true
			}
		case string:
			if depth == 1 && name {
				if folded := strings.ToLower(token); seen[folded] || folded != token {
					return true
				}
				seen[token] = true
			}
		}
		if depth == 1 {
			name = !name
		}
	}
}

// twins are our handler and the library's.
type twins struct {
	ours, theirs       recorder
	handler, reference http.Handler
}

func newTwins() *twins {
	p := &twins{}
	p.handler, p.reference = NewHandler(&p.ours, nil), newHuma(&p.theirs)
	return p
}

// compare checks that we take and refuse a body as the document says, in the
// reading of the library that it is made with. It returns whether we take it.
func (p *twins) compare(t *testing.T, body []byte) bool {
	t.Helper()
	p.ours.got, p.theirs.got = nil, nil
	our, their := post(t, p.handler, body), post(t, p.reference, body)
	switch {
	case our.Code == http.StatusOK && their.Code != http.StatusOK:
		t.Errorf("%q: we take it, and the document does not: %s", body, their.Body)
	case our.Code != http.StatusOK && their.Code == http.StatusOK && !stricter(body):
		t.Errorf("%q: the document takes it, and we do not: %s", body, our.Body)
	case our.Code == http.StatusOK:
		if diff := cmp.Diff(p.theirs.got, p.ours.got); diff != "" {
			t.Errorf("%q: the transfers differ (-theirs +ours):\n%s", body, diff)
		}
	case our.Code >= 500 || our.Header().Get("Content-Type") != "application/problem+json" || !json.Valid(our.Body.Bytes()):
		t.Errorf("%q: got %d %s", body, our.Code, our.Body)
	case p.ours.got != nil:
		t.Errorf("%q: refused and done", body)
	}
	return our.Code == http.StatusOK
}

func TestTheDecoderIsTrueToTheDocument(t *testing.T) {
	p, taken := newTwins(), 0
	for _, body := range corpus {
		if p.compare(t, []byte(body)) {
			taken++
		}
	}
	if taken < 6 {
		t.Errorf("only %d bodies are taken: the corpus compares refusals only", taken)
	}
}

func FuzzTransfer(f *testing.F) {
	for _, body := range corpus {
		f.Add([]byte(body))
	}
	p := newTwins()
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) <= MaxBodyBytes {
			p.compare(t, body)
		}
	})
}

// surrogate is a part of a character that needs another part, which may be missing.
var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// FuzzBodies gives the same body to every operation that takes one: each must
// end with an answer of its own, never with a fault of the server.
func FuzzBodies(f *testing.F) {
	for _, body := range corpus {
		f.Add([]byte(body))
	}
	for _, body := range []string{
		`{"transfers":[` + goodTransfer + `,` + goodTransfer + `]}`, `{"transfers":[` + goodTransfer + `],"protocol":"tcc"}`, `{"transfers":[]}`, `{"transfers":[null,[],{}]}`, `{"transfers":{}}`,
		`{"id":"a","currency":"USD","min_balance":"unlimited"}`, `{"min_balance":"-1.00"}`, `{"name":"acme"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, read := range []func(d *decoder){
			func(d *decoder) { d.transfers() }, func(d *decoder) { d.transfer() }, func(d *decoder) { d.account() },
			func(d *decoder) { d.currency() },
		} {
			d, err := newDecoder(body)
			if err != nil {
				if json.Valid(body) && bytes.Equal(body, bytes.ToValidUTF8(body, nil)) && !surrogate.Match(body) {
					t.Fatalf("%q: refused as %v", body, err)
				}
				return
			}
			read(d)
			d.space()
			if d.pos != len(d.text) {
				t.Fatalf("%q: read to byte %d of %d", body, d.pos, len(d.text))
			}
			if text := invalid(d.errs).append(nil); !json.Valid(text) {
				t.Fatalf("%q: the problem is not JSON: %s", body, text)
			}
		}
	})
}

// BenchmarkHandler is the cost of a transfer's request without the network and
// the wallet: of ours, of the library's way, and of doing nothing.
func BenchmarkHandler(b *testing.B) {
	for name, h := range map[string]http.Handler{
		"ours":    NewHandler(&recorder{}, nil),
		"huma":    newHuma(&recorder{}),
		"nothing": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest(http.MethodPost, "/v1/wallet/balance_transfer", http.NoBody)
			r.Header.Set("Content-Type", "application/json")
			body := strings.NewReader(goodTransfer)
			for b.Loop() {
				body.Reset(goodTransfer)
				r.Body, r.ContentLength = io.NopCloser(body), int64(len(goodTransfer))
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}
