// Package wallethttp serves a wallet over HTTP with JSON bodies, and calls such a
// server: [NewHandler] and [Client] are two sides of one API.
//
//	POST /v1/wallet/balance_transfer              move money
//	POST /v1/wallet/balance_transfers             up to 1,000 transfers, each by itself
//	GET  /v1/wallet/transfers/{transaction_id}    what was decided
//	POST /v1/wallet/transactions                  move money in up to 64 postings, all or none
//	GET  /v1/wallet/transactions/{transaction_id} what was decided: the ids are those of transfers
//	POST /v1/wallet/transactions/{transaction_id}/reversals  take a transfer or transaction back
//	GET  /v1/wallet/in-flight                     those under way between partitions
//	POST /v1/wallet/accounts                      open an account
//	GET  /v1/wallet/accounts/{id}                 its state and balances
//	POST /v1/wallet/accounts/{id}/currencies      let it hold one more currency
//	PUT  /v1/wallet/accounts/{id}/limits/{currency}  change a smallest balance
//	POST /v1/wallet/accounts/{id}/freeze          and unfreeze, and close
//	PUT  /v1/wallet/accounts/{id}/daily-limits/{currency}  and what may leave it a day
//	POST /v1/wallet/holds                         reserve money of an account
//	GET  /v1/wallet/holds/{hold_id}               what a hold has left
//	POST /v1/wallet/holds/{hold_id}/capture       pay out of it; and release, and extend
//	GET  /v1/wallet/accounts/{id}/holds           an account's open holds, in pages
//	GET  /v1/wallet/totals                        sums over all accounts
//	GET  /v1/wallet/tenants                       list tenants; POST makes one
//	GET  /v1/wallet/accounts/{id}/transfers       what changed its balances, by time
//	GET  /v1/wallet/accounts/{id}/balances        what it held at a moment
//	GET  /v1/wallet/accounts/{id}/statement       a period: opening balance, lines, closing balance
//	GET  /v1/wallet/accounts/{id}/events          follow them, as server-sent events
//	GET  /v1/wallet/events                        follow several accounts
//	GET  /v1/wallet/turnover                      what all transfers add up to
//	POST /v1/wallet/history/rebuild               make all that anew
//	GET  /v1/wallet/accounts/{id}/profile         who it belongs to; PUT, PATCH and DELETE
//	GET  /v1/wallet/accounts/{id}/transfers/{transaction_id}/note  its note on a transfer; PUT and DELETE
//	POST /v1/wallet/accounts/{id}/erasure         destroy these for ever
//	POST /v1/wallet/webhooks                      let an address be told of events; GET lists them
//	GET  /v1/wallet/webhooks/{webhook_id}         how far one is; PATCH changes it, DELETE deletes it
//	POST /v1/wallet/webhooks/{webhook_id}/rotate  a new secret; and replay, test, attempts, dead-letters
//	GET  /openapi.json, /openapi.yaml             the API as an OpenAPI 3.1 document
//	GET  /docs                                    the same to read
//
// An operation that has no body by the document refuses one.
//
// Every refusal is problem details (RFC 9457) with a code: the name of a
// [wallet.Code], or one of the codes that [Problem] lists. Every write may be
// repeated: a transfer by its transaction_id, the others because they say what
// shall be, not what shall change. Where an answer got lost, repeat the request.
//
// Requests are read strictly: an unknown, repeated or missing member, null, and
// anything after the object are refused with the member's place, as a member
// that is silently ignored may have been the one that mattered. That is why
// bodies are not decoded by encoding/json or by the library that the document is
// made with (huma): both take a member twice and either case of its name. It
// also costs a quarter of the time, as BenchmarkHandler shows.
package wallethttp

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/internal/auth"
	"maru.example/money"
	"maru.example/wallet"
)

// Limits of requests.
const (
	MaxTransfers  = 1000      // in one POST of balance_transfers
	MaxBatchBytes = 512 << 10 // of its body: 1,000 plain transfers of the largest size; with metadata there may be fewer
	MaxBodyBytes  = 4 << 10   // of any other body

	// MaxTransferBytes is for the body of one transfer: twice the largest metadata, all
	// of it in escapes.
	MaxTransferBytes = 16 << 10

	// MaxTransactionBytes is for the body of a transaction or a reversal: twice 64
	// postings of the largest size, and metadata.
	MaxTransactionBytes = 64 << 10
	MaxErrors           = 100 // listed in one problem
)

