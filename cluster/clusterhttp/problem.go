package clusterhttp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"maru.example/cluster"
	"maru.example/internal/httpd"
	"maru.example/rsm"
)

// Problem is the answer to a request that was refused or failed: problem details
// (RFC 9457) of type about:blank.
//
// Code is the name of a [cluster.Code], or one of: malformed_json, body_incomplete,
// body_timeout, body_too_large, unsupported_media_type, invalid_request,
// unauthenticated, forbidden, not_found, method_not_allowed, busy, closing,
// disk_full and no_leader (nothing was done), deadline_exceeded, outcome_unknown,
// log_failed and internal (whether anything was done is unknown: repeat the
// request).
type Problem = httpd.Problem

func invalid(detail string) *Problem {
	return httpd.NewProblem(http.StatusUnprocessableEntity, "invalid_request", detail+"; nothing was done")
}

const repeat = "whether anything was done is unknown: repeat the request"

// failure returns the problem of an error: of the cluster's, of a context's end,
// or a *Problem itself.
func failure(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	for _, malformed := range []error{cluster.ErrID, cluster.ErrAddress, cluster.ErrURL, cluster.ErrConfig} {
		if errors.Is(err, malformed) {
			return invalid(strings.Replace(err.Error(), "cluster: ", "", 1))
		}
	}
	later := func(status int, code, detail string, after time.Duration) *Problem {
		p := httpd.NewProblem(status, code, detail)
		p.RetryAfter = after
		return p
	}
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return httpd.NewProblem(http.StatusUnauthorized, "unauthenticated", err.Error())
	case errors.Is(err, ErrForbidden):
		return httpd.NewProblem(http.StatusForbidden, "forbidden", err.Error())
	case errors.Is(err, rsm.ErrBusy):
		return later(http.StatusTooManyRequests, "busy", "too much is under way; nothing was done, try again", time.Second)
	case errors.Is(err, rsm.ErrDiskFull):
		return httpd.NewProblem(http.StatusInsufficientStorage, "disk_full", "the disk of the leader is nearly full; nothing was done")
	case errors.Is(err, rsm.ErrUnknown):
		return later(http.StatusServiceUnavailable, "outcome_unknown", "the leader changed or did not answer; "+repeat, time.Second)
	case errors.Is(err, rsm.ErrNoLeader):
		return later(http.StatusServiceUnavailable, "no_leader", "no leader of the metadata is known: a majority of its nodes is needed; nothing was done", time.Second)
	case errors.Is(err, rsm.ErrFailed):
		return later(http.StatusServiceUnavailable, "log_failed", "the server's log failed; "+repeat, 5*time.Second)
	case errors.Is(err, rsm.ErrClosed):
		return later(http.StatusServiceUnavailable, "closing", "the server is stopping; nothing was done", 5*time.Second)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return httpd.NewProblem(http.StatusGatewayTimeout, "deadline_exceeded", "the time for the request is over; "+repeat)
	}
	return httpd.NewProblem(http.StatusInternalServerError, "internal", "the server made a mistake; "+repeat)
}
