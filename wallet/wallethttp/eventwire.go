package wallethttp

import (
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// eventAnswer is what an event says: of a debit, credit or return what lineAnswer says.
type eventAnswer struct {
	Account            accountID      `json:"account,omitempty"`
	ID                 transactionID  `json:"transaction_id,omitempty"`
	Kind               string         `json:"kind"`
	Time               string         `json:"time"`
	Amount             amount         `json:"amount,omitempty"`
	Balance            amount         `json:"balance,omitempty"`
	Currency           currency       `json:"currency,omitempty"`
	Counterparty       accountID      `json:"counterparty,omitempty"`
	CounterpartyHandle string         `json:"counterparty_handle,omitempty"`
	Hold               transactionID  `json:"hold_id,omitempty"`
	Held               amount         `json:"held,omitempty"`
	Available          amount         `json:"available,omitempty"`
	Left               amount         `json:"left,omitempty"`
	Expires            string         `json:"expires_at,omitempty"`
	Payee              accountID      `json:"payee,omitempty"`
	Min                amount         `json:"min_balance,omitempty"`
	Daily              *dailyAnswered `json:"daily_limit,omitempty"`
	Status             string         `json:"status,omitempty"`
	Name               string         `json:"name,omitempty"`
	Reference          string         `json:"reference,omitempty"`
	Metadata           metadata       `json:"metadata,omitempty"`
	Postings           []postingBody  `json:"postings,omitempty"`
	Reverses           transactionID  `json:"reverses,omitempty"`
	Position           string         `json:"position"`
	Number             uint32         `json:"number"`
}

// dailyAnswered is a limit of the day; without both there is none.
type dailyAnswered struct {
	Amount amount `json:"amount,omitempty"`
	Count  uint32 `json:"count,omitempty"`
}

// newEvent returns what is told of an event.
func (q query) newEvent(partition uint16, e *wallet.PastEvent) *eventAnswer {
	return newEventAnswer(partition, e, q.currency)
}

// newEventAnswer returns what is told of an event, with names of currencies.
func newEventAnswer(partition uint16, e *wallet.PastEvent, name func(money.Currency) currency) *eventAnswer {
	a := &eventAnswer{
		Account: accountID(e.AccountID), Kind: e.Kind.String(), Time: formatTime(e.Time), Counterparty: accountID(e.OtherID),
		Position: wallet.HistoryPosition{Partition: partition, Index: e.Index}.String(), Number: e.Number,
	}
	if e.ID != (wallet.TransactionID{}) {
		a.ID = transactionID(e.ID.String())
	}
	if e.Other != 0 {
		a.CounterpartyHandle = formatHandle(e.Other)
	}
	if e.Currency != 0 {
		a.Currency = name(e.Currency)
	}
	format := func(v money.Amount) amount { return amount(v.Format(e.Currency)) }
	switch e.Kind {
	case wallet.Debit, wallet.Credit, wallet.Return:
		a.Amount, a.Balance = format(e.Amount), format(e.Balance)
	case wallet.HoldPlaced, wallet.HoldCaptured, wallet.HoldReleased, wallet.HoldExtended, wallet.HoldExpired, wallet.HoldRestored:
		a.Amount, a.Balance, a.Held, a.Left, a.Available = format(e.Amount), format(e.Balance), format(e.Held), format(e.Left), format(e.Balance-e.Held)
		a.Hold, a.Expires, a.Payee = transactionID(e.Hold.String()), formatTime(int64(e.Expires)*int64(time.Millisecond)), accountID(e.Name)
	case wallet.AccountOpened, wallet.CurrencyAdded, wallet.LimitChanged:
		if e.Min != wallet.Unlimited {
			a.Min = format(e.Min)
		}
	case wallet.DailyLimitSet:
		a.Daily = &dailyAnswered{Count: e.Daily.Count}
		if e.Daily.Amount != 0 {
			a.Daily.Amount = format(e.Daily.Amount)
		}
	case wallet.StatusChanged:
		a.Status = e.Status.String()
	case wallet.AssetMade:
		a.Name = e.Name
	case wallet.TransactionMade:
		if t, ok := wallet.ParseTransaction(e.Content); ok {
			a.Postings, a.Reference, a.Metadata = newPostings(t.Postings, name), t.Reference, metadata(t.Metadata)
			if t.Reverses != nil {
				a.Reverses = transactionID(t.Reverses.ID.String())
			}
		}
	case wallet.NoEvent, wallet.TenantMade, wallet.TransferFailed:
	}
	return a
}

// newPostings returns how postings are shown.
func newPostings(ps []wallet.Posting, name func(money.Currency) currency) []postingBody {
	out := make([]postingBody, len(ps))
	for i := range ps {
		out[i] = postingBody{accountID(ps[i].Account), amount(ps[i].Amount.Format(ps[i].Currency)), name(ps[i].Currency)}
	}
	return out
}

// line returns what is told of a change of a balance.
func (a *eventAnswer) line() *lineAnswer {
	return &lineAnswer{
		ID: a.ID, Kind: a.Kind, Time: a.Time, Amount: a.Amount, Balance: a.Balance, Currency: a.Currency,
		Counterparty: a.Counterparty, CounterpartyHandle: a.CounterpartyHandle, Position: a.Position, Number: a.Number,
	}
}