// Headers of the API.
const (
	// TenantHeader names the tenant for which a request acts. It is for keys with
	// AdminScope and for servers without keys; without it, it is the key's
	// tenant, or the default one.
	TenantHeader = "Maru-Tenant"
	// ReplayedHeader is "true" on the answer to a transfer that had been decided
	// before: nothing moved this time.
	ReplayedHeader = "Idempotent-Replayed"
	// LeaderHeader is on the answer to a request about one account, if another
	// node leads its partition: that can be asked directly. It has the partition's
	// number and how many there are, the cluster's id, the tenant for which the
	// request acts, and the node's URL: "2/4 0f6c… default http://10.0.0.7:7480".
	LeaderHeader = "Maru-Leader"
	// ClusterHeader of a request that goes to an address of LeaderHeader is the
	// cluster's id: a node of another cluster refuses it.
	ClusterHeader = "Maru-Cluster"
)

// Scope is what a request needs to be allowed to do.
type Scope string

// The scopes.
const (
	ReadScope  Scope = "wallet:read"
	WriteScope Scope = "wallet:write"
	AdminScope Scope = "wallet:admin"
	// PersonalScope is for reading and writing personal data.
	PersonalScope Scope = "wallet:personal"
	// EraseScope is for destroying it.
	EraseScope Scope = "wallet:erase"
	// WebhookScope is for letting addresses be told of events.
	WebhookScope Scope = "wallet:webhooks"
)

// Errors for Authorize to return, by themselves or wrapped. Their texts are
// shown to the client.
var (
	ErrUnauthenticated = auth.ErrUnauthenticated
	ErrForbidden       = auth.ErrForbidden
)

// Authorize returns the tenant for which a request acts, given its Authorization
// and Maru-Tenant headers ("" if absent) and the scope that it needs.
type Authorize func(ctx context.Context, authorization, tenant string, need Scope) (wallet.Tenant, error)

// Options are the settings of a handler; nil means all defaults.
type Options struct {
	// Authorize checks every request of the API. The default lets everybody act
	// for any tenant: serve that on loopback only.
	Authorize Authorize
	Personal  Personal // data of accounts; default: it keeps none
	Cluster   *Cluster // that this node is part of; default: none that clients need to know of
	History   History  // of the wallet; default: it keeps none
	// Rebuild lets this node make its history anew; default: it keeps none.
	Rebuild func(ctx context.Context) error
	// Webhooks delivers events to others; default: there are none.
	Webhooks Webhooks
	// EventPatience is for how long a reader of events may hold up a write until it is
	// dropped; default 5 s.
	EventPatience time.Duration
	// MaxEventReaders and MaxTenantEventReaders bound the streams of events that are open at once: of all tenants,
	// and of one; default: as the constants; below 0: there may be none.
	MaxEventReaders, MaxTenantEventReaders int

	// Beside are operations that the program serves beside these, for the document.
	Beside  []*huma.Operation
	Version string       // of the program, shown in the document; default "0"
	Logger  *slog.Logger // told of failures; default: discards
}

// Cluster is what clients are told of the cluster that a node is part of.
type Cluster struct {
	ID         string // without spaces
	Partitions uint16
	// Leader returns the URL of the node that leads a partition, "" if that is this
	// one, or not known. It must not wait.
	Leader func(partition uint16) string
}

// Wallet is what the handler needs of a wallet: [wallet.Service] is one, and
// describes the methods.
type Wallet interface {
	Transfers
	Accounts
	Holds
	Tenants
	Assets
}

// Transfers is the part of a Wallet that moves money.
type Transfers interface {
	TransferBy(ctx context.Context, tenant wallet.Tenant, protocol wallet.Protocol, t wallet.Transfer) (wallet.Result, error)
	TransfersBy(ctx context.Context, tenant wallet.Tenant, protocol wallet.Protocol, ts []wallet.Transfer) ([]wallet.Result, error)
	TransactBy(ctx context.Context, tenant wallet.Tenant, protocol wallet.Protocol, t *wallet.Transaction) (wallet.Result, error)
	TransactionsBy(ctx context.Context, tenant wallet.Tenant, protocol wallet.Protocol, ts []*wallet.Transaction) ([]wallet.Result, error)
	Decision(ctx context.Context, tenant wallet.Tenant, id wallet.TransactionID) (wallet.Code, error)
	InFlight(ctx context.Context, tenant wallet.Tenant, limit int) (wallet.InFlightList, error)
}

