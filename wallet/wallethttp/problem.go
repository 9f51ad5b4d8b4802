package wallethttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"maru.example/rsm"
	"maru.example/wallet"
)

// Codes of problems that are not decisions of the machine.
const (
	codeMalformedJSON       = "malformed_json"
	codeBodyIncomplete      = "body_incomplete"
	codeUnauthenticated     = "unauthenticated"
	codeForbidden           = "forbidden"
	codeTransactionNotFound = "transaction_not_found"
	codeBodyTimeout         = "body_timeout"
	codeBodyTooLarge        = "body_too_large"
	codeUnsupportedType     = "unsupported_media_type"
	codeInvalidRequest      = "invalid_request"
	codeBusy                = "busy"
	codeInternal            = "internal"
	codeLogFailed           = "log_failed"
	codeClosing             = "closing"
	codeDeadlineExceeded    = "deadline_exceeded"
	codeDiskFull            = "disk_full"
	codeNoLeader            = "no_leader"
	codeOutcomeUnknown      = "outcome_unknown"
	codeWrongCluster        = "wrong_cluster"
	codeHistoryUnavailable  = "history_unavailable"
	codeHistoryBehind       = "history_behind"
	codePersonalNotFound    = "personal_not_found"
	codePersonalChanged     = "personal_changed"
	codePersonalDamaged     = "personal_damaged"
	codeErased              = "erased"
	codeStoreUnavailable    = "store_unavailable"
	codeStoreNotShared      = "store_not_shared"
	codeTooManyReaders      = "too_many_event_readers"
	codeStoreUnusable       = "store_unusable"
)

// retryStore is when a client may ask again for what a database that is away has.
const retryStore = time.Second

// Problem is the answer to a request that was refused or failed: problem details
// (RFC 9457) of type about:blank. As an error of [Client] it says everything
// that the server said.
//
// Code is the name of a [wallet.Code], or one of: malformed_json,
// body_incomplete, body_timeout, body_too_large, unsupported_media_type,
// invalid_request (see Errors), unauthenticated, forbidden, not_found,
// method_not_allowed, transaction_not_found, history_unavailable, history_behind, personal_not_found,
// personal_changed, personal_damaged, erased, webhook_not_found,
// dead_letter_not_found, webhook_conflict, webhooks_unavailable, too_many_webhooks, store_not_shared, store_unusable, wrong_cluster, busy, too_many_event_readers, closing, disk_full
// and no_leader (nothing was done), deadline_exceeded, outcome_unknown, log_failed, store_unavailable
// and internal (whether anything was done is unknown: repeat the request, a
// transfer with the same transaction_id, or ask what was decided).
type Problem struct {
	Title         string       `json:"title" doc:"The text of the status."`
	Status        int          `json:"status" doc:"The HTTP status."`
	Code          string       `json:"code" doc:"What programs should look at."`
	Detail        string       `json:"detail" doc:"What happened, for people."`
	TransactionID string       `json:"transaction_id,omitempty" doc:"The transfer that was refused."`
	Errors        []FieldError `json:"errors,omitempty" nullable:"false" doc:"The places of the request that are wrong."`

	// RetryAfter is the header of that name, 0 if there is none.
	RetryAfter time.Duration `json:"-"`

	replayed bool
	cause    error // of an internal error, for the log
}

// FieldError is a place in a request and what is wrong there. One of Pointer and
// Parameter is set.
type FieldError struct {
	Pointer   string `json:"pointer,omitempty" doc:"JSON pointer (RFC 6901) into the body, as a URI fragment."`
	Parameter string `json:"parameter,omitempty" doc:"Name of a path or query parameter, or header."`
	Detail    string `json:"detail" doc:"What is wrong."`
}

// Error returns the code, the detail and the first of the Errors.
func (p *Problem) Error() string {
	text := fmt.Sprintf("%s: %s", p.Code, p.Detail)
	if len(p.Errors) > 0 {
		text += fmt.Sprintf(": %s%s %s", p.Errors[0].Pointer, p.Errors[0].Parameter, p.Errors[0].Detail)
	}
	return text
}

