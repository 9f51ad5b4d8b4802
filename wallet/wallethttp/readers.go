package wallethttp

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"maru.example/wallet"
)

// Defaults of how many streams of events may be open at once: no tenant takes the places of all others.
const (
	MaxEventReaders       = 512
	MaxTenantEventReaders = 256
)

// readers are the streams of events that are open.
type readers struct {
	most, mostOf int // of all, of a tenant

	mu                     sync.Mutex
	all                    int
	of                     map[wallet.Tenant]int // none is 0
	refused, tenantRefused uint64
}

func newReaders(most, mostOf int) *readers {
	if most == 0 {
		most = MaxEventReaders
	}
	if mostOf == 0 {
		mostOf = min(MaxTenantEventReaders, most)
	}
	return &readers{most: most, mostOf: mostOf, of: make(map[wallet.Tenant]int)}
}

// enter notes a stream, or says why there may not be another.
func (r *readers) enter(t wallet.Tenant) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	code, detail := "", ""
	switch {
	case r.of[t] >= r.mostOf:
		r.tenantRefused++
		code, detail = codeTooManyReaders, fmt.Sprintf("%d streams of events of this tenant are open here, which is the most: close one, or follow several accounts in one", r.mostOf)
	case r.all >= r.most:
		r.refused++
		code, detail = codeBusy, fmt.Sprintf("%d streams of events are open here, which is the most of all tenants: try again later, or another node", r.most)
	default:
		r.all++
		r.of[t]++
		return nil
	}
	p := newProblem(http.StatusTooManyRequests, code, detail)
	p.RetryAfter = time.Second
	return p
}

func (r *readers) leave(t wallet.Tenant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all--
	if r.of[t]--; r.of[t] == 0 {
		delete(r.of, t)
	}
}

// count adds what the readers are to metrics.
func (r *readers) count(m *EventMetrics) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.Readers, m.Refused, m.TenantRefused = r.all, r.refused, r.tenantRefused
	for _, n := range r.of {
		m.OfOneTenant = max(m.OfOneTenant, n)
	}
}
