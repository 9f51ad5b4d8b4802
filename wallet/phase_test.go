package wallet_test

import (
	"errors"
	"testing"

	"maru.example/wallet"
)

func TestParseProtocol(t *testing.T) {
	for name, want := range map[string]wallet.Protocol{
		"tcc": wallet.TCC, "saga": wallet.Saga, "2pc": wallet.TwoPhase,
		"": wallet.NoProtocol, "none": wallet.NoProtocol, "TCC": wallet.NoProtocol, "protocol(4)": wallet.NoProtocol,
	} {
		got, err := wallet.ParseProtocol(name)
		if got != want || (err == nil) != (want != wallet.NoProtocol) || err != nil && !errors.Is(err, wallet.ErrProtocol) {
			t.Errorf("%q: got %v, %v, want %v", name, got, err, want)
		}
	}
}
