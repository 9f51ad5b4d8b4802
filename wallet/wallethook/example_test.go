package wallethook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/wallethook"
	"maru.example/wallet/wallettest"
)

// oneAccount is a wallet with one account.
type oneAccount struct{}

func (oneAccount) Tenant(context.Context, wallet.Tenant) (uint16, bool, error) { return 0, true, nil }

func (oneAccount) Position(context.Context, uint16) (rsm.Index, error) { return 0, nil }

func (oneAccount) AccountHandle(context.Context, wallet.Tenant, wallet.AccountID) (wallet.Handle, error) {
	return 1, nil
}

func Example() {
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Println(len(r.Header.Get("Webhook-Signature")), string(body[:15]))
	}))
	defer receiver.Close()
	partition := wallethook.Partition{
		Leads:   func() bool { return false }, // else its events would be told
		Applied: func() rsm.Index { return 0 },
	}
	engine := wallethook.New(&wallettest.WebhookMemory{}, oneAccount{}, []wallethook.Partition{partition}, nil)
	defer engine.Close()
	ctx := context.Background()
	hook, err := engine.CreateWebhook(ctx, wallet.DefaultTenant, &wallet.NewWebhook{
		URL: receiver.URL, Kinds: []wallet.EventKind{wallet.Credit}, Accounts: []wallet.AccountID{"alice"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	attempt, err := engine.TestWebhook(ctx, wallet.DefaultTenant, hook.ID)
	fmt.Println(attempt.Status, attempt.Error, err)
	// Output:
	// 47 {"type":"test",
	// 200  <nil>
}
