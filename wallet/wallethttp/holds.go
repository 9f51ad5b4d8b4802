package wallethttp

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/money"
	"maru.example/wallet"
)

// defaultHolds is how many holds are listed by default.
const defaultHolds = 100

func holdOperations() []operation {
	change := []wallet.Code{
		wallet.UnknownTenant, wallet.UnknownHold, wallet.HoldFinished, wallet.HoldMismatch, wallet.IDReused, wallet.LimitReached,
	}
	ops := []operation{{
		id: "place-hold", method: "POST", path: "/v1/wallet/holds",
		summary: "Reserve money of an account",
		description: "Nothing else can be paid with it until it is captured, released or expires: at expires_at, to the millisecond. The same hold again has the " +
			"same answer, whatever became of it since.",
		request: holdRequest{}, do: (*server).placeHold,
		codes: []wallet.Code{
			wallet.UnknownTenant, wallet.UnknownAccount, wallet.AccountFrozen, wallet.AccountClosed, wallet.AccountLocked, wallet.CurrencyNotHeld,
			wallet.InsufficientFunds, wallet.AmountNotPositive, wallet.SameAccount, wallet.Overflow, wallet.IDReused, wallet.LimitReached,
			wallet.ExpiryOutOfRange, wallet.DailyLimitExceeded,
		},
	}, {
		id: "capture-hold", method: "POST", path: "/v1/wallet/holds/{hold_id}/capture", pending: true,
		summary: "Pay out of a hold",
		description: "A transfer of what is held, or a part of it, any number of times until nothing is left. The same capture again has the same answer and moves " +
			"nothing. A capture that is refused, also by another partition, changes nothing.",
		request: captureRequest{}, do: (*server).capture,
		codes: append(change, wallet.UnknownAccount, wallet.AccountFrozen, wallet.AccountClosed, wallet.AccountLocked, wallet.CurrencyNotHeld,
			wallet.AmountNotPositive, wallet.SameAccount, wallet.Overflow, wallet.HoldExceeded, wallet.Canceled, wallet.TooManyInFlight),
	}, {
		id: "release-hold", method: "POST", path: "/v1/wallet/holds/{hold_id}/release",
		summary: "Give back what a hold has left", description: "Or a part of it.",
		request: releaseRequest{}, do: (*server).release, codes: append(change, wallet.HoldExceeded, wallet.AmountNotPositive),
	}, {
		id: "extend-hold", method: "POST", path: "/v1/wallet/holds/{hold_id}/extend",
		summary: "Give a hold another expiry", description: "Later or earlier.",
		request: extendRequest{}, do: (*server).extend, codes: append(change, wallet.ExpiryOutOfRange),
	}, {
		id: "get-hold", method: "GET", path: "/v1/wallet/holds/{hold_id}", scope: ReadScope,
		summary: "Show a hold", description: "Of one that is finished nothing is kept but that it was.",
		answer: holdAnswer{}, do: (*server).hold, codes: []wallet.Code{wallet.UnknownTenant, wallet.UnknownHold, wallet.HoldFinished},
	}, {
		id: "list-holds", method: "GET", path: "/v1/wallet/accounts/{id}/holds", scope: ReadScope,
		summary: "List the open holds of an account", description: "By currency, the oldest first.",
		parameters: []parameter{
			{"limit", "How many at the most.", limitSchema(wallet.MaxHoldsListed, defaultHolds)},
			{"after", "The next of the page before.", &huma.Schema{Type: huma.TypeString}},
		},
		answer: holdsAnswer{}, do: (*server).holds, codes: []wallet.Code{wallet.UnknownTenant, wallet.UnknownAccount}, account: true,
	}}
	for i := range ops {
		ops[i].status = http.StatusOK
		if ops[i].scope == "" {
			ops[i].scope, ops[i].answer, ops[i].replays, ops[i].account = WriteScope, holdChangeAnswer{}, true, true
		}
	}
	return ops
}

type holdRequest struct {
	ID       transactionID `json:"hold_id" doc:"Chosen by the client, new for every hold, as a transaction_id is, from which it has to differ."`
	Account  accountID     `json:"account" doc:"The account whose money is reserved."`
	Payee    accountID     `json:"payee,omitempty" doc:"The only account that it can be paid to; any by default." example:"merchant:7"`
	Amount   amount        `json:"amount" doc:"More than zero, with at most the decimal places that the currency has."`
	Currency currency      `json:"currency"`
	Expires  moment        `json:"expires_at" doc:"Later than now, within 366 days; to the millisecond."`
}

