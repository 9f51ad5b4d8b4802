package wallethttp_test

import (
	"net/http"
	"strings"
	"testing"

	"maru.example/wallet/wallethttp"
)

// TestEventReadersOfTenants lets one tenant open as many streams as it may: another still gets one, until there are
// too many in all, and both get the places that are given back.
func TestEventReadersOfTenants(t *testing.T) {
	h, _, url := serveEvents(t, newGrowing(), &wallethttp.Options{MaxEventReaders: 3, MaxTenantEventReaders: 2})
	open := func(tenant string) (int, string, func()) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"accounts/a/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(wallethttp.TenantHeader, tenant)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		end := func() { _ = resp.Body.Close() }
		if resp.StatusCode == http.StatusOK {
			return resp.StatusCode, "", end
		}
		defer end()
		b := make([]byte, 1000)
		n, _ := resp.Body.Read(b)
		return resp.StatusCode, string(b[:n]), nil
	}
	_, _, endA := open("a")
	_, _, endA2 := open("a")
	defer endA2()
	if status, body, _ := open("a"); status != http.StatusTooManyRequests || !strings.Contains(body, `"code":"too_many_event_readers"`) {
		t.Errorf("a third one of the tenant: %d %s", status, body)
	}
	status, body, endB := open("b")
	if status != http.StatusOK {
		t.Fatalf("the first of another tenant: %d %s", status, body)
	}
	defer endB()
	if status, body, _ := open("c"); status != http.StatusTooManyRequests || !strings.Contains(body, `"code":"busy"`) {
		t.Errorf("the fourth in all: %d %s", status, body)
	}
	if m := h.EventMetrics(); m.Readers != 3 || m.OfOneTenant != 2 || m.Refused != 1 || m.TenantRefused != 1 {
		t.Errorf("%+v", m)
	}
	endA()
	for h.EventMetrics().Readers != 2 { // the server notices it soon
		if t.Context().Err() != nil {
			t.Fatal("the place is not given back")
		}
	}
	status, body, endC := open("c")
	if status != http.StatusOK {
		t.Fatalf("the place that was given back: %d %s", status, body)
	}
	endC()
}
