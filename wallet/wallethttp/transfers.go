package wallethttp

import (
	"net/http"

	"maru.example/wallet"
)

// balanceTransfer is the operation that matters: one transfer.
func (s *server) balanceTransfer(q query) (*reply, error) {
	var t wallet.Transfer
	if err := readBody(q.Request, MaxBodyBytes, func(d *decoder) { t = d.transfer() }); err != nil {
		return nil, err
	}
	result, err := s.wallet.Transfer(q.Context(), q.tenant, t)
	if err != nil {
		p := failure(err)
		p.TransactionID = t.ID.String()
		return nil, p
	}
	if code := result.Code(); code != wallet.Applied {
		p := refusal(code)
		p.TransactionID, p.replayed = t.ID.String(), result.Repeated()
		return nil, p
	}
	body := append(make([]byte, 0, 96), `{"status":"success","transaction_id":"`...)
	return &reply{status: http.StatusOK, body: append(t.ID.Append(body), `"}`...), replayed: result.Repeated()}, nil
}

func (s *server) balanceTransfers(q query) (*reply, error) {
	var ts []wallet.Transfer
	if err := readBody(q.Request, MaxBatchBytes, func(d *decoder) { ts = d.transfers() }); err != nil {
		return nil, err
	}
	results, err := s.wallet.Transfers(q.Context(), q.tenant, ts)
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
	if code := result.Code(); code == wallet.Applied {
		dst = append(dst, `","status":"success"`...)
	} else {
		dst = append(append(dst, `","status":"refused","code":"`...), code.String()...)
		dst = append(dst, '"')
	}
	if result.Repeated() {
		dst = append(dst, `,"replayed":true`...)
	}
	return append(dst, '}')
}

func (s *server) transfer(q query) (*reply, error) {
	id, err := wallet.ParseTransactionID(q.PathValue("transaction_id"))
	if err != nil {
		return nil, invalidParameter("transaction_id", err)
	}
	code, err := s.wallet.Decision(q.Context(), q.tenant, id)
	if err != nil {
		return nil, err
	}
	answer := decisionAnswer{ID: transactionID(id.String()), Status: "refused", Code: code.String()}
	switch code { //nolint:exhaustive // the other codes are refusals
	case wallet.Undecided:
		p := newProblem(http.StatusNotFound, codeTransactionNotFound, "no transfer with this transaction_id was decided: one that is under way may still be")
		p.TransactionID = id.String()
		return nil, p
	case wallet.UnknownTenant:
		return nil, refusal(code)
	case wallet.Applied:
		answer.Status, answer.Code = "applied", ""
	}
	return jsonReply(answer), nil
}
