// Package telemetry exposes a process's metrics to Prometheus.
//
// The parts of the program know nothing of Prometheus: they return plain structs
// of counters, and this package reads these when it is asked, at no cost
// otherwise:
//
//	r := telemetry.NewRegistry()
//	telemetry.Expose(r, "maru_log", node.Metrics,
//		telemetry.Counter("entries_total", "Log entries written.", func(m rsm.Metrics) uint64 { return m.Entries }),
//		telemetry.Gauge("queue_bytes", "Proposals that wait.", func(m rsm.Metrics) int64 { return m.QueueBytes }))
package telemetry

import (
	"iter"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry holds the metrics of a process.
type Registry struct {
	prometheus *prometheus.Registry
}

// NewRegistry returns a registry with the metrics of the Go runtime and of the
// process.
func NewRegistry() *Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Registry{r}
}

// Handler serves the metrics in the formats that Prometheus reads. One that
// cannot be read is left out and does not hide the others.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prometheus, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// number is what a metric's value can be.
type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// A Metric is one metric of a struct of metrics: made by [Counter], [Gauge],
// [CounterBy], [GaugeBy], [GaugeByTwo] or [HistogramBy].
type Metric[T any] struct {
	name, help string
	labels     []string
	collect    func(desc *prometheus.Desc, read T, send func(prometheus.Metric))
}

// Counter is a count that only grows while the process lives. Its name should
// end in _total.
func Counter[T any, N number](name, help string, value func(T) N) Metric[T] {
	return single(prometheus.CounterValue, name, help, value)
}

// Gauge is a value that goes up and down. Its name should end in its unit.
func Gauge[T any, N number](name, help string, value func(T) N) Metric[T] {
	return single(prometheus.GaugeValue, name, help, value)
}

// CounterBy is a count for each value of a label.
func CounterBy[T any, N number](name, help, label string, values func(T) iter.Seq2[string, N]) Metric[T] {
	return by(prometheus.CounterValue, name, help, label, values)
}

// GaugeBy is a gauge for each value of a label.
func GaugeBy[T any, N number](name, help, label string, values func(T) iter.Seq2[string, N]) Metric[T] {
	return by(prometheus.GaugeValue, name, help, label, values)
}

// GaugeByTwo is a gauge for each pair of values of two labels.
func GaugeByTwo[T any, N number](name, help string, labels [2]string, values func(T) iter.Seq2[[2]string, N]) Metric[T] {
	return byTwo(prometheus.GaugeValue, name, help, labels, values)
}

// CounterByTwo is a count for each pair of values of two labels.
func CounterByTwo[T any, N number](name, help string, labels [2]string, values func(T) iter.Seq2[[2]string, N]) Metric[T] {
	return byTwo(prometheus.CounterValue, name, help, labels, values)
}

// Histogram counts values that fell between bounds.
type Histogram struct {
	Bounds []float64 // upper ends of the buckets, growing, in the unit of the metric's name
	Counts []uint64  // one more than Bounds: the last is of what lies above
	Sum    float64   // of all values
}

// HistogramBy is a histogram for each value of a label.
func HistogramBy[T any](name, help, label string, values func(T) iter.Seq2[string, Histogram]) Metric[T] {
	return Metric[T]{name, help, []string{label}, func(desc *prometheus.Desc, t T, send func(prometheus.Metric)) {
		for of, h := range values(t) {
			count, below := uint64(0), make(map[float64]uint64, len(h.Bounds))
			for i, n := range h.Counts {
				if count += n; i < len(h.Bounds) {
					below[h.Bounds[i]] = count
				}
			}
			send(prometheus.MustNewConstHistogram(desc, count, h.Sum, below, of))
		}
	}}
}

func by[T any, N number](kind prometheus.ValueType, name, help, label string, values func(T) iter.Seq2[string, N]) Metric[T] {
	return Metric[T]{name, help, []string{label}, func(desc *prometheus.Desc, t T, send func(prometheus.Metric)) {
		for of, n := range values(t) {
			send(prometheus.MustNewConstMetric(desc, kind, float64(n), of))
		}
	}}
}

func byTwo[T any, N number](kind prometheus.ValueType, name, help string, labels [2]string, values func(T) iter.Seq2[[2]string, N]) Metric[T] {
	return Metric[T]{name, help, labels[:], func(desc *prometheus.Desc, t T, send func(prometheus.Metric)) {
		for of, n := range values(t) {
			send(prometheus.MustNewConstMetric(desc, kind, float64(n), of[:]...))
		}
	}}
}

func single[T any, N number](kind prometheus.ValueType, name, help string, value func(T) N) Metric[T] {
	return Metric[T]{name, help, nil, func(desc *prometheus.Desc, t T, send func(prometheus.Metric)) {
		send(prometheus.MustNewConstMetric(desc, kind, float64(value(t))))
	}}
}

// Expose adds metrics of a struct, named prefix_name. Each time that the metrics
// are asked for, the struct is read once, so that its fields belong together.
// It panics if a name is there already or is not one for Prometheus.
func Expose[T any](r *Registry, prefix string, read func() T, metrics ...Metric[T]) {
	ExposeErr(r, prefix, func() (T, error) { return read(), nil }, metrics...)
}

// ExposeErr is [Expose] for a struct that sometimes cannot be read: its metrics
// are left out then.
func ExposeErr[T any](r *Registry, prefix string, read func() (T, error), metrics ...Metric[T]) {
	c := &collector[T]{read: read, metrics: metrics}
	for _, m := range metrics {
		c.descs = append(c.descs, prometheus.NewDesc(prefix+"_"+m.name, m.help, m.labels, nil))
	}
	r.prometheus.MustRegister(c)
}

// collector is a prometheus.Collector of a struct.
type collector[T any] struct {
	read    func() (T, error)
	metrics []Metric[T]
	descs   []*prometheus.Desc
}

// Describe sends the descriptions of all metrics.
func (c *collector[T]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect reads the struct and sends its values.
func (c *collector[T]) Collect(ch chan<- prometheus.Metric) {
	t, err := c.read()
	for i, m := range c.metrics {
		if err != nil {
			ch <- prometheus.NewInvalidMetric(c.descs[i], err)
			continue
		}
		m.collect(c.descs[i], t, func(metric prometheus.Metric) { ch <- metric })
	}
}
