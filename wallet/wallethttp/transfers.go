package wallethttp

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"maru.example/rsm"
	"maru.example/wallet"
)

// defaultInFlight is how many transfers under way are listed by default.
const defaultInFlight = 100

// balanceTransfer is the operation that matters: one transfer.
func (s *server) balanceTransfer(q query) (*reply, error) {
	var t wallet.Transfer
	var notes wallet.Notes
	var by wallet.Protocol
	if err := q.readBody(MaxTransferBytes, func(d *decoder) { t, notes, by = d.transfer() }); err != nil {
		return nil, err
	}
	*q.about = t.From
	if !notes.Empty() {
		made, code := t.Noted(notes)
		if code != wallet.Applied {
			return decidedReply(t.ID, wallet.Result(code))
		}
		return s.transact(q, by, made)
	}
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
	var ts transferList
	var by wallet.Protocol
	if err := q.readBody(MaxBatchBytes, func(d *decoder) { ts, by = d.transfers() }); err != nil {
		return nil, err
	}
	results, err := s.transferAll(q, by, ts)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(results, func(r wallet.Result) bool { return r.Code() == wallet.UnknownTenant }) { // and so all
		return nil, refusal(wallet.UnknownTenant)
	}
	body := append(make([]byte, 0, 16+128*len(results)), `{"results":[`...)
	for i, result := range results {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendResult(body, ts.transfers[i].ID, result)
	}
	return &reply{status: http.StatusOK, body: append(body, "]}"...)}, nil
}

// transferList is several transfers, some of which may have notes.
type transferList struct {
	transfers []wallet.Transfer
	notes     []wallet.Notes // of each; nil if none has any
}

// noted says whether a transfer has notes.
func (l *transferList) noted(i int) bool { return l.notes != nil && !l.notes[i].Empty() }

// transferAll makes transfers one after the other, in runs of plain ones and of those with
// notes. Where one run fails and another did not, the outcome of all is unknown.
func (s *server) transferAll(q query, by wallet.Protocol, l transferList) ([]wallet.Result, error) {
	if l.notes == nil {
		return s.wallet.TransfersBy(q.Context(), q.tenant, by, l.transfers)
	}
	results := make([]wallet.Result, 0, len(l.transfers))
	for i, next := 0, 0; i < len(l.transfers); i = next {
		for next = i + 1; next < len(l.transfers) && l.noted(next) == l.noted(i); next++ {
		}
		var run []wallet.Result
		var err error
		if l.noted(i) {
			run, err = s.transferNoted(q, by, l.transfers[i:next], l.notes[i:next])
		} else {
			run, err = s.wallet.TransfersBy(q.Context(), q.tenant, by, l.transfers[i:next])
		}
		if err != nil && i > 0 {
			err = fmt.Errorf("%w: %w", rsm.ErrUnknown, err)
		}
		if err != nil {
			return nil, err
		}
		results = append(results, run...)
	}
	return results, nil
}

// transferNoted makes transfers with notes.
func (s *server) transferNoted(q query, by wallet.Protocol, ts []wallet.Transfer, notes []wallet.Notes) ([]wallet.Result, error) {
	results := make([]wallet.Result, len(ts))
	var made []*wallet.Transaction
	var places []int
	for i := range ts {
		t, code := ts[i].Noted(notes[i])
		if code != wallet.Applied {
			results[i] = wallet.Result(code)
			continue
		}
		made, places = append(made, t), append(places, i)
	}
	if len(made) == 0 {
		return results, nil
	}
	decided, err := s.wallet.TransactionsBy(q.Context(), q.tenant, by, made)
	for k, i := range places[:len(decided)] {
		results[i] = decided[k]
	}
	return results, err
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
