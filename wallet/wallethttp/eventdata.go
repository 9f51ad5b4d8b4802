package wallethttp

import (
	"context"
	"encoding/json"

	"maru.example/money"
	"maru.example/wallet"
)

// Names is what names accounts and currencies: [wallet.Service] is one.
type Names interface {
	AccountNames(ctx context.Context, tenant wallet.Tenant, handles ...wallet.Handle) (map[wallet.Handle]wallet.AccountID, error)
	CurrencyName(ctx context.Context, tenant wallet.Tenant, c money.Currency) string
}

// crossedAnswer is what a message says of a threshold that was crossed.
type crossedAnswer struct {
	Side   thresholdSide `json:"side"`
	Amount amount        `json:"amount"`
	Before amount        `json:"balance_before"`
}

// messageAnswer is what a message says of an event: what a stream of events says, and of
// a refusal, which is in none, its code.
type messageAnswer struct {
	*eventAnswer
	Code      string         `json:"code,omitempty"`
	Threshold *crossedAnswer `json:"threshold,omitempty"`
}

// EventData returns what a message of a webhook says of an event: what a stream of events says.
// The other side of a transfer has its name if it can be had now.
func EventData(ctx context.Context, names Names, tenant wallet.Tenant, m *wallet.WebhookMessage) (json.RawMessage, error) {
	e := wallet.PastEvent{LineKey: wallet.LineKey{Time: m.Time, Index: m.Index, Number: m.Number}, Event: m.Event}
	known, err := names.AccountNames(ctx, tenant, e.Account, e.Other)
	if err != nil {
		return nil, err
	}
	e.AccountID, e.OtherID = known[e.Account], known[e.Other]
	if e.Account == 0 && wallet.NamesAccount(e.Kind) {
		e.AccountID = wallet.AccountID(e.Name)
	}
	a := messageAnswer{eventAnswer: newEventAnswer(m.Partition, &e, func(c money.Currency) currency {
		return currency(names.CurrencyName(ctx, tenant, c))
	})}
	if e.Kind == wallet.TransferFailed {
		a.Code = e.Code.String()
	}
	if t := m.Threshold; t != nil {
		a.Threshold = &crossedAnswer{sideOf(t), amount(t.Amount.Format(t.Currency)), amount((e.Balance - e.Amount).Format(e.Currency))}
	}
	return json.Marshal(a)
}
