package wallethttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/money"
	"maru.example/wallet"
)

// What a transaction id stands for: what was decided, and what it was.

type foundAnswer struct {
	ID     transactionID `json:"transaction_id"`
	Status string        `json:"status" enum:"applied,refused,pending,held" doc:"held: it is the id of a hold, which was placed."`
	Code   string        `json:"code,omitempty" doc:"Why it was refused."`

	Content string `json:"content,omitempty" enum:"whole,none,behind,unavailable" doc:"Whether the other members say what it was. none: it was refused, and did nothing. behind: the history has not come to it yet, or it is one by 2pc under way that has debited nothing. unavailable: there is no history, or it begins later. Absent with content=false."`
	Detail  string `json:"content_detail,omitempty" doc:"Why there is no content."`

	Kind             string        `json:"kind,omitempty" enum:"transfer,transaction,reversal,capture,hold,release,extension"`
	Time             string        `json:"time,omitempty" format:"date-time" doc:"When it was decided, or begun."`
	Position         string        `json:"position,omitempty" pattern:"^[0-9]+:[0-9]+$" doc:"The entry of the log of the partition that decided it."`
	From             accountID     `json:"from_account,omitempty" doc:"Of a transfer and a capture the paying account; of a hold and a release its account."`
	To               accountID     `json:"to_account,omitempty" doc:"The account that is paid; of a hold the only one that can be."`
	Amount           amount        `json:"amount,omitempty" doc:"Of a transfer, a capture, a hold and a release."`
	Currency         currency      `json:"currency,omitempty"`
	Postings         []postingBody `json:"postings,omitempty" nullable:"false" doc:"Of all that moves money; of a transfer and a capture two."`
	Reference        reference     `json:"reference,omitempty"`
	Metadata         metadata      `json:"metadata,omitempty"`
	Reverses         transactionID `json:"reverses,omitempty" doc:"What a reversal takes back."`
	Hold             transactionID `json:"hold_id,omitempty" doc:"Of a capture, a release and an extension."`
	Expires          string        `json:"expires_at,omitempty" format:"date-time" doc:"Of a hold and an extension: the expiry that it gave."`
	Reversed         string        `json:"reversed,omitempty" enum:"none,part,whole" doc:"How much was taken back by reversals, or is about to be. Absent of what cannot be reversed."`
	ReversedAmount   amount        `json:"reversed_amount,omitempty" doc:"The same of a transfer and a capture."`
	ReversedPostings []postingBody `json:"reversed_postings,omitempty" nullable:"false" doc:"The same by account and currency, with the signs of a reversal."`
	Reflects         string        `json:"reflects,omitempty" pattern:"^[0-9]+:[0-9]+$" doc:"What the content reflects: everything up to this entry."`
}

type reversalsAnswer struct {
	Reversals []pastTransaction `json:"reversals" nullable:"false" doc:"Oldest first; none that were refused at once."`
	Next      string            `json:"next_cursor,omitempty" doc:"Where the next page begins; absent: there is no more yet."`
	Position  string            `json:"position" pattern:"^[0-9]+:[0-9]+$" doc:"What the answer reflects: everything up to this entry."`
	At        string            `json:"reflects_time" format:"date-time" doc:"The time of that entry."`
}

// findOperation is one of the two that ask for a transaction id.
func findOperation(id, path, summary string) operation {
	return operation{
		id: id, method: "GET", path: path, scope: ReadScope, summary: summary,
		description: "Transfers, transactions, reversals, captures and what is about holds share their ids. What was decided is certain; what it was, the history says, " +
			"which may be behind: content tells. A server without a history says what was decided only. For a client that lost an answer, to repeat the request does as well.",
		parameters: []parameter{
			{"content", "false: only what was decided.", &huma.Schema{Type: huma.TypeString, Enum: []any{"true", "false"}, Default: "true"}},
			{
				"at_least", "A position, as " + PositionHeader + " of an earlier answer has it: the content reflects it, or the answer is history_behind or history_unavailable.",
				&huma.Schema{Type: huma.TypeString, Pattern: positionPattern},
			},
		},
		answer: foundAnswer{}, status: 200, do: (*server).find, codes: []wallet.Code{wallet.UnknownTenant}, absent: true, past: true,
	}
}