func newProblem(status int, code, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// append appends the problem in JSON.
func (p *Problem) append(dst []byte) []byte {
	dst = appendString(append(dst, `{"title":`...), p.Title)
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(p.Status), 10)
	dst = appendString(append(dst, `,"code":`...), p.Code)
	dst = appendString(append(dst, `,"detail":`...), p.Detail)
	if p.TransactionID != "" {
		dst = appendString(append(dst, `,"transaction_id":`...), p.TransactionID)
	}
	if len(p.Errors) > 0 {
		dst = append(dst, `,"errors":`...)
		for i, e := range p.Errors {
			dst = append(dst, "[,"[min(i, 1)])
			if e.Pointer != "" {
				dst = append(appendString(append(dst, `{"pointer":`...), e.Pointer), ',')
			} else {
				dst = append(appendString(append(dst, `{"parameter":`...), e.Parameter), ',')
			}
			dst = append(appendString(append(dst, `"detail":`...), e.Detail), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// invalid returns the problem of a request with errors in its fields.
func invalid(errs []FieldError) *Problem {
	p := newProblem(http.StatusUnprocessableEntity, codeInvalidRequest, "the request has errors; nothing was done")
	if len(errs) > MaxErrors {
		p.Detail = fmt.Sprintf("the request has %d errors, of which the first %d are listed; nothing was done", len(errs), MaxErrors)
		errs = errs[:MaxErrors]
	}
	p.Errors = errs
	return p
}

// invalidParameter returns the problem of a path or query parameter, or header.
func invalidParameter(name string, err error) *Problem {
	return invalid([]FieldError{{Parameter: name, Detail: reason(err)}})
}

// refusal returns the problem of a decision of the machine. It is called for
// every code but Applied.
func refusal(c wallet.Code) *Problem {
	status, detail := describe(c)
	p := newProblem(status, c.String(), detail)
	if status == http.StatusTooManyRequests {
		p.RetryAfter = time.Second
	}
	return p
}

// refusedTransfer returns the problem of a transfer that was refused.
func refusedTransfer(id wallet.TransactionID, result wallet.Result) *Problem {
	p := refusal(result.Code())
	p.TransactionID, p.replayed = id.String(), result.Repeated()
	if p.replayed && result.Code() == wallet.AccountLocked {
		p.Detail = "an account was locked by another transfer, which is the decision on this one; nothing moved: try again with a new transaction_id"
	}
	return p
}

// describe is the table of the codes: the HTTP status of each, and what it means.
func describe(c wallet.Code) (status int, detail string) {
	switch c {
	case wallet.Applied:
		return http.StatusOK, "done"
	case wallet.UnknownAccount:
		return http.StatusNotFound, "there is no such account"
	case wallet.UnknownTenant:
		return http.StatusNotFound, "there is no such tenant"
	case wallet.AccountFrozen:
		return http.StatusConflict, "an account is frozen"
	case wallet.AccountClosed:
		return http.StatusConflict, "an account is closed"
	case wallet.IDReused:
		return http.StatusConflict, "the transaction_id belongs to a transfer with other content, which its reference and metadata are part of; nothing moved"
	case wallet.AccountExists:
		return http.StatusConflict, "the account was opened with other content"
	case wallet.CurrencyExists:
		return http.StatusConflict, "the account holds the currency with another limit, which PUT changes"
	case wallet.AssetExists:
		return http.StatusConflict, "there is an asset of that name with other decimal places: they never change"
	case wallet.BalanceNotZero:
		return http.StatusConflict, "an account can be closed when all its balances are zero"
	case wallet.LimitReached:
		return http.StatusConflict, "there is no room for one more: a limit of the wallet is reached"
	case wallet.CurrencyNotHeld:
		return http.StatusUnprocessableEntity, "an account does not hold the currency"
	case wallet.InsufficientFunds:
		return http.StatusUnprocessableEntity, "the paying account would go below its smallest balance"
	case wallet.AmountNotPositive:
		return http.StatusUnprocessableEntity, "the amount must be more than zero"
	case wallet.SameAccount:
		return http.StatusUnprocessableEntity, "both sides are the same account"
	case wallet.Overflow:
		return http.StatusUnprocessableEntity, "a balance would be out of range"
	case wallet.Unbalanced:
		return http.StatusUnprocessableEntity, "the postings of a currency do not add up to zero"
	case wallet.NotReversible:
		return http.StatusConflict, "nothing with this transaction_id and content was applied: only that can be reversed, and no reversal"
	case wallet.OverReversed:
		return http.StatusConflict, "all reversals together would take back more than was moved"
	case wallet.Pending:
		return http.StatusAccepted, "the transfer is under way: ask GET /v1/wallet/transfers/{transaction_id}"
	case wallet.AccountLocked:
		return http.StatusConflict, "an account is locked by another transfer that is under way; nothing moved: try again with the same transaction_id, " +
			"or with a new one if this was decided, as GET /v1/wallet/transfers/{transaction_id} tells"
	case wallet.Canceled:
		return http.StatusConflict, "the transfer was given up before the receiving side agreed; nothing moved: try again with a new transaction_id"
	case wallet.UnknownHold:
		return http.StatusNotFound, "there is no such hold"
	case wallet.HoldFinished:
		return http.StatusGone, "the hold was captured, released or has expired"
	case wallet.HoldMismatch:
		return http.StatusConflict, "the hold is of another account or currency, or for another payee"
	case wallet.HoldExceeded:
		return http.StatusUnprocessableEntity, "the hold has not so much left"
	case wallet.HoldsOpen:
		return http.StatusConflict, "an account with open holds cannot be closed: release them, or wait until they expire"
	case wallet.ExpiryOutOfRange:
		return http.StatusUnprocessableEntity, "a hold expires later than now, and within 366 days"
	case wallet.DailyLimitExceeded:
		return http.StatusUnprocessableEntity, "more would leave the account than it may on one day"
	case wallet.TooManyInFlight:
		return http.StatusTooManyRequests, "too many transfers between the two partitions are under way; nothing was done: try again with the same transaction_id"
	case wallet.Malformed, wallet.Undecided, wallet.WrongPartition, wallet.Forgotten, wallet.Held:
		// The service checks the form first and finds the partition, and undecided, forgotten and held are no refusals of a command.
		return http.StatusInternalServerError, "the server made a mistake; nothing was done"
	}
	panic(fmt.Sprintf("wallethttp: no status for code %v", c))
}

const outcomeUnknown = "whether anything was done is unknown: repeat the request, or for a transfer ask GET /v1/wallet/transfers/{transaction_id}"

// failure returns the problem of an error: of the wallet's, of a context's end,
// or a *Problem itself.
func failure(err error) *Problem {
	p, ok := errors.AsType[*Problem](err)
	if !ok {
		if p = webhookFailure(err); p == nil {
			p = personalFailure(err)
		}
	}
	switch {
	case p != nil:
	case errors.Is(err, wallet.ErrAtLeast):
		p = invalidParameter("at_least", err)
	case errors.Is(err, wallet.ErrHistoryUnavailable):
		p = newProblem(http.StatusGone, codeHistoryUnavailable, reason(err))
	case errors.Is(err, wallet.ErrHistoryBehind):
		p = newProblem(http.StatusGatewayTimeout, codeHistoryBehind, reason(err)+"; nothing is wrong with it, try again")
		p.RetryAfter = time.Second
	case errors.Is(err, rsm.ErrUnknown): // also where it holds an error that alone says that nothing was done
		p = unknown(err)
	case errors.Is(err, rsm.ErrNoMajority):
		p = newProblem(http.StatusServiceUnavailable, codeNoLeader, "there is no leader, as a majority of the replicas is away: `maru cluster status` shows which; nothing was done, try again when they are back")
		p.RetryAfter = time.Second
	case errors.Is(err, rsm.ErrNoLeader):
		p = newProblem(http.StatusServiceUnavailable, codeNoLeader, "there is no leader now, or it cannot be reached; nothing was done, try again")
		p.RetryAfter = time.Second
	case errors.Is(err, rsm.ErrBusy):
		p = newProblem(http.StatusTooManyRequests, codeBusy, "too much is under way; nothing was done, try again")
		p.RetryAfter = time.Second
	case errors.Is(err, rsm.ErrDiskFull):
		p = newProblem(http.StatusInsufficientStorage, codeDiskFull, "the server's disk is nearly full, so that it takes no writes; nothing was done")
	case errors.Is(err, rsm.ErrFailed):
		p = newProblem(http.StatusServiceUnavailable, codeLogFailed, "the server's log failed; "+outcomeUnknown)
		p.RetryAfter = 5 * time.Second
	case errors.Is(err, rsm.ErrClosed):
		p = newProblem(http.StatusServiceUnavailable, codeClosing, "the server is stopping; nothing was done")
		p.RetryAfter = 5 * time.Second
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		p = unknown(err)
	case errors.Is(err, ErrUnauthenticated):
		p = newProblem(http.StatusUnauthorized, codeUnauthenticated, err.Error())
	case errors.Is(err, ErrForbidden):
		p = newProblem(http.StatusForbidden, codeForbidden, err.Error())
	default:
		p = newProblem(http.StatusInternalServerError, codeInternal, "the server made a mistake; "+outcomeUnknown)
		p.cause = err
	}
	return p
}

// unknown returns the problem of a request whose outcome is not known: its time
// is over, or the leader was lost.
func unknown(err error) *Problem {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return newProblem(http.StatusGatewayTimeout, codeDeadlineExceeded, "the time for the request is over; "+outcomeUnknown)
	}
	p := newProblem(http.StatusServiceUnavailable, codeOutcomeUnknown, "the leader was lost or did not answer; "+outcomeUnknown)
	p.RetryAfter = time.Second
	return p
}
