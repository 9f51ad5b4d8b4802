package wallethook

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/wallet"
)

// TestGolden has a message with two secrets as it is sent: docs/format/webhook.md.
func TestGolden(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 500, time.UTC)
	secrets := []wallet.WebhookSecret{{Key: bytes.Repeat([]byte{42}, 32)}, {Key: bytes.Repeat([]byte{7}, 32), Until: at.Add(time.Hour)}, {Key: []byte{1}, Until: at}}
	body, err := newBody("credit", at, []byte(`{"account":"shop","amount":"10.00"}`))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("secret: %s\nsecret: %s\nwebhook-id: evt_0-6-0\nwebhook-timestamp: %d\nwebhook-signature: %s\n\n%s\n",
		FormatSecret(secrets[0].Key), FormatSecret(secrets[1].Key), at.Unix(), sign(secrets, "evt_0-6-0", at, body), body)
	want, err := os.ReadFile("testdata/message.golden")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