func reversalsOperation() operation {
	text := &huma.Schema{Type: huma.TypeString}
	return operation{
		id: "list-reversals", method: "GET", path: "/v1/wallet/transactions/{transaction_id}/reversals", scope: ReadScope,
		summary: "List the reversals of a transfer, capture or transaction", description: "A page of them, oldest first.",
		parameters: []parameter{
			{"limit", "How many at the most.", limitSchema(wallet.MaxEvents, defaultLines)},
			{"cursor", "The next_cursor of the page before.", text},
			{
				"at_least", "A position, as " + PositionHeader + " of an earlier answer has it: the answer reflects it, or is history_behind.",
				&huma.Schema{Type: huma.TypeString, Pattern: positionPattern},
			},
		},
		answer: reversalsAnswer{}, status: 200, past: true, absent: true, codes: []wallet.Code{wallet.UnknownTenant}, do: (*server).reversals,
	}
}

// find shows what a transaction id stands for.
func (s *server) find(q query) (*reply, error) {
	id, err := q.transactionID()
	if err != nil {
		return nil, err
	}
	r := &wallet.FindRequest{Tenant: q.tenant, ID: id}
	if r.AtLeast, err = q.atLeast(); err != nil {
		return nil, err
	}
	content, err := q.parameter("content")
	switch {
	case err != nil:
		return nil, err
	case content == "false" && len(r.AtLeast) > 0:
		return nil, invalidParameter("at_least", errors.New("is about the content, which is not asked for"))
	case content == "false":
		code, err := s.wallet.Decision(q.Context(), q.tenant, id)
		if err != nil {
			return nil, err
		}
		return q.foundReply(id, &wallet.Found{Code: code}, false)
	case content != "" && content != "true":
		return nil, invalidParameter("content", errors.New("must be true or false"))
	}
	found, err := s.o.History.HistoryFind(q.Context(), r)
	if errors.Is(err, wallet.ErrHistoryUnavailable) && len(r.AtLeast) == 0 {
		found.Missing = err
		found.Code, err = s.wallet.Decision(q.Context(), q.tenant, id)
	}
	if err != nil {
		return nil, err
	}
	return q.foundReply(id, &found, true)
}

// transactionID returns the id in the request's path.
func (q query) transactionID() (wallet.TransactionID, error) {
	id, err := wallet.ParseTransactionID(q.PathValue("transaction_id"))
	if err != nil {
		err = invalidParameter("transaction_id", err)
	}
	return id, err
}

// notFound is the problem of an id that was never seen.
func notFound(id wallet.TransactionID) *Problem {
	p := newProblem(http.StatusNotFound, codeTransactionNotFound, "no transfer or transaction with this transaction_id was decided: one that is under way may still be")
	p.TransactionID = id.String()
	return p
}

// foundReply is the answer with what was found, with its content if that is wanted.
func (q query) foundReply(id wallet.TransactionID, f *wallet.Found, content bool) (*reply, error) {
	answer := foundAnswer{ID: transactionID(id.String()), Status: "refused", Code: f.Code.String()}
	switch f.Code { //nolint:exhaustive // the other codes are refusals
	case wallet.Undecided:
		return nil, notFound(id)
	case wallet.UnknownTenant:
		return nil, refusal(f.Code)
	case wallet.Applied, wallet.Pending, wallet.Held:
		answer.Status, answer.Code = f.Code.String(), ""
	}
	switch {
	case !content:
		return jsonReply(answer), nil
	case f.Content != nil:
		answer.Content = "whole"
		q.show(&answer, f)
		return historyReply(answer, answer.Reflects), nil
	case f.Missing == nil:
		answer.Content = "none"
	case errors.Is(f.Missing, wallet.ErrHistoryBehind):
		answer.Content, answer.Detail = "behind", reason(f.Missing)
	default:
		answer.Content, answer.Detail = "unavailable", reason(f.Missing)
	}
	return jsonReply(answer), nil
}

