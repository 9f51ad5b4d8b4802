package wallet

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"maru.example/money"
	"maru.example/rsm"
)

func TestGoldenAssets(t *testing.T) {
	m := NewMachine(nil)
	do(t, m, KindCreateTenants, AppendName(nil, "acme"))
	batch := AppendHeader(nil, Header{KindCreateAssets, 1, 3})
	for _, a := range []struct {
		name   string
		digits int
	}{{"VACHR", 4}, {"BTC", 8}, {"points", 0}} {
		batch = AppendAsset(batch, a.name, a.digits)
	}
	golden(t, "asset-batch.golden", batch)
	answer := m.Apply(nil, rsm.Batch{Data: batch})
	if want := []byte{1, 0x00, 0xa0, 1, 0x01, 0xc0, 1, 0x02, 0x80}; !bytes.Equal(answer, want) {
		t.Errorf("answer %x, want %x", answer, want)
	}
	do(t, m, KindCreateAssets, AppendAsset(nil, "VACHR", 2)) // numbers begin anew in each tenant
	got := image(m)
	golden(t, "asset-snapshot.golden", got)
	restored := NewMachine(nil)
	if err := restored.Restore(bytes.NewReader(got)); err != nil || describe(restored) != describe(m) {
		t.Errorf("restored: %v, got %s, want %s", err, describe(restored), describe(m))
	}
	for n := 1; n < len(got); n++ {
		if err := NewMachine(nil).Restore(bytes.NewReader(got[:n])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("the first %d of %d bytes: got %v", n, len(got), err)
		}
	}
	twice := bytes.Replace(got, []byte("\x08\x03BTC"), []byte("\x04\x05VACHR"), 1)
	if err := NewMachine(nil).Restore(bytes.NewReader(twice)); !errors.Is(err, ErrSnapshot) {
		t.Errorf("an asset that stands twice: got %v", err)
	}
}

func TestAssetLimit(t *testing.T) {
	m := NewMachine(nil)
	for n := range money.MaxAssets {
		if got := do(t, m, KindCreateAssets, AppendAsset(nil, fmt.Sprint("a", n), n%16)); got != Applied {
			t.Fatalf("asset %d: got %v", n, got)
		}
	}
	for _, tt := range []struct {
		name   string
		digits int
		want   Code
	}{{"one more", 0, Malformed}, {"more", 0, LimitReached}, {"a7", 7, Applied}, {"a7", 8, AssetExists}} {
		if got := do(t, m, KindCreateAssets, AppendAsset(nil, tt.name, tt.digits)); got != tt.want {
			t.Errorf("%s with %d digits: got %v, want %v", tt.name, tt.digits, got, tt.want)
		}
	}
	again := NewMachine(nil)
	if err := again.Restore(bytes.NewReader(image(m))); err != nil || describe(again) != describe(m) {
		t.Errorf("a snapshot of all: %v", err)
	}
	other := NewMachine(&MachineOptions{Partition: 1, Partitions: 2})
	if got := do(t, other, KindCreateAssets, AppendAsset(nil, "A", 0)); got != WrongPartition {
		t.Errorf("in partition 1: got %v, want %v", got, WrongPartition)
	}
}

func TestValidateAsset(t *testing.T) {
	for _, tt := range []struct {
		name   string
		digits int
		want   error
	}{
		{"VACHR", 4, nil},
		{"BTC", 8, nil},
		{"LOT@_1", 0, nil},
		{"usd", 15, nil},
		{"USD", 2, ErrAsset},
		{"USD", 5, ErrAsset},
		{"asset-1.2", 2, ErrAsset},
		{"asset-x", 2, ErrAsset},
		{"", 2, ErrAsset},
		{"..", 2, ErrAsset},
		{"A B", 2, ErrAsset},
		{"a23456789012345678901234567890123", 2, ErrAsset},
		{"A", 16, ErrAssetDigits},
		{"A", -1, ErrAssetDigits},
	} {
		if got := ValidateAsset(tt.name, tt.digits); !errors.Is(got, tt.want) {
			t.Errorf("ValidateAsset(%q, %d) = %v, want %v", tt.name, tt.digits, got, tt.want)
		}
	}
}
