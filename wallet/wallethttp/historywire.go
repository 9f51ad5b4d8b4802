package wallethttp

import (
	"math/big"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/money"
	"maru.example/wallet"
)

// The answers of the history.

type position string

const positionPattern = `^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$`

// Schema describes a position.
func (position) Schema(huma.Registry) *huma.Schema {
	return stringSchema(positionPattern, "What the answer reflects: of a partition's log, everything up to an entry.", "0:1234")
}

type lineAnswer struct {
	ID                 transactionID `json:"transaction_id"`
	Kind               string        `json:"kind" doc:"debit, credit, or return: what came back of a transfer to another partition that was not done."`
	Time               string        `json:"time" format:"date-time"`
	Amount             amount        `json:"amount" doc:"By how much the balance changed: less than zero, it was debited."`
	Balance            amount        `json:"balance" doc:"After the change."`
	Currency           currency      `json:"currency"`
	Counterparty       accountID     `json:"counterparty,omitempty" doc:"The other side, where its id is known."`
	CounterpartyHandle string        `json:"counterparty_handle,omitempty" pattern:"^[1-9][0-9]*$" doc:"Its handle, where it is known."`
	Position           string        `json:"position" pattern:"^[0-9]+:[0-9]+$" doc:"The entry of the partition's log that changed the balance."`
	Number             uint32        `json:"number" minimum:"0" doc:"Of the event in the entry."`
}

type linesAnswer struct {
	Lines    []lineAnswer `json:"transfers" nullable:"false"`
	Next     string       `json:"next_cursor,omitempty" doc:"Where the next page begins; absent: there is no more yet."`
	Position string       `json:"position" pattern:"^[0-9]+:[0-9]+$" doc:"What the answer reflects: everything up to this entry."`
	At       string       `json:"reflects_time" format:"date-time" doc:"The time of that entry."`
}

type pastBalancesAnswer struct {
	Balances []pastBalanceAnswer `json:"balances" nullable:"false" doc:"By currency; none if the account was not open."`
	Position string              `json:"position" pattern:"^[0-9]+:[0-9]+$" doc:"What the answer reflects: everything up to this entry."`
	At       string              `json:"reflects_time" format:"date-time" doc:"The time of that entry: what happened later is not in the balances."`
}

type pastBalanceAnswer struct {
	Currency currency `json:"currency"`
	Balance  amount   `json:"balance"`
}

type statementAnswer struct {
	Currency currency     `json:"currency"`
	Opening  amount       `json:"opening_balance" doc:"Before the first line of the period."`
	Lines    []lineAnswer `json:"lines" nullable:"false" doc:"Oldest first, a page of them."`
	Closing  amount       `json:"closing_balance" doc:"After the last line of the period, of all pages."`
	Complete bool         `json:"complete" doc:"Nothing can happen in the period any more."`
	Next     string       `json:"next_cursor,omitempty" doc:"Where the next page begins; absent: there is no more yet."`
	Position string       `json:"position" pattern:"^[0-9]+:[0-9]+$" doc:"What the answer reflects: everything up to this entry."`
	At       string       `json:"reflects_time" format:"date-time" doc:"The time of that entry."`
}

type rebuildAnswer struct {
	Status string `json:"status" enum:"begun"`
}

type turnoverAnswer struct {
	Currencies []currencyTurnover `json:"currencies" nullable:"false"`
	Position   string             `json:"position" pattern:"^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$" doc:"What the answer reflects: of each partition everything up to this entry."`
}

type currencyTurnover struct {
	Currency currency `json:"currency"`
	Balances uint64   `json:"balances" minimum:"0" doc:"How many accounts hold the currency."`
	Changes  uint64   `json:"changes" minimum:"0" doc:"How many times a balance changed."`
	Sum      sum      `json:"sum" doc:"Of all balances: less than zero by what is in flight between partitions, or was while the partitions were asked."`
	Issued   sum      `json:"issued" doc:"Of the balances below zero, without the sign."`
	Debited  sum      `json:"debited" doc:"Of all that was debited, without the sign, less what came back."`
}

