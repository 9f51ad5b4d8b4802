package wallethttp

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// openAccount opens an account, or finds that it was opened with the same content.
func (s *server) openAccount(q query) (*reply, error) {
	var a wallet.NewAccount
	if err := q.readBody(MaxBodyBytes, func(d *decoder) { a = d.account() }); err != nil {
		return nil, err
	}
	*q.about = a.ID
	opened, err := s.wallet.OpenAccount(q.Context(), q.tenant, a)
	if err != nil {
		return nil, err
	}
	answer, err := s.changed(q, a.ID, opened.Code)
	if err == nil && !opened.Before {
		answer.status, answer.location = http.StatusCreated, accountPath(a.ID)
	}
	return answer, err
}

func (s *server) account(q query) (*reply, error) {
	id, err := q.account()
	if err != nil {
		return nil, err
	}
	consistency, err := q.parameter("consistency")
	switch {
	case err != nil:
		return nil, err
	case consistency == "stale":
		return s.staleAccount(q, id)
	case consistency != "" && consistency != "linearizable":
		return nil, invalidParameter("consistency", errors.New("must be linearizable or stale"))
	}
	return s.changed(q, id, wallet.Applied)
}

// staleAccount answers with the account as this node knows it.
func (s *server) staleAccount(q query, id wallet.AccountID) (*reply, error) {
	a, code, age, err := s.wallet.AccountStale(q.Context(), q.tenant, id)
	if err != nil {
		return nil, err
	}
	if code != wallet.Applied {
		return nil, refusal(code)
	}
	answer := q.accountAnswer(&a)
	ms := int64((age + time.Millisecond - 1) / time.Millisecond) // never younger than it is
	answer.AgeMS = &ms
	return jsonReply(answer), nil
}

func (s *server) addCurrency(q query) (*reply, error) {
	id, err := q.account()
	if err != nil {
		return nil, err
	}
	var c money.Currency
	var smallest money.Amount
	if err := q.readBody(MaxBodyBytes, func(d *decoder) { c, smallest = d.currency() }); err != nil {
		return nil, err
	}
	code, err := s.wallet.AddCurrency(q.Context(), q.tenant, id, c, smallest)
	if err != nil {
		return nil, err
	}
	return s.changed(q, id, code)
}

func (s *server) setLimit(q query) (*reply, error) {
	id, err := q.account()
	if err != nil {
		return nil, err
	}
	c, err := q.parseCurrency(q.PathValue("currency"))
	if errors.Is(err, money.ErrUnknownCurrency) {
		return nil, invalidParameter("currency", err)
	}
	if err != nil {
		return nil, err
	}
	var smallest money.Amount
	err = q.readBody(MaxBodyBytes, func(d *decoder) {
		var text string
		if d.object([]member{{name: "min_balance", value: &text}}) {
			smallest = d.limit(text, c)
		}
	})
	if err != nil {
		return nil, err
	}
	code, err := s.wallet.SetLimit(q.Context(), q.tenant, id, c, smallest)
	if err != nil {
		return nil, err
	}
	return s.changed(q, id, code)
}

// setStatus returns the operation that sets a status.
func setStatus(to wallet.Status) func(*server, query) (*reply, error) {
	return func(s *server, q query) (*reply, error) {
		id, err := q.account()
		if err != nil {
			return nil, err
		}
		code, err := s.wallet.SetStatus(q.Context(), q.tenant, id, to)
		if err != nil {
			return nil, err
		}
		return s.changed(q, id, code)
	}
}

// account returns the account that the path names.
func (q query) account() (wallet.AccountID, error) {
	id := wallet.AccountID(q.PathValue("id"))
	if err := id.Validate(); err != nil {
		return "", invalidParameter("id", err)
	}
	*q.about = id
	return id, nil
}

// changed answers a command with the account as it is now, or refuses with the
// command's code.
func (s *server) changed(q query, id wallet.AccountID, code wallet.Code) (*reply, error) {
	if code != wallet.Applied {
		return nil, refusal(code)
	}
	a, code, err := s.wallet.Account(q.Context(), q.tenant, id)
	if err != nil {
		return nil, err
	}
	if code != wallet.Applied {
		return nil, refusal(code)
	}
	return jsonReply(q.accountAnswer(&a)), nil
}

// accountAnswer returns the answer that shows an account.
func (q query) accountAnswer(a *wallet.Account) *accountAnswer {
	answer := &accountAnswer{
		ID: accountID(a.ID), Handle: formatHandle(a.Handle), Status: a.Status.String(),
		OpenedAt: formatTime(a.OpenedAt),
	}
	for _, b := range a.Balances {
		answer.Balances = append(answer.Balances, balanceAnswer{
			Currency:  q.currency(b.Currency),
			Balance:   amount(b.Amount.Format(b.Currency)),
			Held:      amount(b.Held.Format(b.Currency)),
			Available: amount(b.Available().Format(b.Currency)),
			Min:       limit(formatLimit(b.Min, b.Currency)),
			Daily:     newDailyAnswer(b.Daily, b.Currency),
		})
	}
	return answer
}

// accountPath returns the path of an account.
func accountPath(id wallet.AccountID) string {
	return "/v1/wallet/accounts/" + url.PathEscape(string(id))
}
