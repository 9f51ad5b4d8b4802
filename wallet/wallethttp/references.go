package wallethttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/wallet"
)

type pastTransaction struct {
	ID        transactionID `json:"transaction_id"`
	Status    string        `json:"status" enum:"applied,pending,refused" doc:"What has become of it: a pending one is under way between partitions, and refused is one that was and was not done."`
	Code      string        `json:"code,omitempty" doc:"Why it was not done."`
	Time      string        `json:"time" format:"date-time" doc:"When it was decided, or begun."`
	Postings  []postingBody `json:"postings" nullable:"false"`
	Reference reference     `json:"reference"`
	Metadata  metadata      `json:"metadata,omitempty"`
	Reverses  transactionID `json:"reverses,omitempty" doc:"What it takes back."`
	Position  string        `json:"position" pattern:"^[0-9]+:[0-9]+$" doc:"The entry of the log of the partition that decided it."`
}

type pastTransactions struct {
	Transactions []pastTransaction `json:"transactions" nullable:"false"`
	Next         string            `json:"next_cursor,omitempty" doc:"Where the next page begins; absent: there is no more yet."`
	Position     position          `json:"position"`
}

func referenceOperation() operation {
	text := &huma.Schema{Type: huma.TypeString}
	return operation{
		id: "find-transactions", method: "GET", path: "/v1/wallet/transactions", scope: ReadScope,
		summary: "Find transactions by their reference",
		description: "Those of the tenant that were made or begun with it, a page of them, oldest first: several may share one. Refused ones are none. Reversals have " +
			"references of their own. A transfer that was made with a reference is found as the transaction of two postings that carried it.",
		parameters: []parameter{
			{"reference", "That of the transactions, all of it.", text},
			{"limit", "How many at the most.", limitSchema(wallet.MaxEvents, defaultLines)},
			{"cursor", "The next_cursor of the page before, with the same other parameters.", text},
			{
				"at_least", "A position, as " + PositionHeader + " of an earlier answer has it: the answer reflects it, or is history_behind.",
				&huma.Schema{Type: huma.TypeString, Pattern: positionPattern},
			},
		},
		needs: "reference", answer: pastTransactions{}, status: 200, past: true, codes: []wallet.Code{wallet.UnknownTenant}, do: (*server).findTransactions,
	}
}

// findTransactions lists the transactions with a reference.
func (s *server) findTransactions(q query) (*reply, error) {
	r := &wallet.ReferenceRequest{Tenant: q.tenant}
	var err error
	if r.Reference, err = q.parameter("reference"); err != nil {
		return nil, err
	}
	if r.Reference == "" || len(r.Reference) > wallet.MaxReference {
		return nil, invalidParameter("reference", errors.New("must be there, with 1 to 64 bytes"))
	}
	if r.Limit, err = q.limit(wallet.MaxEvents, defaultLines); err != nil {
		return nil, err
	}
	if r.After, err = after(q, "cursor", parseReferenceCursor); err != nil {
		return nil, err
	}
	if r.AtLeast, err = q.atLeast(); err != nil {
		return nil, err
	}
	page, code, err := s.o.History.HistoryTransactions(q.Context(), r)
	if err = decidedAs(code, err); err != nil {
		return nil, err
	}
	answer := pastTransactions{Transactions: make([]pastTransaction, len(page.Transactions)), Next: formatReferenceCursor(page.Next), Position: position(page.Reflects.String())}
	for i := range page.Transactions {
		if answer.Transactions[i], err = q.newPast(&page.Transactions[i]); err != nil {
			return nil, err
		}
	}
	return historyReply(answer, string(answer.Position)), nil
}

// newPast returns how a transaction of the past is shown.
func (q query) newPast(p *wallet.PastTransaction) (a pastTransaction, err error) {
	t, ok := wallet.ParseTransaction(p.Content)
	if !ok {
		return a, fmt.Errorf("the transaction at %d:%d of the history cannot be read", p.Partition, p.Index)
	}
	a = pastTransaction{
		ID: transactionID(t.ID.String()), Status: "refused", Code: p.Code.String(), Time: formatTime(p.Time), Postings: newPostings(t.Postings, q.currency),
		Reference: reference(t.Reference), Metadata: metadata(t.Metadata), Position: wallet.HistoryPosition{Partition: p.Partition, Index: p.Index}.String(),
	}
	if p.Code == wallet.Applied || p.Code == wallet.Pending {
		a.Status, a.Code = p.Code.String(), ""
	}
	if t.Reverses != nil {
		a.Reverses = transactionID(t.Reverses.ID.String())
	}
	return a, nil
}

// formatReferenceCursor returns where a page goes on, "" if there is no more.
func formatReferenceCursor(c wallet.ReferenceCursor) string {
	if c == (wallet.ReferenceCursor{}) {
		return ""
	}
	return strconv.Itoa(int(c.Partition)) + ":" + formatCursor(c.LineKey)
}

func parseReferenceCursor(s string) (c wallet.ReferenceCursor, err error) {
	if s == "" {
		return c, nil
	}
	first, second, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(first, 10, 16)
	if err != nil || second == "" {
		return c, errCursor
	}
	c.Partition = uint16(n)
	c.LineKey, err = parseCursor(second)
	return c, err
}

// HistoryTransactions returns a page of the transactions of the client's tenant with a
// reference. Of what they reverse only the id is known.
func (c *Client) HistoryTransactions(ctx context.Context, r *wallet.ReferenceRequest) (page wallet.ReferencePage, code wallet.Code, err error) {
	p := pageParameters(r.Limit, formatReferenceCursor(r.After), r.AtLeast)
	p.Set("reference", r.Reference)
	var answer pastTransactions
	code, err = decided(c.do(ctx, &call{http.MethodGet, "/v1/wallet/transactions?" + p.Encode(), nil, &answer}))
	if err != nil || code != wallet.Applied {
		return page, code, err
	}
	if page.Reflects, err = wallet.ParseHistoryPositions(string(answer.Position)); err == nil {
		page.Next, err = parseReferenceCursor(answer.Next)
	}
	page.Transactions, err = c.parsePasts(ctx, answer.Transactions, err)
	return page, code, err
}

// parsePasts returns the transactions of an answer of which nothing was wrong before, else says that it was.
func (c *Client) parsePasts(ctx context.Context, of []pastTransaction, err error) ([]wallet.PastTransaction, error) {
	var all []wallet.PastTransaction
	for i := range of {
		var t wallet.PastTransaction
		if err == nil {
			t, err = c.parsePast(ctx, &of[i])
		}
		all = append(all, t)
	}
	if err != nil {
		return all, fmt.Errorf("the server's answer: %w", err)
	}
	return all, nil
}

func (c *Client) parsePast(ctx context.Context, a *pastTransaction) (p wallet.PastTransaction, err error) {
	mark, err := readMark(a.Position, a.Time)
	if err != nil {
		return p, err
	}
	p.Partition, p.LineKey = mark.Partition, wallet.LineKey{Time: mark.Time, Index: mark.Index}
	t := &wallet.Transaction{Reference: string(a.Reference), Metadata: wallet.Metadata(a.Metadata)}
	if t.ID, err = wallet.ParseTransactionID(string(a.ID)); err != nil {
		return p, err
	}
	if p.Code, err = statusCode(a.Status, a.Code); err != nil {
		return p, err
	}
	if t.Postings, err = c.parsePostings(ctx, a.Postings); err != nil {
		return p, err
	}
	if err := t.Validate(); err != nil {
		return p, err
	}
	p.Content = wallet.AppendTransaction(nil, t)
	return p, nil
}
