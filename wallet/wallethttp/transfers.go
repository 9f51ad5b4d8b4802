package wallethttp

import (
	"fmt"
	"net/http"
	"strconv"

	"maru.example/wallet"
)

// defaultInFlight is how many transfers under way are listed by default.
const defaultInFlight = 100

// balanceTransfer is the operation that matters: one transfer.
func (s *server) balanceTransfer(q query) (*reply, error) {
	var t wallet.Transfer
	var by wallet.Protocol
	if err := q.readBody(MaxBodyBytes, func(d *decoder) { t, by = d.transfer() }); err != nil {
		return nil, err
	}
	*q.about = t.From
	result, err := s.wallet.TransferBy(q.Context(), q.tenant, by, t)
	if err != nil {
		p := failure(err)
		p.TransactionID = t.ID.String()
		return nil, p
	}
	return decidedReply(t.ID, result)
}

// decidedReply is the answer to a transfer or transaction.
func decidedReply(id wallet.TransactionID, result wallet.Result) (*reply, error) {
	body := make([]byte, 0, 96)
	switch result.Code() { //nolint:exhaustive // the other codes are refusals
	case wallet.Applied:
		body = append(id.Append(append(body, `{"status":"success","transaction_id":"`...)), `"}`...)
		return &reply{status: http.StatusOK, body: body, replayed: result.Repeated()}, nil
	case wallet.Pending:
		body = append(id.Append(append(body, `{"status":"pending","transaction_id":"`...)), `"}`...)
		return &reply{status: http.StatusAccepted, body: body, location: "/v1/wallet/transfers/" + id.String()}, nil
	}
	return nil, refusedTransfer(id, result)
}

func (s *server) balanceTransfers(q query) (*reply, error) {
	var ts []wallet.Transfer
	var by wallet.Protocol
	if err := q.readBody(MaxBatchBytes, func(d *decoder) { ts, by = d.transfers() }); err != nil {
		return nil, err
	}
	results, err := s.wallet.TransfersBy(q.Context(), q.tenant, by, ts)
	if err != nil {
		return nil, err
	}
	if results[0].Code() == wallet.UnknownTenant { // and so all
		return nil, refusal(wallet.UnknownTenant)
	}
	body := append(make([]byte, 0, 16+128*len(ts)), `{"results":[`...)
	for i, result := range results {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendResult(body, ts[i].ID, result)
	}
	return &reply{status: http.StatusOK, body: append(body, "]}"...)}, nil
}

// appendResult appends a transferResult.
func appendResult(dst []byte, id wallet.TransactionID, result wallet.Result) []byte {
	dst = id.Append(append(dst, `{"transaction_id":"`...))
	switch code := result.Code(); code { //nolint:exhaustive // the other codes are refusals
	case wallet.Applied:
		dst = append(dst, `","status":"success"`...)
	case wallet.Pending:
		return append(dst, `","status":"pending"}`...)
	default:
		dst = append(append(dst, `","status":"refused","code":"`...), code.String()...)
		dst = append(dst, '"')
	}
	if result.Repeated() {
		dst = append(dst, `,"replayed":true`...)
	}
	return append(dst, '}')
}

// inFlight lists transfers under way.
func (s *server) inFlight(q query) (*reply, error) {
	limit, err := q.limit(wallet.MaxInFlightListed, defaultInFlight)
	if err != nil {
		return nil, err
	}
	list, err := s.wallet.InFlight(q.Context(), q.tenant, limit)
	if err != nil {
		return nil, err
	}
	answer := inFlightAnswer{Transfers: make([]inFlightTransfer, len(list.Transfers)), More: list.More, Stale: list.Stale}
	for i, f := range list.Transfers {
		answer.Transfers[i] = inFlightTransfer{
			ID: transactionID(f.ID.String()), From: accountID(f.From), To: accountID(f.ToAccount), ToHandle: formatHandle(f.To), Legs: f.Legs,
			Amount: amount(f.Amount.Format(f.Currency)), Currency: q.currency(f.Currency),
			Protocol: f.Protocol.String(), Phase: f.Phase.String(), BeganAt: formatTime(f.BeganAt),
		}
	}
	return jsonReply(answer), nil
}

// limit returns how many of a list a request asks for.
func (q query) limit(most, usual int) (int, error) {
	text, err := q.parameter("limit")
	if err != nil || text == "" {
		return usual, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, invalidParameter("limit", fmt.Errorf("must be a number from 1 to %d", most))
	}
	return n, nil
}
