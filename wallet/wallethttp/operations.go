package wallethttp

import (
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/wallet"
)

// An operation is a row of the API: where it is, what it needs, what it answers,
// and the function that does it. The routes and the document are made from it.
type operation struct {
	id, method, path string
	summary          string
	description      string
	scope            Scope
	parameters       []parameter // of the query
	needs            string      // the one of them that must be there, or ""
	request          any         // a value of the body's type, or nil
	bodyless         bool        // it can do without the body
	example          any         // a body, where the examples of its members make none
	answer           any
	status           int           // of the answer
	created          bool          // it may be 201 as well
	pending          bool          // it may be 202 as well
	codes            []wallet.Code // with which the machine may refuse
	absent           bool          // it may be transaction_not_found
	replays          bool          // it may have ReplayedHeader
	account          bool          // one account's partition decides it: it may have LeaderHeader
	past             bool          // the history answers it
	personal         bool          // it is about personal data
	found            bool          // and may be personal_not_found
	matches          bool          // and may have If-Match
	webhooks         bool          // it is about webhooks
	do               func(*server, query) (*reply, error)
	stream           func(*server, http.ResponseWriter, query) error // instead of do: it writes the answer itself
}

// A parameter is one of an operation's query.
type parameter struct {
	name, description string
	schema            *huma.Schema
}

// operations returns the API.
func operations() []operation {
	return slices.Concat(transferOperations(), transactionOperations(), accountOperations(), holdOperations(), tenantOperations(),
		historyOperations(), []operation{referenceOperation(), reversalsOperation()}, eventOperations(), personalOperations(), webhookOperations())
}

func transferOperations() []operation {
	return []operation{{
		id: "balance-transfer", method: "POST", path: "/v1/wallet/balance_transfer", scope: WriteScope,
		summary: "Move money from one account to another",
		description: "The answer is sent when the transfer is durable. The same transfer again has the same answer, with the header " +
			ReplayedHeader + ", and moves nothing. 202 says that it is under way between two partitions and will be done or refused without " +
			"anybody's help: ask what was decided, or repeat it. With a reference or metadata it is kept, found and shown as a transaction of two postings, " +
			"which is another content than the transfer without them: the same transaction_id with others, or without, is transaction_id_reused. " +
			"Such a transfer is made by tcc or saga, and what is amount_not_positive or same_account of it is not remembered.",
		request: transferRequest{}, answer: transferAnswer{}, status: 200, pending: true, replays: true, account: true, do: (*server).balanceTransfer,
		codes: []wallet.Code{
			wallet.UnknownTenant, wallet.UnknownAccount, wallet.AccountFrozen, wallet.AccountClosed, wallet.CurrencyNotHeld,
			wallet.InsufficientFunds, wallet.AmountNotPositive, wallet.SameAccount, wallet.Overflow, wallet.IDReused, wallet.LimitReached,
			wallet.AccountLocked, wallet.Canceled, wallet.TooManyInFlight, wallet.DailyLimitExceeded,
		},
	}, {
		id: "balance-transfers", method: "POST", path: "/v1/wallet/balance_transfers", scope: WriteScope,
		summary: "Make up to 1,000 transfers",
		description: "They are decided one after the other, each by itself: some may be refused while others are done. " +
			"If one is malformed, nothing is done for any. One that is under way between two partitions is pending. Those with a reference or metadata are as single ones.",
		request: transfersRequest{}, answer: transfersAnswer{}, status: 200, do: (*server).balanceTransfers,
		codes: []wallet.Code{wallet.UnknownTenant},
	}, findOperation("get-transfer", "/v1/wallet/transfers/{transaction_id}", "Show a transfer: what was decided, and what it was"), {
		id: "list-in-flight", method: "GET", path: "/v1/wallet/in-flight", scope: ReadScope,
		summary:     "List transfers under way between partitions",
		description: "Those of the tenant, by partition, the oldest first.",
		parameters:  []parameter{{"limit", "How many at the most.", limitSchema(wallet.MaxInFlightListed, defaultInFlight)}},
		answer:      inFlightAnswer{}, status: 200, do: (*server).inFlight,
	}}
}

