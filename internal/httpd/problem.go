package httpd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ProblemType is the media type of problems.
const ProblemType = "application/problem+json"

// Problem is the answer to a refused request: problem details for HTTP APIs (RFC
// 9457) of type about:blank, with a code for programs to act on.
type Problem struct {
	Title  string `json:"title"` // of the status
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
	// RetryAfter goes into the header of that name, in whole seconds; 0 leaves it out.
	RetryAfter time.Duration `json:"-"`
}

// NewProblem returns a problem of an HTTP status, with that status's title.
func NewProblem(status int, code, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// Error returns the code and the detail.
func (p *Problem) Error() string { return fmt.Sprintf("%s: %s", p.Code, p.Detail) }

// Write answers a request with the problem.
func (p *Problem) Write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and a number are always encoded
	}
	WriteProblem(w, p.Status, p.RetryAfter, body)
}

// WriteProblem answers a request with an encoded problem.
func WriteProblem(w http.ResponseWriter, status int, retryAfter time.Duration, body []byte) {
	h := w.Header()
	h.Set("Content-Type", ProblemType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((retryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// methods are those that handlers of this program are registered for.
var methods = []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost, http.MethodPut}

// NotFound returns the handler of mux's pattern "/": what no other pattern takes.
// A path that another method would reach is 405 with the header Allow.
func NotFound(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var allow []string
		probe := *r
		for _, probe.Method = range methods {
			if _, pattern := mux.Handler(&probe); pattern != "" && pattern != "/" {
				allow = append(allow, probe.Method)
			}
		}
		if len(allow) == 0 || slices.Contains(allow, r.Method) {
			NewProblem(http.StatusNotFound, "not_found", "there is nothing at this path; /docs lists what there is").Write(w)
			return
		}
		notAllowed(w, r, allow...)
	})
}

// isClean says whether a URL's path is written as paths are. Another one
// [http.ServeMux] would answer with a redirect in HTML, which programs do not read and
// which loses the body of many a client's POST.
func isClean(u *url.URL) bool {
	p := u.EscapedPath()
	if p == "*" { // of OPTIONS, which net/http answers
		return true
	}
	clean := path.Clean("/" + p)
	return p == clean || p == clean+"/"
}

func notClean(w http.ResponseWriter) {
	NewProblem(http.StatusNotFound, "not_found", "a path begins with one / and has no empty, . or .. parts; /docs lists what there is").Write(w)
}

func notAllowed(w http.ResponseWriter, r *http.Request, allow ...string) {
	w.Header().Set("Allow", strings.Join(allow, ", "))
	NewProblem(http.StatusMethodNotAllowed, "method_not_allowed", "the method "+r.Method+" is not for this path; see the header Allow").Write(w)
}
