package wallethttp

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// HistoryLines returns a page of an account's lines; of a line without its account. The
// request's tenant is not looked at: a client has its own.
func (c *Client) HistoryLines(ctx context.Context, r *wallet.HistoryRequest) (wallet.LinePage, wallet.Code, error) {
	var answer linesAnswer
	code, err := c.history(ctx, r, "/transfers", lineParameters(r), &answer)
	if err != nil || code != wallet.Applied {
		return wallet.LinePage{}, code, err
	}
	page, err := c.readPage(ctx, answer.Lines, answer.Next, answer.Position, answer.At)
	return page, code, err
}

// HistoryBalances returns what an account held at a time; [math.MaxInt64] is now.
func (c *Client) HistoryBalances(ctx context.Context, r *wallet.HistoryRequest) (wallet.PastBalances, wallet.Code, error) {
	var answer pastBalancesAnswer
	p := pageParameters(0, "", r.AtLeast)
	if r.At != math.MaxInt64 {
		p.Set("at", formatTime(r.At))
	}
	code, err := c.history(ctx, r, "/balances", p, &answer)
	if err != nil || code != wallet.Applied {
		return wallet.PastBalances{}, code, err
	}
	past := wallet.PastBalances{}
	if past.Mark, err = readMark(answer.Position, answer.At); err != nil {
		return past, code, err
	}
	for _, b := range answer.Balances {
		of, amounts, err := c.readAmounts(ctx, b.Currency, b.Balance)
		if err != nil {
			return past, code, err
		}
		past.Balances = append(past.Balances, wallet.PastBalance{Currency: of, Amount: amounts[0]})
	}
	return past, code, nil
}

// HistoryStatement returns a page of a statement. Without a currency it is of the only one that the account has held.
func (c *Client) HistoryStatement(ctx context.Context, r *wallet.HistoryRequest) (wallet.Statement, wallet.Code, error) {
	var answer statementAnswer
	p := lineParameters(r)
	for _, filter := range []string{"counterparty", "direction", "order"} {
		p.Del(filter)
	}
	code, err := c.history(ctx, r, "/statement", p, &answer)
	if err != nil || code != wallet.Applied {
		return wallet.Statement{}, code, err
	}
	st := wallet.Statement{Complete: answer.Complete}
	of, amounts, err := c.readAmounts(ctx, answer.Currency, answer.Opening, answer.Closing)
	if err != nil {
		return st, code, err
	}
	st.Currency, st.Opening, st.Closing = of, amounts[0], amounts[1]
	st.LinePage, err = c.readPage(ctx, answer.Lines, answer.Next, answer.Position, answer.At)
	return st, code, err
}

// HistoryTotals returns what all transfers of the client's tenant add up to.
func (c *Client) HistoryTotals(ctx context.Context, _ wallet.Tenant, atLeast wallet.HistoryPositions) ([]wallet.CurrencyTurnover, wallet.HistoryPositions, wallet.Code, error) {
	p := pageParameters(0, "", atLeast)
	var answer turnoverAnswer
	code, err := decided(c.do(ctx, &call{http.MethodGet, "/v1/wallet/turnover?" + p.Encode(), nil, &answer}))
	if err != nil || code != wallet.Applied {
		return nil, nil, code, err
	}
	reflects, err := wallet.ParseHistoryPositions(answer.Position)
	if err != nil {
		return nil, nil, code, fmt.Errorf("the server's answer: %w", err)
	}
	var all []wallet.CurrencyTurnover
	for _, t := range answer.Currencies {
		of, err := c.ParseCurrency(ctx, string(t.Currency))
		if err != nil {
			return nil, nil, code, fmt.Errorf("the server's answer: %w", err)
		}
		one := wallet.CurrencyTurnover{Currency: of, Balances: t.Balances, Lines: t.Changes}
		for _, s := range []struct {
			text sum
			sign int64
			to   *wallet.Sum
		}{{t.Sum, 1, &one.Sum}, {t.Issued, -1, &one.Issued}, {t.Debited, -1, &one.Debited}} {
			n, ok := parseSum(string(s.text), of)
			if !ok {
				return nil, nil, code, fmt.Errorf("the server's answer: %q is no sum of %v", s.text, of)
			}
			n.Mul(n, big.NewInt(s.sign))
			*s.to = wallet.Sum{Hi: new(big.Int).Rsh(n, 64).Uint64(), Lo: new(big.Int).And(n, new(big.Int).SetUint64(math.MaxUint64)).Uint64()}
			if n.Sign() < 0 {
				s.to.Hi = uint64(new(big.Int).Rsh(n, 64).Int64())
			}
		}
		all = append(all, one)
	}
	return all, reflects, code, nil
}