// show fills in what was found.
func (q query) show(a *foundAnswer, f *wallet.Found) {
	c := f.Content
	a.Kind, a.Time, a.Reflects = c.Kind.String(), formatTime(c.Time), f.Mark.String()
	a.Position = wallet.HistoryPosition{Partition: f.Partition, Index: c.Index}.String()
	a.Reference, a.Metadata = reference(c.Reference), metadata(c.Metadata)
	if c.Reverses != (wallet.TransactionID{}) {
		a.Reverses = transactionID(c.Reverses.String())
	}
	if c.Hold != (wallet.TransactionID{}) {
		a.Hold = transactionID(c.Hold.String())
	}
	if c.Expires != 0 {
		a.Expires = formatTime(int64(c.Expires) * 1e6)
	}
	if len(c.Postings) > 0 {
		a.Postings = newPostings(c.Postings, q.currency)
	}
	switch c.Kind {
	case wallet.TransferContent, wallet.CaptureContent:
		from, to := &c.Postings[0], &c.Postings[1]
		a.From, a.To, a.Amount, a.Currency = accountID(from.Account), accountID(to.Account), amount(to.Amount.Format(to.Currency)), q.currency(to.Currency)
	case wallet.HoldContent, wallet.ReleaseContent:
		a.From, a.To, a.Amount, a.Currency = accountID(c.Account), accountID(c.Payee), amount(c.Amount.Format(c.Currency)), q.currency(c.Currency)
	case wallet.ExtensionContent:
		a.From = accountID(c.Account)
	case wallet.NoContent, wallet.TransactionContent, wallet.ReversalContent:
	}
	if back, known := f.ReversedLegs(); known && f.Original(wallet.TransactionID{}) != nil {
		a.Reversed = extent(c.Legs(), back)
		if a.Amount != "" {
			a.ReversedAmount = amount(ReversedAmount(back).Format(c.Postings[1].Currency))
		}
		a.ReversedPostings = newPostings(back, q.currency)
	}
}

// extent says whether all of what was moved was taken back.
func extent(legs, back []wallet.Posting) string {
	if len(back) == 0 {
		return "none"
	}
	left := 0
	for _, l := range legs {
		for _, b := range back {
			if l.Account == b.Account && l.Currency == b.Currency {
				l.Amount += b.Amount
			}
		}
		if l.Amount != 0 {
			left++
		}
	}
	if left > 0 {
		return "part"
	}
	return "whole"
}

// ReversedAmount returns how much of a transfer the postings of a reversal take back.
func ReversedAmount(back []wallet.Posting) (a money.Amount) {
	for _, p := range back {
		a = max(a, p.Amount)
	}
	return a
}

// reversals lists what took something back.
func (s *server) reversals(q query) (*reply, error) {
	id, err := q.transactionID()
	if err != nil {
		return nil, err
	}
	r := &wallet.ReversalsRequest{Tenant: q.tenant, ID: id}
	if r.Limit, err = q.limit(wallet.MaxEvents, defaultLines); err != nil {
		return nil, err
	}
	if r.After, err = after(q, "cursor", parseCursor); err != nil {
		return nil, err
	}
	if r.AtLeast, err = q.atLeast(); err != nil {
		return nil, err
	}
	page, code, err := s.o.History.HistoryReversals(q.Context(), r)
	if err == nil && code == wallet.Undecided {
		return nil, notFound(id)
	}
	if err = decidedAs(code, err); err != nil {
		return nil, err
	}
	answer := reversalsAnswer{
		Reversals: make([]pastTransaction, len(page.Transactions)), Next: formatCursor(page.Next), Position: page.Mark.String(), At: formatTime(page.Mark.Time),
	}
	for i := range page.Transactions {
		if answer.Reversals[i], err = q.newPast(&page.Transactions[i]); err != nil {
			return nil, err
		}
	}
	return historyReply(answer, answer.Position), nil
}

// errSayWhat is what a reversal is told that has only an id, where the history does not help.
var errSayWhat = errors.New("say in the request what is to be reversed, with transfer, capture or transaction")

// original finds what is to be reversed by its id.
func (s *server) original(q query, id wallet.TransactionID) (*wallet.Original, error) {
	found, err := s.o.History.HistoryFind(q.Context(), &wallet.FindRequest{Tenant: q.tenant, ID: id})
	switch {
	case err == nil && found.Code == wallet.UnknownTenant:
		return nil, refusal(found.Code)
	case err == nil && found.Code == wallet.Undecided:
		return nil, notFound(id)
	case err == nil && found.Missing != nil:
		err = found.Missing
	}
	if err != nil {
		if errors.Is(err, wallet.ErrHistoryUnavailable) || errors.Is(err, wallet.ErrHistoryBehind) {
			err = fmt.Errorf("%w; %w", err, errSayWhat)
		}
		return nil, err
	}
	o := found.Original(id)
	if o == nil || found.Code != wallet.Applied { // the machine would remember that under the reversal's id
		return nil, refusal(wallet.NotReversible)
	}
	return o, nil
}

// absentBody says whether a request has no body, and leaves one that it has.
func absentBody(r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength == 0
	}
	in := bufio.NewReaderSize(r.Body, 16)
	_, err := in.Peek(1)
	r.Body = struct {
		io.Reader
		io.Closer
	}{in, r.Body}
	return errors.Is(err, io.EOF)
}
