package wallethttp

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/wallet"
)

// The bodies of transactions and reversals.

type postingBody struct {
	Account  accountID `json:"account"`
	Amount   amount    `json:"amount" doc:"What is added to the balance: less than zero for a debit, and never zero."`
	Currency currency  `json:"currency"`
}

type transactionRequest struct {
	ID        transactionID `json:"transaction_id" doc:"Chosen by the client, new for every transaction and transfer. It belongs to the partition of the first posting's account."`
	Postings  []postingBody `json:"postings" minItems:"2" maxItems:"64" nullable:"false" doc:"All are made or none. The amounts of each currency add up to zero. What counts is the sum for an account in a currency: it may be debited and credited."`
	Reference reference     `json:"reference,omitempty"`
	Metadata  metadata      `json:"metadata,omitempty"`
	Protocol  protocol      `json:"protocol,omitempty" doc:"How accounts of several partitions are brought to agree: tcc or saga; the cluster's by default, and tcc where that is 2pc."`
}

type originalTransfer struct {
	From      accountID `json:"from_account"`
	To        accountID `json:"to_account"`
	Amount    amount    `json:"amount"`
	Currency  currency  `json:"currency"`
	Reference reference `json:"reference,omitempty"`
	Metadata  metadata  `json:"metadata,omitempty"`
}

type originalCapture struct {
	Hold     transactionID `json:"hold_id"`
	From     accountID     `json:"from_account"`
	To       accountID     `json:"to_account"`
	Amount   amount        `json:"amount"`
	Currency currency      `json:"currency"`
}

type originalTransaction struct {
	Postings  []postingBody `json:"postings" minItems:"2" maxItems:"64" nullable:"false"`
	Reference reference     `json:"reference,omitempty"`
	Metadata  metadata      `json:"metadata,omitempty"`
}

type reversalRequest struct {
	ID          transactionID        `json:"transaction_id,omitempty" doc:"Of the reversal: new, as for every transaction. A whole reversal can do without: its id is then made of the original's, so that it is made once."`
	Transfer    *originalTransfer    `json:"transfer,omitempty" doc:"What is reversed, as it was made: a transfer, a capture or a transaction. Without any the server's history has to have it."`
	Capture     *originalCapture     `json:"capture,omitempty" doc:"The same of a capture of a hold. What is taken back is available again, and not held."`
	Transaction *originalTransaction `json:"transaction,omitempty" doc:"The same of a transaction."`
	Amount      amount               `json:"amount,omitempty" doc:"Of what moved one amount between two accounts, how much is taken back; all of it by default."`
	Postings    []postingBody        `json:"postings,omitempty" minItems:"2" maxItems:"64" nullable:"false" doc:"What is taken back, instead of amount: with the opposite signs. All of it by default."`
	Reference   reference            `json:"reference,omitempty"`
	Metadata    metadata             `json:"metadata,omitempty"`
	Protocol    protocol             `json:"protocol,omitempty"`
}

type (
	reference string
	metadata  map[string]string
)

// Schema describes a reference.
func (reference) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Examples: []any{"order-4711"}, Pattern: `^[\s\S]{1,64}$`,
		Description: "What the client calls it: up to 64 bytes, kept in the log and in the history.",
	}
}

// Schema describes metadata.
func (metadata) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true, Examples: []any{map[string]any{"shop": "3"}},
		Description: "What the client notes beside it, in strings: up to 16 keys of 1 to 64 bytes, 1,024 bytes in all, kept in the log and in the history.",
	}
}

