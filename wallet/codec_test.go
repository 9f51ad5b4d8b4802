package wallet

import (
	"bytes"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"maru.example/money"
	"maru.example/rsm"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares bytes with a file that documents a format.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%x, want\n%x", name, got, want)
	}
}

// samples is a batch of each kind.
func samples() map[Kind][]byte {
	id, _ := ParseTransactionID("00112233-4455-6677-8899-aabbccddeeff")
	header := func(k Kind) []byte { return AppendHeader(nil, Header{k, 3, 1}) }
	return map[Kind][]byte{
		KindTransfers:       AppendHandleTransfer(header(KindTransfers), &HandleTransfer{id, 0x0102030405060708, 2, 1999, usd}),
		KindTransfersByName: AppendTransfer(header(KindTransfersByName), &Transfer{id, "alice", "bob", 1999, usd}),
		KindOpenAccounts:    AppendAccount(header(KindOpenAccounts), &NewAccount{"alice", usd, -5000}),
		KindLookup:          AppendName(header(KindLookup), "alice"),
		KindAddCurrency:     AppendAccount(header(KindAddCurrency), &NewAccount{"alice", jpy, Unlimited}),
		KindSetLimit:        AppendAccount(header(KindSetLimit), &NewAccount{"alice", usd, -100}),
		KindSetStatus:       AppendStatus(header(KindSetStatus), "alice", Frozen),
		KindCreateTenants:   AppendName(header(KindCreateTenants), "acme"),
		KindCreateAssets:    AppendAsset(header(KindCreateAssets), "VACHR", 4),
	}
}

func TestGoldenBatches(t *testing.T) {
	var all []byte
	for k := KindTransfers; k <= KindCreateTenants; k++ {
		b := samples()[k]
		if h, err := Validate(b); err != nil || h != (Header{k, 3, 1}) {
			t.Errorf("%v: got %v, %v", k, h, err)
		}
		all = append(all, b...)
	}
	golden(t, "batches.golden", all)
}

func TestGoldenSnapshot(t *testing.T) {
	m := NewMachine(nil)
	openAccount(t, m, "bank", usd, Unlimited)
	openAccount(t, m, "alice", usd, 0)
	do(t, m, KindAddCurrency, AppendAccount(nil, &NewAccount{"alice", jpy, -5}))
	do(t, m, KindCreateTenants, AppendName(nil, "acme"))
	do(t, m, KindTransfersByName, AppendTransfer(nil, &Transfer{txid(1), "bank", "alice", 1999, usd}))
	got := image(m)
	golden(t, "snapshot.golden", got)

	restored := NewMachine(nil)
	if err := restored.Restore(bytes.NewReader(got)); err != nil {
		t.Fatal(err)
	}
	if describe(restored) != describe(m) {
		t.Errorf("restored: got %s, want %s", describe(restored), describe(m))
	}
	for n := 1; n < len(got); n++ {
		if err := NewMachine(nil).Restore(bytes.NewReader(got[:n])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("the first %d of %d bytes: got %v", n, len(got), err)
		}
	}
	if err := NewMachine(nil).Restore(bytes.NewReader(append(got, 0))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a byte too many: got %v", err)
	}
}

// FuzzApply gives the machine any bytes: it must answer, keep the money in
// balance, and be the same after a snapshot.
func FuzzApply(f *testing.F) {
	for _, b := range append(slices.Collect(maps.Values(samples())), holdSamples()...) {
		SetTenant(b, 0)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := NewMachine(nil)
		openAccount(t, m, "alice", usd, Unlimited)
		openAccount(t, m, "bob", usd, 0)
		for range 2 {
			if out := m.Apply(nil, rsm.Batch{Data: data}); len(out) == 0 {
				t.Fatal("no answer")
			}
		}
		sum := map[money.Currency]money.Amount{}
		for h := range Handle(m.accounts.len) {
			for _, b := range m.account(h + 1).Balances {
				sum[b.Currency] += b.Amount
			}
		}
		for c, s := range sum {
			if s != 0 {
				t.Fatalf("%v adds up to %d", c, s)
			}
		}
		restored := NewMachine(nil)
		if err := restored.Restore(bytes.NewReader(image(m))); err != nil {
			t.Fatal(err)
		}
		if describe(restored) != describe(m) {
			t.Fatal("the restored state differs")
		}
	})
}

// FuzzRestore gives the snapshot's decoder any bytes.
func FuzzRestore(f *testing.F) {
	m := NewMachine(nil)
	openMany(f, m, 20)
	f.Add(image(m))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := NewMachine(nil)
		if err := m.Restore(bytes.NewReader(data)); err != nil {
			return
		}
		again := NewMachine(nil)
		if err := again.Restore(bytes.NewReader(image(m))); err != nil {
			t.Fatalf("a snapshot of what was restored: %v", err)
		}
	})
}

func FuzzValidate(f *testing.F) {
	for _, b := range samples() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := Validate(data)
		if err != nil {
			return
		}
		if h.Count < 1 || h.Count > MaxBatch || commandSize(h.Kind) == nil {
			t.Fatalf("accepted %v", h)
		}
		if _, err := ValidateRequest(data); err == nil && h.Tenant != 0 {
			t.Fatal("a request names a tenant")
		}
	})
}

func TestTransactionID(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		ok       bool
	}{
		{"00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff", true},
		{"00112233-4455-6677-8899-AABBCCDDEEFF", "00112233-4455-6677-8899-aabbccddeeff", true},
		{"00000000-0000-0000-0000-000000000000", "", false},
		{"0011223344556677-8899-aabbccddeeff-00", "", false},
		{"00112233445566778899aabbccddeeff", "", false},
		{"{0112233-4455-6677-8899-aabbccddeeff", "", false},
		{"00112233-4455-6677-8899-aabbccddeefg", "", false},
		{"00112233-4455-6677-8899-aabbccddeef", "", false},
		{"", "", false},
	} {
		id, err := ParseTransactionID(tt.in)
		if (err == nil) != tt.ok || tt.ok && id.String() != tt.want {
			t.Errorf("%q: got %v, %v", tt.in, id, err)
		}
	}
}
