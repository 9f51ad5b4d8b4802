package walletgrpc

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"testing"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

var update = flag.Bool("update", false, "write the golden file anew")

// sample is a request with one transfer, and its response.
func sample() (message, response []byte) {
	id, _ := wallet.ParseTransactionID("00112233-4455-6677-8899-aabbccddeeff")
	message = request(nil, wallet.KindTransfers, 1)
	binary.LittleEndian.PutUint64(message, 7)
	message = wallet.AppendHandleTransfer(message, &wallet.HandleTransfer{
		ID: id, From: 1, To: 2, Amount: 1999, Currency: money.MustParseCurrency("USD"),
	})
	response = appendResponse(nil, 7, wallet.Header{Kind: wallet.KindTransfers, Count: 1}, rsm.Position{Index: 42, Time: 1_700_000_000_000_000_000})
	return message, append(response, byte(wallet.Applied))
}

func TestGoldenStream(t *testing.T) {
	message, response := sample()
	const path = "testdata/stream.golden"
	if *update {
		if err := os.WriteFile(path, append(message, response...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := append(message, response...); !bytes.Equal(got, want) {
		t.Errorf("got\n%x, want\n%x", got, want)
	}
}

func FuzzParseResponse(f *testing.F) {
	_, response := sample()
	f.Add(response)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, h, results, err := parseResponse(data)
		if err == nil && (h.Count < 1 || h.Count > wallet.MaxBatch || len(results) < h.Count) {
			t.Fatalf("accepted %v with %d bytes of results", h, len(results))
		}
	})
}