func transactionOperations() []operation {
	codes := []wallet.Code{
		wallet.UnknownTenant, wallet.UnknownAccount, wallet.AccountFrozen, wallet.AccountClosed, wallet.CurrencyNotHeld,
		wallet.InsufficientFunds, wallet.Overflow, wallet.IDReused, wallet.LimitReached, wallet.AccountLocked, wallet.Canceled,
		wallet.TooManyInFlight, wallet.Unbalanced,
	}
	return []operation{{
		id: "create-transaction", method: "POST", path: "/v1/wallet/transactions", scope: WriteScope,
		summary: "Move money between up to 64 accounts, all or nothing",
		description: "The answer is sent when the transaction is durable. The same transaction again has the same answer, with the header " +
			ReplayedHeader + ", and moves nothing. 202 says that it is under way between partitions and will be done or refused without " +
			"anybody's help: ask what was decided, or repeat it.",
		request: transactionRequest{}, answer: transferAnswer{}, status: 200, pending: true, replays: true, account: true,
		do: (*server).transaction, codes: codes, example: exampleTransaction(),
	}, findOperation("get-transaction", "/v1/wallet/transactions/{transaction_id}", "Show a transaction: what was decided, and what it was"), {
		id: "reverse-transaction", method: "POST", path: "/v1/wallet/transactions/{transaction_id}/reversals", scope: WriteScope,
		summary: "Take a transfer, a capture or a transaction back, in whole or in part",
		description: "A reversal is a transaction of its own. It says what it takes back, or leaves that to the history; it is compared with what was made under the id. " +
			"Without a body all is taken back, under an id that is made of the original's: if that is refused, give another transaction_id to try again. " +
			"All reversals of one original together take back no more than it moved, for each account and currency. A reversal is not reversed.",
		request: reversalRequest{}, bodyless: true, answer: transferAnswer{}, status: 200, pending: true, replays: true, account: true, past: true, absent: true,
		do: (*server).reversal, example: exampleReversal(), codes: append(codes, wallet.NotReversible, wallet.OverReversed),
	}}
}

// exampleTransaction pays an order: the shop gets it without the fee.
func exampleTransaction() transactionRequest {
	return transactionRequest{
		ID:        "01900000-0000-7000-8000-000000000002",
		Postings:  []postingBody{{"customer:42", "-20.00", "USD"}, {"merchant:7", "19.40", "USD"}, {"fees", "0.60", "USD"}},
		Reference: "order-4711", Metadata: metadata{"shop": "3"},
	}
}

func exampleReversal() reversalRequest {
	return reversalRequest{
		ID: "01900000-0000-7000-8000-000000000003", Amount: "2.50", Reference: "refund-12",
	}
}

func (s *server) transaction(q query) (*reply, error) {
	var t *wallet.Transaction
	var by wallet.Protocol
	if err := q.readBody(MaxTransactionBytes, func(d *decoder) { t, by = d.transaction() }); err != nil {
		return nil, err
	}
	*q.about = t.Postings[0].Account
	return s.transact(q, by, t)
}

func (s *server) reversal(q query) (*reply, error) {
	id, err := q.transactionID()
	if err != nil {
		return nil, err
	}
	var r *reversalBody
	var failed error
	read := func(d *decoder) {
		if r = d.reversal(id); len(d.errs) > 0 {
			return
		}
		if r.t.Reverses == nil {
			if r.t.Reverses, failed = s.original(q, id); failed != nil {
				return
			}
		}
		d.finishReversal(r)
	}
	if absentBody(q.Request) {
		q.Body, q.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
		q.Header = http.Header{"Content-Type": {"application/json"}}
	}
	if err := errors.Join(q.readBody(MaxTransactionBytes, read), failed); err != nil {
		return nil, err
	}
	*q.about = r.t.Reverses.Postings[0].Account
	answer, err := s.transact(q, r.by, r.t)
	if p, ok := errors.AsType[*Problem](err); ok && r.made {
		p.sayMadeID()
	}
	return answer, err
}

// sayMadeID adds to a refusal of a reversal that it is kept under an id that was made of the original's: without another one
// it is the answer for ever.
func (p *Problem) sayMadeID() {
	if p.TransactionID != "" && (p.Status == http.StatusConflict || p.Status == http.StatusUnprocessableEntity) && p.Code != wallet.AccountLocked.String() {
		p.Detail += "; without a transaction_id in its body a reversal is always the same one, and so is its answer: to try again, give a new transaction_id"
	}
}

func (s *server) transact(q query, by wallet.Protocol, t *wallet.Transaction) (*reply, error) {
	result, err := s.wallet.TransactBy(q.Context(), q.tenant, by, t)
	if err != nil {
		p := failure(err)
		p.TransactionID = t.ID.String()
		return nil, p
	}
	return decidedReply(t.ID, result)
}