// formatSum returns a sum, or with the sign -1 its opposite.
func formatSum(n wallet.Sum, sign int64, c money.Currency) string {
	v := big.NewInt(int64(n.Hi))
	v.Add(v.Lsh(v, 64), new(big.Int).SetUint64(n.Lo))
	return money.FormatSum(v.Mul(v, big.NewInt(sign)), c)
}

func historyOperations() []operation {
	account := []wallet.Code{wallet.UnknownTenant, wallet.UnknownAccount}
	text := &huma.Schema{Type: huma.TypeString}
	moment := &huma.Schema{Type: huma.TypeString, Format: "date-time"}
	atLeast := parameter{
		"at_least", "A position, as " + PositionHeader + " of an earlier answer has it: the answer reflects it, or is history_behind.",
		&huma.Schema{Type: huma.TypeString, Pattern: positionPattern},
	}
	page := []parameter{
		{"from", "The first moment of the period; without it, the beginning.", moment},
		{"to", "The first moment beyond it; without it, the period has no end.", moment},
		{"currency", "Only this one.", text},
		{"counterparty", "Only with this account on the other side.", text},
		{"direction", "in: what was credited; out: what was debited.", &huma.Schema{Type: huma.TypeString, Enum: []any{"in", "out"}}},
		{"order", "oldest or newest first.", &huma.Schema{Type: huma.TypeString, Enum: []any{"oldest", "newest"}, Default: "oldest"}},
		{"limit", "How many at the most. With filters a page can have less, and more can follow.", &huma.Schema{
			Type: huma.TypeInteger, Minimum: new(1.0), Maximum: new(float64(wallet.MaxHistoryLines)), Default: defaultLines,
		}},
		{"cursor", "The next_cursor of the page before, with the same other parameters.", text},
		atLeast,
	}
	ops := []operation{{
		id: "list-account-transfers", path: "/v1/wallet/accounts/{id}/transfers",
		summary: "List what changed an account's balances", description: "A page of it, by time.",
		parameters: page, answer: linesAnswer{}, codes: account, do: (*server).accountTransfers,
	}, {
		id: "get-past-balances", path: "/v1/wallet/accounts/{id}/balances",
		summary: "Show what an account held at a moment", description: "With all changes at that time or before. A history that may lack some of them yet is waited for, for a second, and is then history_behind.",
		parameters: []parameter{{"at", "The moment; without it, the newest that the history has.", moment}, atLeast},
		answer:     pastBalancesAnswer{}, codes: account, do: (*server).pastBalances,
	}, {
		id: "get-statement", path: "/v1/wallet/accounts/{id}/statement",
		summary: "Make a statement of an account for a period",
		description: "Opening balance, lines and closing balance of one currency, which can be left out if the account has held one only. " +
			"A history that may lack some of the period yet, or, if that has no end, of what was before it, is waited for, for a second, and is then history_behind.",
		parameters: []parameter{page[0], page[1], page[2], page[6], page[7], atLeast},
		answer:     statementAnswer{}, codes: account, do: (*server).statement,
	}, {
		id: "get-turnover", path: "/v1/wallet/turnover",
		summary:    "Add up all transfers",
		parameters: []parameter{atLeast}, answer: turnoverAnswer{}, codes: []wallet.Code{wallet.UnknownTenant}, do: (*server).turnover,
	}}
	for i := range ops {
		ops[i].method, ops[i].scope = "GET", ReadScope
	}
	ops = append(ops, operation{
		id: "rebuild-history", method: "POST", path: "/v1/wallet/history/rebuild", scope: AdminScope,
		summary: "Let this node make its history anew", description: "Of the log, while everything goes on. Until it is done, answers reflect the past.",
		answer: rebuildAnswer{}, do: (*server).rebuild,
	})
	for i := range ops {
		ops[i].status, ops[i].past = 200, true
	}
	return ops
}