type captureRequest struct {
	From     accountID     `json:"from_account" doc:"The hold's account."`
	To       accountID     `json:"to_account" doc:"The account that is paid." example:"merchant:7"`
	Amount   amount        `json:"amount" doc:"More than zero, and at most what the hold has left."`
	Currency currency      `json:"currency" doc:"The hold's."`
	ID       transactionID `json:"transaction_id" doc:"Chosen by the client, new for every capture: repeated with the same content it gives the first answer again and moves nothing."`
	Final    *flag         `json:"final,omitempty" doc:"What is left then is released; false by default."`
}

type releaseRequest struct {
	Account  accountID     `json:"account" doc:"The hold's account."`
	Currency currency      `json:"currency" doc:"The hold's."`
	Amount   amount        `json:"amount,omitempty" doc:"At most what the hold has left; all of it by default."`
	ID       transactionID `json:"transaction_id" doc:"Chosen by the client, new for every release."`
}

type extendRequest struct {
	Account accountID     `json:"account" doc:"The hold's account."`
	Expires moment        `json:"expires_at" doc:"Later than now, within 366 days; to the millisecond."`
	ID      transactionID `json:"transaction_id" doc:"Chosen by the client, new for every extension."`
}

type dailyRequest struct {
	Amount dailyAmount `json:"amount"`
	Count  dailyCount  `json:"count"`
}

type holdChangeAnswer struct {
	Status string        `json:"status" enum:"held,success,pending" doc:"held: the hold was placed. success: it is done and durable. pending, with the status 202: durable and under way between two partitions."`
	ID     transactionID `json:"transaction_id" doc:"Of the hold that was placed, or of what was done with it."`
}

type holdAnswer struct {
	ID       transactionID `json:"hold_id"`
	Account  accountID     `json:"account"`
	Payee    accountID     `json:"payee,omitempty" doc:"The only account that it can be paid to."`
	Currency currency      `json:"currency"`
	Amount   amount        `json:"amount" doc:"As it was placed."`
	Left     amount        `json:"left" doc:"What it holds now."`
	Captured amount        `json:"captured" doc:"What was paid out of it."`
	InFlight amount        `json:"in_flight" doc:"Captures under way to other partitions."`
	PlacedAt string        `json:"placed_at" format:"date-time"`
	Expires  string        `json:"expires_at" format:"date-time"`
}

type holdsAnswer struct {
	Holds []holdAnswer `json:"holds" nullable:"false" doc:"By currency, the oldest first."`
	Next  string       `json:"next,omitempty" doc:"There are more: the parameter after of the next page."`
}

type dailyAnswer struct {
	Amount     dailyAmount `json:"amount"`
	Count      dailyCount  `json:"count"`
	Spent      amount      `json:"spent" doc:"What counts for today."`
	SpentCount string      `json:"spent_count" pattern:"^[0-9]+$" doc:"How many transfers and holds count for today."`
}

func newDailyAnswer(d wallet.Daily, c money.Currency) *dailyAnswer {
	if d.Limit == (wallet.DailyLimit{}) {
		return nil
	}
	return &dailyAnswer{
		dailyAmount(formatDailyAmount(d.Limit, c)), dailyCount(formatDailyCount(d.Limit)),
		amount(d.Spent.Format(c)), strconv.FormatUint(uint64(d.SpentCount), 10),
	}
}

func formatDailyAmount(l wallet.DailyLimit, c money.Currency) string {
	if l.Amount == 0 {
		return unlimited
	}
	return l.Amount.Format(c)
}

func formatDailyCount(l wallet.DailyLimit) string {
	if l.Count == 0 {
		return unlimited
	}
	return strconv.FormatUint(uint64(l.Count), 10)
}

// parseDaily reads a daily limit.
func parseDaily(text, count string, c money.Currency) (l wallet.DailyLimit, amountErr, countErr error) {
	if text != unlimited {
		l.Amount, amountErr = money.ParseAmount(text, c)
		if amountErr == nil && l.Amount <= 0 {
			amountErr = errors.New("must be more than zero, or unlimited")
		}
	}
	if count != unlimited {
		n, err := strconv.ParseUint(count, 10, 32)
		if l.Count = uint32(n); err != nil || n == 0 || count[0] == '0' || count[0] == '+' {
			countErr = errors.New("must be a number from 1 to 4294967295, or unlimited")
		}
	}
	return l, amountErr, countErr
}

// timeForm is RFC 3339 with milliseconds.
const timeForm = "2006-01-02T15:04:05.000Z07:00"

