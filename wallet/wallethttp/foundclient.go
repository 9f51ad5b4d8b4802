package wallethttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// missing is why an answer has no content.
type missing struct {
	of   error
	text string
}

func (m *missing) Error() string { return m.text }
func (m *missing) Unwrap() error { return m.of }

// HistoryFind returns what was decided for a transaction id of the client's tenant, and
// what it was: see [wallet.Service.HistoryFind].
func (c *Client) HistoryFind(ctx context.Context, r *wallet.FindRequest) (found wallet.Found, err error) {
	path := "/v1/wallet/transactions/" + r.ID.String()
	if len(r.AtLeast) > 0 {
		path += "?" + url.Values{"at_least": {r.AtLeast.String()}}.Encode()
	}
	var a foundAnswer
	err = c.do(ctx, &call{http.MethodGet, path, nil, &a})
	if p, ok := errors.AsType[*Problem](err); ok && p.Code == codeTransactionNotFound {
		return found, nil
	}
	if found.Code, err = decided(err); err != nil || found.Code != wallet.Applied {
		return found, err
	}
	if found.Code, err = statusCode(a.Status, a.Code); err != nil {
		return found, err
	}
	switch a.Content {
	case "whole":
		if err = c.parseFound(ctx, &a, &found); err != nil {
			err = fmt.Errorf("the server's answer: %w", err)
		}
	case "none":
	case "behind":
		found.Missing = &missing{wallet.ErrHistoryBehind, a.Detail}
	case "unavailable":
		found.Missing = &missing{wallet.ErrHistoryUnavailable, a.Detail}
	default:
		found.Missing = &missing{wallet.ErrHistoryUnavailable, "the server says only what was decided: it is of an older version"}
	}
	return found, err
}

func (c *Client) parseFound(ctx context.Context, a *foundAnswer, found *wallet.Found) (err error) {
	kind, ok := wallet.ParseContentKind(a.Kind)
	if !ok || kind == wallet.NoContent {
		return fmt.Errorf("a content of kind %q, which this program does not know", a.Kind)
	}
	at, err := readMark(a.Position, a.Time)
	if err != nil {
		return err
	}
	ps, err := wallet.ParseHistoryPositions(a.Reflects)
	if err != nil {
		return err
	}
	found.Partition, found.Mark.HistoryPosition = at.Partition, ps[0]
	v := &wallet.Content{
		Kind: kind, LineKey: wallet.LineKey{Time: at.Time, Index: at.Index}, Reference: string(a.Reference), Metadata: wallet.Metadata(a.Metadata),
	}
	if kind == wallet.HoldContent || kind == wallet.ReleaseContent || kind == wallet.ExtensionContent {
		v.Account, v.Payee = wallet.AccountID(a.From), wallet.AccountID(a.To)
	}
	if v.Postings, err = c.parsePostings(ctx, a.Postings); err != nil {
		return err
	}
	for text, id := range map[transactionID]*wallet.TransactionID{a.Reverses: &v.Reverses, a.Hold: &v.Hold} {
		if text == "" {
			continue
		}
		if *id, err = wallet.ParseTransactionID(string(text)); err != nil {
			return err
		}
	}
	if a.Expires != "" {
		expires, err := time.Parse(time.RFC3339Nano, a.Expires)
		if err != nil {
			return err
		}
		v.Expires = wallet.Millis(expires.UnixMilli())
	}
	if a.Amount != "" && len(v.Postings) == 0 {
		of, amounts, err := c.readAmounts(ctx, a.Currency, a.Amount)
		if err != nil {
			return err
		}
		v.Currency, v.Amount = of, amounts[0]
	}
	found.Content = v
	if a.Reversed == "" {
		return nil
	}
	back, err := c.parsePostings(ctx, a.ReversedPostings)
	found.Reversed = byLeg(v.Legs(), back)
	return err
}

// byLeg returns how much of each leg the postings of a reversal take back.
func byLeg(legs, back []wallet.Posting) []money.Amount {
	amounts := []money.Amount{}
	if len(back) == 0 {
		return amounts
	}
	for _, l := range legs {
		a := money.Amount(0)
		for _, b := range back {
			if l.Account == b.Account && l.Currency == b.Currency {
				a = max(b.Amount, -b.Amount)
			}
		}
		amounts = append(amounts, a)
	}
	return amounts
}

func (c *Client) parsePostings(ctx context.Context, ps []postingBody) (all []wallet.Posting, err error) {
	for _, v := range ps {
		of, amounts, err := c.readAmounts(ctx, v.Currency, v.Amount)
		if err != nil {
			return nil, err
		}
		all = append(all, wallet.Posting{Account: wallet.AccountID(v.Account), Amount: amounts[0], Currency: of})
	}
	return all, nil
}

// HistoryReversals returns a page of the reversals of a transfer or transaction of the
// client's tenant. Of what they reverse only the id is known, which is the request's.
func (c *Client) HistoryReversals(ctx context.Context, r *wallet.ReversalsRequest) (page wallet.TransactionPage, code wallet.Code, err error) {
	p := pageParameters(r.Limit, formatCursor(r.After), r.AtLeast)
	var a reversalsAnswer
	err = c.do(ctx, &call{http.MethodGet, strings.TrimSuffix("/v1/wallet/transactions/"+r.ID.String()+"/reversals?"+p.Encode(), "?"), nil, &a})
	if p, ok := errors.AsType[*Problem](err); ok && p.Code == codeTransactionNotFound {
		return page, wallet.Undecided, nil
	}
	if code, err = decided(err); err != nil || code != wallet.Applied {
		return page, code, err
	}
	if page.Mark, err = readMark(a.Position, a.At); err == nil {
		page.Next, err = parseCursor(a.Next)
	}
	page.Transactions, err = c.parsePasts(ctx, a.Reversals, err)
	return page, code, err
}
