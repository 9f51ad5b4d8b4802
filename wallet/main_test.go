package wallet_test

import (
	"testing"

	"maru.example/internal/racing"
)

func TestMain(m *testing.M) {
	racing.Fewer("rapid.checks")
	m.Run()
}