func formatMillis(m wallet.Millis) string { return time.UnixMilli(int64(m)).UTC().Format(timeForm) }

// parseMillis reads a time of RFC 3339, of which nothing below a millisecond may be given.
func parseMillis(s string) (wallet.Millis, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, errors.New("must be a time of RFC 3339, such as 2026-12-31T23:59:59.999Z")
	}
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		return 0, errors.New("must be a time of RFC 3339 with three decimal places at the most")
	}
	return wallet.Millis(t.UnixMilli()), nil
}

// holdID returns the hold that the path names.
func (q query) holdID() (wallet.TransactionID, error) {
	id, err := wallet.ParseTransactionID(q.PathValue("hold_id"))
	if err != nil {
		return id, invalidParameter("hold_id", err)
	}
	return id, nil
}

func (d *decoder) id(name, text string) wallet.TransactionID {
	id, err := wallet.ParseTransactionID(text)
	d.check(name, err)
	return id
}

func (d *decoder) accountID(name, text string) wallet.AccountID {
	id := wallet.AccountID(text)
	d.check(name, id.Validate())
	return id
}

func (d *decoder) time(name, text string) wallet.Millis {
	at, err := parseMillis(text)
	d.check(name, err)
	return at
}

func (s *server) placeHold(q query) (*reply, error) {
	var h wallet.NewHold
	err := q.readBody(MaxBodyBytes, func(d *decoder) {
		var id, account, payee, amount, code, expires string
		if d.object([]member{
			{name: "hold_id", value: &id},
			{name: "account", value: &account},
			{name: "payee", value: &payee, optional: true},
			{name: "amount", value: &amount},
			{name: "currency", value: &code},
			{name: "expires_at", value: &expires},
		}) {
			h.ID, h.Account, h.Expires = d.id("hold_id", id), d.accountID("account", account), d.time("expires_at", expires)
			if payee != "" {
				h.Payee = d.accountID("payee", payee)
			}
			h.Currency, h.Amount = d.amount(code, amount)
		}
	})
	if err != nil {
		return nil, err
	}
	*q.about = h.Account
	result, err := s.wallet.PlaceHold(q.Context(), q.tenant, h)
	return changedHold(h.ID, result, err)
}

func (s *server) capture(q query) (*reply, error) {
	hold, err := q.holdID()
	if err != nil {
		return nil, err
	}
	c := wallet.Capture{Hold: hold}
	err = q.readBody(MaxBodyBytes, func(d *decoder) {
		c.Transfer = d.transferItem(member{name: "final", flag: &c.Final, optional: true})
	})
	if err != nil {
		return nil, err
	}
	*q.about = c.From
	result, err := s.wallet.Capture(q.Context(), q.tenant, c)
	return changedHold(c.ID, result, err)
}

func (s *server) release(q query) (*reply, error) {
	hold, err := q.holdID()
	if err != nil {
		return nil, err
	}
	r := wallet.Release{Hold: hold}
	err = q.readBody(MaxBodyBytes, func(d *decoder) {
		var id, account, amount, code string
		if d.object([]member{
			{name: "transaction_id", value: &id},
			{name: "account", value: &account},
			{name: "amount", value: &amount, optional: true},
			{name: "currency", value: &code},
		}) {
			r.ID, r.Account = d.id("transaction_id", id), d.accountID("account", account)
			if r.Currency, r.Amount = d.amount(code, orZero(amount)); amount != "" && len(d.errs) == 0 && r.Amount <= 0 {
				d.fail("amount", "must be more than zero: leave it out to release all")
			}
		}
	})
	if err != nil {
		return nil, err
	}
	*q.about = r.Account
	result, err := s.wallet.Release(q.Context(), q.tenant, r)
	return changedHold(r.ID, result, err)
}

func orZero(text string) string {
	if text == "" {
		return "0"
	}
	return text
}

func (s *server) extend(q query) (*reply, error) {
	hold, err := q.holdID()
	if err != nil {
		return nil, err
	}
	e := wallet.Extend{Hold: hold}
	err = q.readBody(MaxBodyBytes, func(d *decoder) {
		var id, account, expires string
		if d.object([]member{{name: "transaction_id", value: &id}, {name: "account", value: &account}, {name: "expires_at", value: &expires}}) {
			e.ID, e.Account, e.Expires = d.id("transaction_id", id), d.accountID("account", account), d.time("expires_at", expires)
		}
	})
	if err != nil {
		return nil, err
	}
	*q.about = e.Account
	result, err := s.wallet.Extend(q.Context(), q.tenant, e)
	return changedHold(e.ID, result, err)
}

