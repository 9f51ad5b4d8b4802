package wallethttp

import (
	"encoding/json"
	"strconv"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// The bodies of requests and answers. The document is made from them, and the
// client writes and reads them.

type transferRequest struct {
	From      accountID     `json:"from_account" doc:"The paying account."`
	To        accountID     `json:"to_account" doc:"The account that is paid." example:"merchant:7"`
	Amount    amount        `json:"amount" doc:"More than zero, with at most the decimal places that the currency has."`
	Currency  currency      `json:"currency"`
	ID        transactionID `json:"transaction_id" doc:"Chosen by the client, new for every transfer: repeated with the same content it gives the first answer again and moves nothing. It belongs to the partition of the paying account: with payers in two partitions the same id is two transfers."`
	Reference reference     `json:"reference,omitempty"`
	Metadata  metadata      `json:"metadata,omitempty"`
	Protocol  protocol      `json:"protocol,omitempty" doc:"How the money gets to an account of another partition; the cluster's by default. It has no effect within a partition. The first of several transfers with one transaction_id decides."`
}

// transferItem is one of several transfers: the document's library does not see
// into a part that the two would share.
type transferItem struct {
	From      accountID     `json:"from_account" doc:"The paying account."`
	To        accountID     `json:"to_account" doc:"The account that is paid." example:"merchant:7"`
	Amount    amount        `json:"amount" doc:"More than zero, with at most the decimal places that the currency has."`
	Currency  currency      `json:"currency"`
	ID        transactionID `json:"transaction_id" doc:"Chosen by the client, new for every transfer. It belongs to the partition of the paying account: with payers in two partitions the same id is two transfers."`
	Reference reference     `json:"reference,omitempty"`
	Metadata  metadata      `json:"metadata,omitempty"`
}

type transfersRequest struct {
	Transfers []transferItem `json:"transfers" minItems:"1" maxItems:"1000" nullable:"false" doc:"Decided one after the other, each by itself."`
	Protocol  protocol       `json:"protocol,omitempty" doc:"Of all of them: how money gets to accounts of other partitions; the cluster's by default."`
}

type accountRequest struct {
	ID       accountID `json:"id" doc:"Unique within the tenant."`
	Currency currency  `json:"currency" doc:"The first currency that it holds."`
	Min      *limit    `json:"min_balance,omitempty" doc:"Its smallest balance, 0 by default."`
}

type currencyRequest struct {
	Currency currency `json:"currency" doc:"The currency that it shall hold too."`
	Min      *limit   `json:"min_balance,omitempty" doc:"The smallest balance, 0 by default."`
}

type limitRequest struct {
	Min limit `json:"min_balance"`
}

type tenantRequest struct {
	Name tenantName `json:"name"`
}

type transferAnswer struct {
	Status string        `json:"status" enum:"success,pending" doc:"The transfer is done and durable; or, with the status 202, durable and under way between two partitions."`
	ID     transactionID `json:"transaction_id"`
}

type transfersAnswer struct {
	Results []transferResult `json:"results" nullable:"false" doc:"One for each transfer, in the same order."`
}

type transferResult struct {
	ID       transactionID `json:"transaction_id"`
	Status   string        `json:"status" enum:"success,refused,pending"`
	Code     string        `json:"code,omitempty" doc:"Why it was refused."`
	Replayed bool          `json:"replayed,omitempty" doc:"It had been decided before; nothing moved this time."`
}

type accountAnswer struct {
	ID       accountID       `json:"id"`
	Handle   string          `json:"handle" pattern:"^[1-9][0-9]*$" doc:"What stands for the account in the batch stream."`
	Status   string          `json:"status" enum:"open,frozen,closed"`
	OpenedAt string          `json:"opened_at" format:"date-time"`
	Balances []balanceAnswer `json:"balances" nullable:"false" doc:"In the order in which the currencies were added."`
	AgeMS    *int64          `json:"age_ms,omitempty" minimum:"0" doc:"With consistency=stale: changes that were answered more milliseconds ago than this are in it."`
}

type inFlightAnswer struct {
	Transfers []inFlightTransfer `json:"transfers" nullable:"false" doc:"By partition, the oldest first."`
	More      bool               `json:"more" doc:"There are others, beyond the limit."`
	Stale     bool               `json:"stale" doc:"Some partition has no leader: of it this is what the node knows, which may be old."`
}

type inFlightTransfer struct {
	ID       transactionID `json:"transaction_id"`
	From     accountID     `json:"from_account,omitempty" doc:"The paying account; not of a transaction."`
	To       accountID     `json:"to_account,omitempty" doc:"The account that is paid, of a transaction the first of the partition's, unless the node does not know its id."`
	ToHandle string        `json:"to_handle" pattern:"^[1-9][0-9]*$" doc:"Its handle, always."`
	Legs     int           `json:"legs,omitempty" minimum:"1" doc:"How many legs of a transaction are in the partition."`
	Amount   amount        `json:"amount" doc:"Of a leg of a transaction it is negative if the account is debited."`
	Currency currency      `json:"currency"`
	Protocol string        `json:"protocol" enum:"tcc,saga,2pc"`
	Phase    string        `json:"phase" enum:"trying,preparing,crediting,confirming,canceling,waiting" doc:"In confirming and canceling it is decided; the receiving side has to be told. In waiting, others of a transaction have to agree first."`
	BeganAt  string        `json:"began_at" format:"date-time"`
}

type balanceAnswer struct {
	Currency  currency     `json:"currency"`
	Balance   amount       `json:"balance"`
	Held      amount       `json:"held" doc:"Reserved by holds."`
	Available amount       `json:"available" doc:"The balance less what is held."`
	Min       limit        `json:"min_balance"`
	Daily     *dailyAnswer `json:"daily_limit,omitempty" doc:"What may leave the account on one day, if that is limited."`
}

type totalsAnswer struct {
	Settled bool          `json:"settled" doc:"No balance changed while they were added up: only then do the sums describe one moment."`
	Totals  []totalAnswer `json:"totals" nullable:"false"`
}

type totalAnswer struct {
	Currency currency `json:"currency"`
	Balances int      `json:"balances" minimum:"0" doc:"How many accounts hold the currency."`
	Sum      sum      `json:"sum" doc:"Of all balances: with in_flight zero."`
	Issued   sum      `json:"issued" doc:"Of the balances below zero, without the sign: the money that is in circulation."`
	InFlight sum      `json:"in_flight" doc:"On the way between partitions: in no balance."`
}

type tenantsAnswer struct {
	Tenants []tenantName `json:"tenants" nullable:"false" doc:"In the order in which they were made."`
}

type tenantAnswer struct {
	Name tenantName `json:"name"`
}

type assetRequest struct {
	Name   assetName `json:"name"`
	Digits int       `json:"digits" minimum:"0" maximum:"15" doc:"Its decimal places, which never change." example:"4"`
}

type assetAnswer struct {
	Name     assetName `json:"name"`
	Digits   int       `json:"digits" minimum:"0" maximum:"15" doc:"Its decimal places."`
	Currency currency  `json:"currency" doc:"Another name of it, which says what it is without asking."`
	Number   int       `json:"number" minimum:"32768" maximum:"65535" doc:"What stands for it in the batch stream."`
}

type assetsAnswer struct {
	Assets []assetAnswer `json:"assets" nullable:"false" doc:"In the order in which they were made."`
}

// unlimited is how wallet.Unlimited is written.
const unlimited = "unlimited"

// parseLimit reads a smallest balance.
func parseLimit(s string, c money.Currency) (money.Amount, error) {
	if s == unlimited {
		return wallet.Unlimited, nil
	}
	a, err := money.ParseAmount(s, c)
	if err == nil && a == wallet.Unlimited {
		err = money.ErrOverflow // it stands for no limit, which nobody meant who wrote it down
	}
	return a, err
}

func formatLimit(a money.Amount, c money.Currency) string {
	if a == wallet.Unlimited {
		return unlimited
	}
	return a.Format(c)
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string is always encoded
			}
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// formatTime returns a time of the machine, in nanoseconds since 1970 UTC.
func formatTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

func formatHandle(h wallet.Handle) string { return strconv.FormatUint(uint64(h), 10) }