// RebuildHistory lets a node make its history anew.
func (c *Client) RebuildHistory(ctx context.Context) error {
	return c.do(ctx, &call{http.MethodPost, "/v1/wallet/history/rebuild", nil, nil})
}

// history asks for an account's past.
func (c *Client) history(ctx context.Context, r *wallet.HistoryRequest, below string, p url.Values, answer any) (wallet.Code, error) {
	if err := r.Account.Validate(); err != nil {
		return 0, err
	}
	return decided(c.do(ctx, &call{http.MethodGet, accountPath(r.Account) + below + "?" + p.Encode(), nil, answer}))
}

// pageParameters returns the parameters that say which page is wanted, and what it has to reflect: of both only what is given.
func pageParameters(limit int, cursor string, atLeast wallet.HistoryPositions) url.Values {
	p := url.Values{}
	if limit > 0 {
		p.Set("limit", strconv.Itoa(limit))
	}
	if cursor != "" {
		p.Set("cursor", cursor)
	}
	if len(atLeast) > 0 {
		p.Set("at_least", atLeast.String())
	}
	return p
}

// lineParameters returns the parameters that say which lines are wanted.
func lineParameters(r *wallet.HistoryRequest) url.Values {
	q := &r.Lines
	p := pageParameters(q.Limit, formatCursor(q.After), r.AtLeast)
	set := func(name, value string, given bool) {
		if given {
			p.Set(name, value)
		}
	}
	set("from", formatTime(q.From), q.From > 0)
	set("to", formatTime(q.To), q.To > 0)
	set("currency", q.Currency.String(), q.Currency != 0)
	set("counterparty", string(r.Counterparty), r.Counterparty != "")
	set("direction", map[bool]string{true: "out", false: "in"}[q.Direction == wallet.Outgoing], q.Direction != wallet.AnyDirection)
	set("order", "newest", q.Newest)
	return p
}

func readMark(at, moment string) (wallet.HistoryMark, error) {
	ps, err := wallet.ParseHistoryPositions(at)
	t, err2 := time.Parse(time.RFC3339Nano, moment)
	if err != nil || err2 != nil || len(ps) != 1 {
		return wallet.HistoryMark{}, fmt.Errorf("the server's answer reflects %q, %q", at, moment)
	}
	return wallet.HistoryMark{HistoryPosition: ps[0], Time: t.UnixNano()}, nil
}

func (c *Client) readPage(ctx context.Context, lines []lineAnswer, next, at, moment string) (page wallet.LinePage, err error) {
	if page.Mark, err = readMark(at, moment); err != nil {
		return page, err
	}
	if page.Next, err = parseCursor(next); err != nil {
		return page, fmt.Errorf("the server's answer: %w", err)
	}
	for i := range lines {
		l, err := c.parseLine(ctx, &lines[i])
		if err != nil {
			return page, fmt.Errorf("the server's answer: line %d: %w", i, err)
		}
		page.Lines = append(page.Lines, l)
	}
	return page, nil
}

// parseLine returns the line that an answer shows.
func (c *Client) parseLine(ctx context.Context, a *lineAnswer) (l wallet.Line, err error) {
	mark, err := readMark(a.Position, a.Time)
	if err != nil {
		return l, err
	}
	l.LineKey = wallet.LineKey{Time: mark.Time, Index: mark.Index, Number: a.Number}
	switch a.Kind {
	case wallet.Debit.String():
		l.Kind = wallet.Debit
	case wallet.Credit.String():
		l.Kind = wallet.Credit
	case wallet.Return.String():
		l.Kind = wallet.Return
	default: // of a newer server
	}
	if l.ID, err = wallet.ParseTransactionID(string(a.ID)); err != nil {
		return l, err
	}
	of, amounts, err := c.readAmounts(ctx, a.Currency, a.Amount, a.Balance)
	if err != nil {
		return l, err
	}
	l.Currency, l.Amount, l.Balance, l.OtherAccount = of, amounts[0], amounts[1], wallet.AccountID(a.Counterparty)
	if a.CounterpartyHandle != "" {
		n, err := strconv.ParseUint(a.CounterpartyHandle, 10, 64)
		if err != nil {
			return l, err
		}
		l.Other = wallet.Handle(n)
	}
	return l, nil
}

func (c *Client) readAmounts(ctx context.Context, code currency, texts ...amount) (money.Currency, []money.Amount, error) {
	of, err := c.ParseCurrency(ctx, string(code))
	if err != nil {
		return 0, nil, err
	}
	amounts := make([]money.Amount, len(texts))
	for i, text := range texts {
		if amounts[i], err = money.ParseAmount(string(text), of); err != nil {
			return 0, nil, err
		}
	}
	return of, amounts, nil
}
