package wallethttp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"maru.example/rsm"
	"maru.example/wallet"
)

// PositionHeader is on answers to writes, with the positions at which they were
// committed, and on answers that the history gave, with what they reflect. Given as at_least to a
// request about the history it makes sure that the answer reflects it.
const PositionHeader = "Maru-Position"

// defaultLines is how many lines a page has unless the request says so.
const defaultLines = 100

// History is what the handler needs of a wallet's history: [wallet.Service] is one, and
// describes the methods.
type History interface {
	Past
	HistoryEvents(ctx context.Context, r *wallet.EventsRequest) (wallet.EventPage, wallet.Code, error)
}

// Past is the part of a History that a [Client] is as well.
type Past interface {
	HistoryLines(ctx context.Context, r *wallet.HistoryRequest) (wallet.LinePage, wallet.Code, error)
	HistoryBalances(ctx context.Context, r *wallet.HistoryRequest) (wallet.PastBalances, wallet.Code, error)
	HistoryStatement(ctx context.Context, r *wallet.HistoryRequest) (wallet.Statement, wallet.Code, error)
	HistoryTotals(ctx context.Context, tenant wallet.Tenant, atLeast wallet.HistoryPositions) ([]wallet.CurrencyTurnover, wallet.HistoryPositions, wallet.Code, error)
	HistoryTransactions(ctx context.Context, r *wallet.ReferenceRequest) (wallet.ReferencePage, wallet.Code, error)
	HistoryFind(ctx context.Context, r *wallet.FindRequest) (wallet.Found, error)
	HistoryReversals(ctx context.Context, r *wallet.ReversalsRequest) (wallet.TransactionPage, wallet.Code, error)
}

// noHistory is the history of a wallet that keeps none.
type noHistory struct{}

var errNoHistory = fmt.Errorf("%w: the server keeps none", wallet.ErrHistoryUnavailable)

func (noHistory) HistoryLines(context.Context, *wallet.HistoryRequest) (wallet.LinePage, wallet.Code, error) {
	return wallet.LinePage{}, 0, errNoHistory
}

func (noHistory) HistoryBalances(context.Context, *wallet.HistoryRequest) (wallet.PastBalances, wallet.Code, error) {
	return wallet.PastBalances{}, 0, errNoHistory
}

func (noHistory) HistoryStatement(context.Context, *wallet.HistoryRequest) (wallet.Statement, wallet.Code, error) {
	return wallet.Statement{}, 0, errNoHistory
}

func (noHistory) HistoryTotals(context.Context, wallet.Tenant, wallet.HistoryPositions) ([]wallet.CurrencyTurnover, wallet.HistoryPositions, wallet.Code, error) {
	return nil, nil, 0, errNoHistory
}

func (noHistory) HistoryTransactions(context.Context, *wallet.ReferenceRequest) (wallet.ReferencePage, wallet.Code, error) {
	return wallet.ReferencePage{}, 0, errNoHistory
}

func (noHistory) HistoryFind(context.Context, *wallet.FindRequest) (wallet.Found, error) {
	return wallet.Found{}, errNoHistory
}

func (noHistory) HistoryReversals(context.Context, *wallet.ReversalsRequest) (wallet.TransactionPage, wallet.Code, error) {
	return wallet.TransactionPage{}, 0, errNoHistory
}

func (noHistory) HistoryEvents(context.Context, *wallet.EventsRequest) (wallet.EventPage, wallet.Code, error) {
	return wallet.EventPage{}, 0, errNoHistory
}

// accountTransfers lists what changed an account's balances.
func (s *server) accountTransfers(q query) (*reply, error) {
	r, err := q.historyRequest()
	if err != nil {
		return nil, err
	}
	page, code, err := s.o.History.HistoryLines(q.Context(), r)
	if err = decidedAs(code, err); err != nil {
		return nil, err
	}
	answer := linesAnswer{Lines: q.newLines(page.Lines), Next: formatCursor(page.Next)}
	answer.Position, answer.At = page.Mark.String(), formatTime(page.Mark.Time)
	return historyReply(answer, answer.Position), nil
}

// pastBalances shows what an account held at a time.
func (s *server) pastBalances(q query) (*reply, error) {
	r, err := q.historyRequest()
	if err != nil {
		return nil, err
	}
	if r.At, err = q.time("at", math.MaxInt64); err != nil {
		return nil, err
	}
	past, code, err := s.o.History.HistoryBalances(q.Context(), r)
	if err = decidedAs(code, err); err != nil {
		return nil, err
	}
	answer := pastBalancesAnswer{Balances: make([]pastBalanceAnswer, len(past.Balances)), Position: past.Mark.String(), At: formatTime(past.Mark.Time)}
	for i, b := range past.Balances {
		answer.Balances[i] = pastBalanceAnswer{q.currency(b.Currency), amount(b.Amount.Format(b.Currency))}
	}
	return historyReply(answer, answer.Position), nil
}