// changedHold answers a command about a hold.
func changedHold(id wallet.TransactionID, result wallet.Result, err error) (*reply, error) {
	if err != nil {
		p := failure(err)
		p.TransactionID = id.String()
		return nil, p
	}
	answer := holdChangeAnswer{Status: "success", ID: transactionID(id.String())}
	switch result.Code() { //nolint:exhaustive // the other codes are refusals
	case wallet.Held:
		answer.Status = "held"
	case wallet.Applied:
	case wallet.Pending:
		answer.Status = "pending"
		r := jsonReply(answer)
		r.status, r.location = http.StatusAccepted, "/v1/wallet/transfers/"+id.String()
		return r, nil
	default:
		return nil, refusedTransfer(id, result)
	}
	r := jsonReply(answer)
	r.replayed = result.Repeated()
	return r, nil
}

func (s *server) hold(q query) (*reply, error) {
	id, err := q.holdID()
	if err != nil {
		return nil, err
	}
	h, code, err := s.wallet.Hold(q.Context(), q.tenant, id)
	switch {
	case err != nil:
		return nil, err
	case code != wallet.Applied:
		return nil, refusal(code)
	}
	return jsonReply(q.holdAnswer(&h)), nil
}

func (q query) holdAnswer(h *wallet.Hold) holdAnswer {
	in := func(a money.Amount) amount { return amount(a.Format(h.Currency)) }
	return holdAnswer{
		ID: transactionID(h.ID.String()), Account: accountID(h.Account), Payee: accountID(h.Payee), Currency: q.currency(h.Currency),
		Amount: in(h.Amount), Left: in(h.Left), Captured: in(h.Captured), InFlight: in(h.InFlight),
		PlacedAt: formatTime(h.PlacedAt), Expires: formatMillis(h.Expires),
	}
}

func (s *server) holds(q query) (*reply, error) {
	id, err := q.account()
	if err != nil {
		return nil, err
	}
	limit, err := q.limit(wallet.MaxHoldsListed, defaultHolds)
	if err != nil {
		return nil, err
	}
	from, err := after(q, "after", parseHoldCursor)
	if err != nil {
		return nil, err
	}
	list, code, err := s.wallet.Holds(q.Context(), q.tenant, id, from, limit)
	switch {
	case err != nil:
		return nil, err
	case code != wallet.Applied:
		return nil, refusal(code)
	}
	answer := holdsAnswer{Holds: make([]holdAnswer, len(list.Holds))}
	for i := range list.Holds {
		answer.Holds[i] = q.holdAnswer(&list.Holds[i])
	}
	if list.More {
		answer.Next = formatHoldCursor(list.Next)
	}
	return jsonReply(answer), nil
}

// formatHoldCursor returns a place in a list of holds as it stands in a URL: its parts
// with commas between them.
func formatHoldCursor(c wallet.HoldCursor) string {
	return fmt.Sprintf("%v,%d,%v", c.Currency, c.PlacedAt, c.ID)
}

// parseHoldCursor reads what formatHoldCursor writes; "" is the beginning.
func parseHoldCursor(text string) (c wallet.HoldCursor, err error) {
	if text == "" {
		return c, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) == 3 {
		var failed [3]error
		c.Currency, failed[0] = money.ParseCurrency(parts[0])
		c.PlacedAt, failed[1] = strconv.ParseInt(parts[1], 10, 64)
		c.ID, failed[2] = wallet.ParseTransactionID(parts[2])
		if errors.Join(failed[:]...) == nil {
			return c, nil
		}
	}
	return wallet.HoldCursor{}, errors.New("must be the next of another page")
}

func (s *server) setDaily(q query) (*reply, error) {
	id, err := q.account()
	if err != nil {
		return nil, err
	}
	c, err := q.parseCurrency(q.PathValue("currency"))
	if err != nil {
		return nil, invalidParameter("currency", err)
	}
	var l wallet.DailyLimit
	err = q.readBody(MaxBodyBytes, func(d *decoder) {
		var text, count string
		if d.object([]member{{name: "amount", value: &text}, {name: "count", value: &count}}) {
			var amountErr, countErr error
			l, amountErr, countErr = parseDaily(text, count, c)
			d.check("amount", amountErr)
			d.check("count", countErr)
		}
	})
	if err != nil {
		return nil, err
	}
	code, err := s.wallet.SetDailyLimit(q.Context(), q.tenant, id, c, l)
	if err != nil {
		return nil, err
	}
	return s.changed(q, id, code)
}