// Accounts is the part of a Wallet that keeps accounts.
type Accounts interface {
	OpenAccount(ctx context.Context, tenant wallet.Tenant, a wallet.NewAccount) (wallet.Opened, error)
	AddCurrency(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID, c money.Currency, smallest money.Amount) (wallet.Code, error)
	SetLimit(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID, c money.Currency, smallest money.Amount) (wallet.Code, error)
	SetDailyLimit(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID, c money.Currency, l wallet.DailyLimit) (wallet.Code, error)
	SetStatus(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID, to wallet.Status) (wallet.Code, error)
	Account(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID) (wallet.Account, wallet.Code, error)
	AccountStale(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID) (wallet.Account, wallet.Code, time.Duration, error)
}

// Holds is the part of a Wallet that reserves money.
type Holds interface {
	PlaceHold(ctx context.Context, tenant wallet.Tenant, h wallet.NewHold) (wallet.Result, error)
	Capture(ctx context.Context, tenant wallet.Tenant, c wallet.Capture) (wallet.Result, error)
	Release(ctx context.Context, tenant wallet.Tenant, r wallet.Release) (wallet.Result, error)
	Extend(ctx context.Context, tenant wallet.Tenant, e wallet.Extend) (wallet.Result, error)
	Hold(ctx context.Context, tenant wallet.Tenant, id wallet.TransactionID) (wallet.Hold, wallet.Code, error)
	Holds(ctx context.Context, tenant wallet.Tenant, id wallet.AccountID, after wallet.HoldCursor, limit int) (wallet.HoldList, wallet.Code, error)
}

// Tenants is the part of a Wallet that is about all accounts.
type Tenants interface {
	CreateTenant(ctx context.Context, name wallet.Tenant) (wallet.Code, error)
	Tenants(ctx context.Context) ([]wallet.Tenant, error)
	Totals(ctx context.Context, tenant wallet.Tenant) (totals []wallet.Total, settled bool, err error)
}

// Assets is the part of a Wallet that knows what accounts can hold.
type Assets interface {
	CreateAsset(ctx context.Context, tenant wallet.Tenant, name string, digits int) (money.Currency, wallet.Code, error)
	Assets(ctx context.Context, tenant wallet.Tenant) ([]wallet.Asset, wallet.Code, error)
	ParseCurrency(ctx context.Context, tenant wallet.Tenant, text string) (money.Currency, error)
	CurrencyName(ctx context.Context, tenant wallet.Tenant, c money.Currency) string
}

// NewHandler returns the API of a wallet, the document and the docs page. It
// knows its paths from the root.
func NewHandler(w Wallet, o *Options) *Handler {
	s := &server{wallet: w}
	if o != nil {
		s.o = *o
	}
	if s.keyed = s.o.Authorize != nil; !s.keyed {
		s.o.Authorize = everybody
	}
	if s.o.Personal == nil {
		s.o.Personal = noPersonal{}
	}
	if s.o.History == nil {
		s.o.History = noHistory{}
	}
	if s.o.Rebuild == nil {
		s.o.Rebuild = func(context.Context) error { return errNoHistory }
	}
	s.readers = newReaders(s.o.MaxEventReaders, s.o.MaxTenantEventReaders)
	if s.o.EventPatience == 0 {
		s.o.EventPatience = eventSlow
	}
	if s.o.Version == "" {
		s.o.Version = "0"
	}
	if s.o.Logger == nil {
		s.o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{s.routes(), s}
}

// Handler is the API of a wallet.
type Handler struct {
	http.Handler
	s *server
}

// EventMetrics counts the streams of events.
func (h *Handler) EventMetrics() EventMetrics {
	m := EventMetrics{Slow: h.s.slow.Load()}
	h.s.readers.count(&m)
	return m
}

// everybody acts for the tenant that is named.
func everybody(_ context.Context, _, tenant string, _ Scope) (wallet.Tenant, error) {
	if tenant == "" {
		return wallet.DefaultTenant, nil
	}
	return wallet.Tenant(tenant), nil
}