func accountOperations() []operation {
	account := []wallet.Code{wallet.UnknownTenant, wallet.UnknownAccount}
	ops := []operation{{
		id: "open-account", method: "POST", path: "/v1/wallet/accounts",
		summary: "Open an account that holds one currency",
		description: "The first time it answers 201. Repeated with the same content it answers 200 with the account as it is now, which may be frozen. " +
			"What is to be noted of an account, up to 16 keys of metadata, personal or not, is its profile.",
		request: accountRequest{}, created: true, do: (*server).openAccount,
		codes: []wallet.Code{wallet.UnknownTenant, wallet.AccountClosed, wallet.AccountExists, wallet.LimitReached},
	}, {
		id: "get-account", method: "GET", path: "/v1/wallet/accounts/{id}", scope: ReadScope,
		summary: "Show an account and its balances", do: (*server).account, codes: account,
		parameters: []parameter{{"consistency", "linearizable: with everything that was answered before. stale: as the node that answers knows it, " +
			"without asking others, with age_ms.", &huma.Schema{
			Type: huma.TypeString, Enum: []any{"linearizable", "stale"}, Default: "linearizable",
		}}},
	}, {
		id: "add-currency", method: "POST", path: "/v1/wallet/accounts/{id}/currencies",
		summary: "Let an account hold one more currency", request: currencyRequest{}, do: (*server).addCurrency,
		codes: append(account, wallet.AccountClosed, wallet.CurrencyExists, wallet.LimitReached),
	}, {
		id: "set-limit", method: "PUT", path: "/v1/wallet/accounts/{id}/limits/{currency}",
		summary:     "Change the smallest balance of a currency",
		description: "A balance below the new limit stays: nothing can be taken out until it is above again.",
		request:     limitRequest{}, do: (*server).setLimit,
		codes: append(account, wallet.AccountClosed, wallet.CurrencyNotHeld, wallet.Overflow),
	}, {
		id: "set-daily-limit", method: "PUT", path: "/v1/wallet/accounts/{id}/daily-limits/{currency}",
		summary: "Change how much may leave an account on one day",
		description: "Transfers and holds count on the day (UTC) on which they are made; a capture does not count again. What a hold gave back on the same day, and a " +
			"transfer that was not made in the end, do not count, nor does what left before there was a limit. A reversal changes nothing: it is a transfer of its own.",
		request: dailyRequest{}, do: (*server).setDaily,
		codes: append(account, wallet.AccountClosed, wallet.CurrencyNotHeld),
	}, {
		id: "freeze-account", method: "POST", path: "/v1/wallet/accounts/{id}/freeze",
		summary: "Let no money move in or out", do: setStatus(wallet.Frozen), codes: append(account, wallet.AccountClosed),
	}, {
		id: "unfreeze-account", method: "POST", path: "/v1/wallet/accounts/{id}/unfreeze",
		summary: "Let money move again", do: setStatus(wallet.Open), codes: append(account, wallet.AccountClosed),
	}, {
		id: "close-account", method: "POST", path: "/v1/wallet/accounts/{id}/close",
		summary: "Close an account for ever", description: "All its balances must be zero, and its holds released.",
		do: setStatus(wallet.Closed), codes: append(account, wallet.BalanceNotZero, wallet.HoldsOpen),
	}}
	for i := range ops {
		ops[i].answer, ops[i].status, ops[i].account = accountAnswer{}, 200, true
		if ops[i].scope == "" {
			ops[i].scope = WriteScope
		}
	}
	return ops
}

func tenantOperations() []operation {
	return []operation{{
		id: "get-totals", method: "GET", path: "/v1/wallet/totals", scope: ReadScope,
		summary:     "Add up all accounts",
		description: "Reads every account of the tenant, a part at a time so that transfers go on. For each currency sum and in_flight add up to zero.",
		answer:      totalsAnswer{}, status: 200, do: (*server).totals,
		codes: []wallet.Code{wallet.UnknownTenant},
	}, {
		id: "list-assets", method: "GET", path: "/v1/wallet/assets", scope: ReadScope,
		summary:     "List the tenant's own assets",
		description: "What accounts can hold beside the currencies of ISO 4217: shares, points, hours.",
		answer:      assetsAnswer{}, status: 200, do: (*server).assets,
		codes: []wallet.Code{wallet.UnknownTenant},
	}, {
		id: "create-asset", method: "POST", path: "/v1/wallet/assets", scope: WriteScope,
		summary:     "Make an asset of the tenant's own",
		description: "Its name can be used like the code of a currency. One that exists with as many decimal places is answered in the same way.",
		request:     assetRequest{}, answer: assetAnswer{}, status: 200, do: (*server).createAsset,
		codes: []wallet.Code{wallet.UnknownTenant, wallet.AssetExists, wallet.LimitReached},
	}, {
		id: "list-tenants", method: "GET", path: "/v1/wallet/tenants", scope: AdminScope,
		summary: "List the tenants", answer: tenantsAnswer{}, status: 200, do: (*server).tenants,
	}, {
		id: "create-tenant", method: "POST", path: "/v1/wallet/tenants", scope: AdminScope,
		summary: "Make a tenant", description: "One that exists is answered in the same way.",
		request: tenantRequest{}, answer: tenantAnswer{}, status: 200, do: (*server).createTenant,
		codes: []wallet.Code{wallet.LimitReached},
	}}
}
