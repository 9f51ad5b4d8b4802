package wallet

import (
	"context"
	"errors"
	"strings"
	"testing"

	"maru.example/money"
)

func TestValidateWebhookURL(t *testing.T) {
	for _, tt := range []struct {
		url           string
		here, anyHTTP bool
	}{
		{"https://example.com/hook?a=b", true, true},
		{"https://10.0.0.1:8443/", true, true},
		{"http://127.0.0.1:8080/hook", true, true},
		{"http://[::1]:8080/hook", true, true},
		{"http://localhost/", true, true},
		{"http://example.com/hook", false, true},
		{"http://127.0.0.1.example.com/", false, true},
		{"http://10.0.0.1/", false, true},
		{"https://user:secret@example.com/", false, false},
		{"https://example.com/#part", false, false},
		{"https:///hook", false, false},
		{"https://:443/", false, false},
		{"https:example.com", false, false},
		{"ftp://example.com/", false, false},
		{"/hook", false, false},
		{"", false, false},
		{"https://exa mple.com/", false, false},
		{"https://example.com/" + strings.Repeat("a", MaxWebhookURLBytes), false, false},
	} {
		for _, anyHTTP := range []bool{false, true} {
			want := tt.here
			if anyHTTP {
				want = tt.anyHTTP
			}
			if err := ValidateWebhookURL(tt.url, anyHTTP); (err == nil) != want || err != nil && !errors.Is(err, ErrWebhook) {
				t.Errorf("ValidateWebhookURL(%q, %v) = %v", tt.url, anyHTTP, err)
			}
		}
	}
}

func TestValidateWebhook(t *testing.T) {
	usd := money.MustParseCurrency("USD")
	for _, tt := range []struct {
		name   string
		change func(*Webhook)
		want   error
	}{
		{"as it should be", func(*Webhook) {}, nil},
		{"thresholds only", func(w *Webhook) { w.Kinds = nil }, nil},
		{"no tenant", func(w *Webhook) { w.Tenant = "" }, ErrTenant},
		{"nothing chosen", func(w *Webhook) { w.Kinds, w.Thresholds = nil, nil }, ErrWebhook},
		{"a kind twice", func(w *Webhook) { w.Kinds = []EventKind{Debit, Debit} }, ErrWebhook},
		{"a kind that is no tenant's", func(w *Webhook) { w.Kinds = []EventKind{TenantMade} }, ErrWebhook},
		{"an unknown kind", func(w *Webhook) { w.Kinds = []EventKind{endEvent} }, ErrWebhook},
		{"a long note", func(w *Webhook) { w.Note = strings.Repeat("a", MaxWebhookNoteBytes+1) }, ErrWebhook},
		{"many accounts", func(w *Webhook) { w.Accounts = make([]AccountID, MaxWebhookAccounts+1) }, ErrWebhook},
		{"no account", func(w *Webhook) { w.Accounts = []AccountID{""} }, ErrAccountID},
		{"many thresholds", func(w *Webhook) { w.Thresholds = make([]Threshold, MaxWebhookThresholds+1) }, ErrWebhook},
		{"a threshold twice", func(w *Webhook) { w.Thresholds = append(w.Thresholds, w.Thresholds[0]) }, ErrWebhook},
		{"a threshold of no account", func(w *Webhook) { w.Thresholds[0].Account = "" }, ErrAccountID},
		{"a threshold of no currency", func(w *Webhook) { w.Thresholds[0].Currency = 0 }, ErrCurrency},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := Webhook{
				Tenant: DefaultTenant, URL: "https://example.com/", Kinds: []EventKind{Debit},
				Thresholds: []Threshold{{Account: "alice", Currency: usd, Amount: 1}},
			}
			tt.change(&w)
			if err := w.Validate(false); !errors.Is(err, tt.want) {
				t.Errorf("Validate: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestParseWebhookKind(t *testing.T) {
	for _, k := range WebhookKinds() {
		if got, err := ParseWebhookKind(k.String()); got != k || err != nil {
			t.Errorf("ParseWebhookKind(%v) = %v, %v", k, got, err)
		}
	}
	for _, name := range []string{"", "none", "tenant_made", "DEBIT"} {
		if k, err := ParseWebhookKind(name); !errors.Is(err, ErrWebhook) {
			t.Errorf("ParseWebhookKind(%q) = %v, %v", name, k, err)
		}
	}
}

// BenchmarkWebhookFilter looks at events that a webhook of a hundred accounts does not want.
func BenchmarkWebhookFilter(b *testing.B) {
	w := &Webhook{Tenant: DefaultTenant, Kinds: []EventKind{Debit, Credit}}
	for n := range MaxWebhookAccounts {
		w.Accounts = append(w.Accounts, AccountID(strings.Repeat("a", n%60+1)+string(rune('a'+n/60))))
	}
	next := Handle(0)
	f, err := NewWebhookFilter(b.Context(), w, 0, 0, 1, func(_ context.Context, _ AccountID) (Handle, error) { next++; return next, nil })
	if err != nil {
		b.Fatal(err)
	}
	e := Event{Kind: Credit, Account: 1 << 20, Amount: 5, Balance: 7}
	for b.Loop() {
		e.Account++
		if f.Wants(&e) {
			b.Fatal("wanted")
		}
	}
}
