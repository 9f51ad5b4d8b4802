package wallettest_test

import (
	"testing"

	"maru.example/wallet"
	"maru.example/wallet/wallettest"
)

func TestPersonalMemory(t *testing.T) {
	wallettest.TestPersonalStore(t, func(*testing.T) wallet.PersonalStore { return new(wallettest.PersonalMemory) })
}
