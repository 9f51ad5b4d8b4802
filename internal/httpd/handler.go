package httpd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// routes returns the handler of everything. The pages of the operator are
// outside of the limit on requests: they are wanted most when it is reached.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz", getOnly(func(w http.ResponseWriter, _ *http.Request) { writeOK(w) }))
	mux.Handle("/readyz", getOnly(s.ready))
	if s.o.Metrics != nil {
		mux.Handle("/metrics", getOnly(s.o.Metrics.ServeHTTP))
	}
	mux.Handle("/", s.limited(s.handler))
	return s.outermost(mux)
}

func getOnly(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			notAllowed(w, r, http.MethodGet, http.MethodHead)
			return
		}
		h(w, r)
	})
}

func writeOK(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// ErrStopping is why streams end, and why the server is not ready, when it stops.
var ErrStopping = errors.New("the server is stopping")

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	err := s.o.Ready() // goes first: it is why a server whose log failed is stopping
	if err == nil && s.stopping.Load() {
		err = ErrStopping
	}
	if err != nil {
		NewProblem(http.StatusServiceUnavailable, "not_ready", err.Error()).Write(w)
		return
	}
	writeOK(w)
	for _, says := range s.o.Warnings() {
		_, _ = w.Write([]byte("warning: " + says + "\n"))
	}
}

// limited puts the limits on requests: how many, how long, how large.
func (s *Server) limited(next http.Handler) http.Handler {
	most := int64(s.o.MaxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.underWay.Add(-1)
		if s.underWay.Add(1) > most {
			p := NewProblem(http.StatusTooManyRequests, "busy", "too many requests are under way; nothing was done, try again")
			p.RetryAfter = time.Second
			p.Write(w)
			return
		}
		ctx, cancel := s.bound(r)
		defer cancel()
		r = r.WithContext(ctx)
		answer := w.(*response) // made by outermost
		if r.Body != http.NoBody {
			defer s.arriving(answer.ResponseWriter, r)()
		}
		start, status := time.Now(), http.StatusInternalServerError // if it panics
		defer func() { s.o.Observe(r.Pattern, status, time.Since(start)) }()
		next.ServeHTTP(w, r)
		status = or(answer.status, http.StatusOK)
	})
}

// bound returns the context of a request: with a deadline, or of a stream.
func (s *Server) bound(r *http.Request) (context.Context, func()) {
	if !s.o.Streams(r) {
		return context.WithTimeout(r.Context(), s.o.RequestTimeout)
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	stop := context.AfterFunc(s.life, func() { cancel(ErrStopping) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// outermost recovers from panics, logs, and turns away what a browser was tricked
// into sending.
func (s *Server) outermost(next http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &response{ResponseWriter: rw}
		if s.o.Logger.Enabled(r.Context(), slog.LevelDebug) {
			defer s.log(w, r, time.Now())
		}
		defer s.recovered(w, r)
		switch {
		case s.o.Local && !isLocal(r.Host):
			NewProblem(http.StatusMisdirectedRequest, "wrong_host",
				"a server without API keys answers to 127.0.0.1 and localhost only, so that no web page can reach it by another name").Write(w)
		case s.o.Local && foreign.Check(r) != nil:
			NewProblem(http.StatusForbidden, "cross_origin", "a server without API keys takes nothing from other sites' web pages").Write(w)
		case !isClean(r.URL):
			notClean(w)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isLocal says whether a Host header names this machine. A page that had its own
// name resolve to 127.0.0.1 (DNS rebinding) is of the same origin for the
// browser, but its name is in that header.
func isLocal(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return isLoopback(host)
}

// recovered answers 500 in place of a handler that panicked. A response that has
// begun is cut off, as the client must not take it for whole.
func (s *Server) recovered(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.o.Logger.ErrorContext(r.Context(), "handler panicked", "panic", v, "method", r.Method, "path", r.URL.Path, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	NewProblem(http.StatusInternalServerError, "internal", "the server made a mistake; whether anything was done is unknown").Write(w)
}

func (s *Server) log(w *response, r *http.Request, start time.Time) {
	s.o.Logger.DebugContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path, "status", w.status,
		"bytes", w.bytes, "took", time.Since(start), "remote", r.RemoteAddr)
}

// response notes what was answered.
type response struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader notes the status; of several, the first that is final.
func (w *response) WriteHeader(status int) {
	if w.status < 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (w *response) Write(p []byte) (int, error) {
	if w.status < 200 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