// statement shows a period of an account in one currency.
func (s *server) statement(q query) (*reply, error) {
	r, err := q.historyRequest()
	if err != nil {
		return nil, err
	}
	if r.Lines.Currency == 0 {
		if err := s.onlyCurrency(q.Context(), r); err != nil {
			return nil, err
		}
	}
	st, code, err := s.o.History.HistoryStatement(q.Context(), r)
	if err = decidedAs(code, err); err != nil {
		return nil, err
	}
	of := r.Lines.Currency
	answer := statementAnswer{
		Currency: q.currency(of), Opening: amount(st.Opening.Format(of)), Closing: amount(st.Closing.Format(of)), Complete: st.Complete,
		Lines: q.newLines(st.Lines), Next: formatCursor(st.Next), Position: st.Mark.String(), At: formatTime(st.Mark.Time),
	}
	return historyReply(answer, answer.Position), nil
}

// onlyCurrency fills in the currency of an account that has held one only.
func (s *server) onlyCurrency(ctx context.Context, r *wallet.HistoryRequest) error {
	now := *r
	now.At = math.MaxInt64
	past, code, err := s.o.History.HistoryBalances(ctx, &now)
	if err = decidedAs(code, err); err != nil {
		return err
	}
	if len(past.Balances) == 0 { // yet: the history may not have come to its first one
		now.At--
		past, code, err = s.o.History.HistoryBalances(ctx, &now)
		if err = decidedAs(code, err); err != nil {
			return err
		}
	}
	if len(past.Balances) != 1 {
		return invalidParameter("currency", fmt.Errorf("must be there: the account has held %d currencies", len(past.Balances)))
	}
	r.Lines.Currency = past.Balances[0].Currency
	return nil
}

// turnover shows what all transfers of the tenant add up to.
func (s *server) turnover(q query) (*reply, error) {
	atLeast, err := q.atLeast()
	if err != nil {
		return nil, err
	}
	all, reflects, code, err := s.o.History.HistoryTotals(q.Context(), q.tenant, atLeast)
	if err = decidedAs(code, err); err != nil {
		return nil, err
	}
	answer := turnoverAnswer{Position: reflects.String(), Currencies: make([]currencyTurnover, len(all))}
	for i, t := range all {
		format := func(n wallet.Sum, sign int64) sum { return sum(formatSum(n, sign, t.Currency)) }
		answer.Currencies[i] = currencyTurnover{
			Currency: q.currency(t.Currency), Balances: t.Balances, Changes: t.Lines,
			Sum: format(t.Sum, 1), Issued: format(t.Issued, -1), Debited: format(t.Debited, -1),
		}
	}
	return historyReply(answer, answer.Position), nil
}

// rebuild lets the node make its history anew.
func (s *server) rebuild(q query) (*reply, error) {
	if err := s.o.Rebuild(q.Context()); err != nil {
		return nil, err
	}
	return jsonReply(rebuildAnswer{"begun"}), nil
}

// decidedAs returns the problem of a code that is not Applied.
func decidedAs(code wallet.Code, err error) error {
	if err == nil && code != wallet.Applied {
		err = refusal(code)
	}
	return err
}

func historyReply(v any, position string) *reply {
	r := jsonReply(v)
	r.position = position
	return r
}

func (q query) newLines(lines []wallet.Line) []lineAnswer {
	answers := make([]lineAnswer, len(lines))
	for i := range lines {
		answers[i] = q.newLine(&lines[i])
	}
	return answers
}

func (q query) newLine(l *wallet.Line) lineAnswer {
	a := lineAnswer{
		ID: transactionID(l.ID.String()), Kind: l.Kind.String(), Time: formatTime(l.Time), Counterparty: accountID(l.OtherAccount),
		Amount: amount(l.Amount.Format(l.Currency)), Balance: amount(l.Balance.Format(l.Currency)), Currency: q.currency(l.Currency),
		Position: wallet.HistoryPosition{Partition: l.Account.Partition(), Index: l.Index}.String(), Number: l.Number,
	}
	if l.Other != 0 {
		a.CounterpartyHandle = formatHandle(l.Other)
	}
	return a
}

