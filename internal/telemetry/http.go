package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durations are the upper ends of the histogram's buckets, in seconds: from a
// request that waits for nothing to the longest deadline.
var durations = []float64{.0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .1, .25, .5, 1, 2.5, 5, 10}

// HTTPObserver adds a histogram of the durations of HTTP requests,
// maru_http_request_duration_seconds, by route and class of status, and returns
// the function that notes a request. The route is the pattern of the handler,
// "" if none matched: paths themselves, which clients choose, would make a
// series each.
func (r *Registry) HTTPObserver() func(pattern string, status int, took time.Duration) {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "maru_http_request_duration_seconds",
		Help:    "Time from the request's header to the end of its answer.",
		Buckets: durations,
	}, []string{"route", "status"})
	r.prometheus.MustRegister(h)
	return func(pattern string, status int, took time.Duration) {
		if pattern == "" || pattern == "/" {
			pattern = "other"
		}
		h.WithLabelValues(pattern, class(status)).Observe(took.Seconds())
	}
}

// class returns the class of an HTTP status, such as 2xx.
func class(status int) string {
	switch status / 100 {
	case 2:
		return "2xx"
	case 4:
		return "4xx"
	case 5:
		return "5xx"
	}
	return strconv.Itoa(status/100) + "xx"
}
