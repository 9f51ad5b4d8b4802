package wallettest

import (
	"testing"

	"maru.example/wallet"
)

func TestWebhookMemory(t *testing.T) {
	TestWebhookStore(t, func(*testing.T) wallet.WebhookStore { return &WebhookMemory{} })
	t.Run("marks", func(t *testing.T) { TestWebhookMarks(t, &WebhookMemory{}) })
}