// historyRequest reads what requests about an account's history have in common.
func (q query) historyRequest() (*wallet.HistoryRequest, error) {
	id, err := q.account()
	if err != nil {
		return nil, err
	}
	r := &wallet.HistoryRequest{Tenant: q.tenant, Account: id}
	for _, read := range []func(*wallet.HistoryRequest) error{q.readPeriod, q.readFilters, q.readPage} {
		if err := read(r); err != nil {
			return nil, err
		}
	}
	r.AtLeast, err = q.atLeast()
	return r, err
}

func (q query) readPeriod(r *wallet.HistoryRequest) (err error) {
	if r.Lines.From, err = q.time("from", 0); err != nil {
		return err
	}
	if r.Lines.To, err = q.time("to", 0); err != nil {
		return err
	}
	if r.Lines.To != 0 && r.Lines.To < r.Lines.From {
		return invalidParameter("to", errors.New("must not be before from"))
	}
	return nil
}

func (q query) readFilters(r *wallet.HistoryRequest) error {
	code, err := q.parameter("currency")
	if err == nil && code != "" {
		if r.Lines.Currency, err = q.parseCurrency(code); err != nil {
			err = invalidParameter("currency", err)
		}
	}
	if err != nil {
		return err
	}
	other, err := q.parameter("counterparty")
	if err != nil {
		return err
	}
	if r.Counterparty = wallet.AccountID(other); other != "" {
		if err := r.Counterparty.Validate(); err != nil {
			return invalidParameter("counterparty", err)
		}
	}
	direction, err := q.parameter("direction")
	switch {
	case err != nil:
		return err
	case direction == "in":
		r.Lines.Direction = wallet.Incoming
	case direction == "out":
		r.Lines.Direction = wallet.Outgoing
	case direction != "":
		return invalidParameter("direction", errors.New("must be in or out"))
	}
	return nil
}

func (q query) readPage(r *wallet.HistoryRequest) (err error) {
	if r.Lines.Limit, err = q.limit(wallet.MaxHistoryLines, defaultLines); err != nil {
		return err
	}
	if r.Lines.After, err = after(q, "cursor", parseCursor); err != nil {
		return err
	}
	order, err := q.parameter("order")
	if err == nil && order != "" && order != "oldest" && order != "newest" {
		err = invalidParameter("order", errors.New("must be oldest or newest"))
	}
	r.Lines.Newest = order == "newest"
	return err
}

// after returns where a page begins: by a parameter that has what the page before said.
func after[T any](q query, name string, parse func(string) (T, error)) (at T, err error) {
	text, err := q.parameter(name)
	if err != nil {
		return at, err
	}
	if at, err = parse(text); err != nil {
		return at, invalidParameter(name, err)
	}
	return at, nil
}

// atLeast returns the positions that an answer has to reflect.
func (q query) atLeast() (wallet.HistoryPositions, error) {
	text, err := q.parameter("at_least")
	if err != nil || text == "" {
		return nil, err
	}
	ps, err := wallet.ParseHistoryPositions(text)
	if err != nil {
		return nil, invalidParameter("at_least", err)
	}
	return ps, nil
}

// time returns a moment that a parameter gives, in nanoseconds since 1970 UTC.
func (q query) time(name string, absent int64) (int64, error) {
	text, err := q.parameter(name)
	if err != nil || text == "" {
		return absent, err
	}
	// A plus sign that was not escaped is a space in a query.
	t, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "+", 1))
	if err != nil || t.Unix() < 0 || t.Year() > 2261 {
		return 0, invalidParameter(name, errors.New("must be a time of RFC 3339 from 1970 to 2261, such as 2026-01-31T00:00:00Z"))
	}
	return t.UnixNano(), nil
}

// formatCursor returns where a page goes on, "" if there is no more.
func formatCursor(k wallet.LineKey) string {
	if k == (wallet.LineKey{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", k.Time, k.Index, k.Number)
}

var errCursor = errors.New("must be the next_cursor of an answer")

func parseCursor(s string) (wallet.LineKey, error) {
	if s == "" {
		return wallet.LineKey{}, nil
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return wallet.LineKey{}, errCursor
	}
	at, err := strconv.ParseInt(parts[0], 10, 64)
	index, err2 := strconv.ParseUint(parts[1], 10, 64)
	number, err3 := strconv.ParseUint(parts[2], 10, 32)
	if errors.Join(err, err2, err3) != nil || at < 0 {
		return wallet.LineKey{}, errCursor
	}
	return wallet.LineKey{Time: at, Index: rsm.Index(index), Number: uint32(number)}, nil
}
