package wallethttp

import (
	"context"
	"encoding/json"

	"maru.example/wallet"
)

// Transact makes a transaction, or with Reverses a reversal. What [Client.Transfer]
// says of outcomes holds for it as well.
func (c *Client) Transact(ctx context.Context, t *wallet.Transaction) (wallet.Result, error) {
	return c.TransactBy(ctx, wallet.NoProtocol, t)
}

// TransactBy is Transact where a transaction with accounts of several partitions is
// made by a protocol: see [wallet.Service.TransactBy].
func (c *Client) TransactBy(ctx context.Context, by wallet.Protocol, t *wallet.Transaction) (wallet.Result, error) {
	if err := t.Validate(); err != nil {
		return 0, err
	}
	path, about := "/v1/wallet/transactions", t.Postings[0].Account
	name := protocol("")
	if by != wallet.NoProtocol {
		name = protocol(by.String())
	}
	var request any = transactionRequest{
		ID: transactionID(t.ID.String()), Postings: bodyOf(t.Postings), Reference: reference(t.Reference), Metadata: metadata(t.Metadata), Protocol: name,
	}
	if o := t.Reverses; o != nil {
		path, about = path+"/"+o.ID.String()+"/reversals", o.Postings[0].Account
		r := reversalRequest{
			ID: transactionID(t.ID.String()), Postings: bodyOf(t.Postings), Reference: reference(t.Reference), Metadata: metadata(t.Metadata), Protocol: name,
		}
		from, to := &o.Postings[0], &o.Postings[1]
		switch {
		case o.Hold != wallet.TransactionID{}:
			r.Capture = &originalCapture{
				Hold: transactionID(o.Hold.String()), From: accountID(from.Account), To: accountID(to.Account), Amount: amount(to.Amount.Format(to.Currency)), Currency: currency(to.Currency.String()),
			}
		case o.Transfer:
			r.Transfer = &originalTransfer{
				From: accountID(from.Account), To: accountID(to.Account), Amount: amount(to.Amount.Format(to.Currency)), Currency: currency(to.Currency.String()),
			}
		default:
			r.Transaction = &originalTransaction{Postings: bodyOf(o.Postings), Reference: reference(o.Reference), Metadata: metadata(o.Metadata)}
		}
		request = r
	}
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	return c.command(ctx, about, path, body)
}

func bodyOf(ps []wallet.Posting) []postingBody {
	out := make([]postingBody, len(ps))
	for i := range ps {
		p := &ps[i]
		out[i] = postingBody{accountID(p.Account), amount(p.Amount.Format(p.Currency)), currency(p.Currency.String())}
	}
	return out
}
