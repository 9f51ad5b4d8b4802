package wallet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"maru.example/money"
)

// Commands travel in batches, on the stream and in the log alike: see
// docs/format/wallet.md.
const (
	HeaderBytes  = 8  // of a batch
	RecordBytes  = 64 // of a transfer by handle
	batchVersion = 1
)

// Kind says what a batch holds. The numbers are part of the format.
type Kind uint8

// The kinds of batches. KindLookup is only asked, never logged.
const (
	KindNone            Kind = iota
	KindTransfers            // transfers by handle, RecordBytes each; results of 1 byte
	KindTransfersByName      // transfers by account id; results of 1 byte
	KindOpenAccounts         // accounts to be opened; results of OpenedBytes
	KindLookup               // account ids; results of OpenedBytes
	KindAddCurrency          // currencies to be added to accounts; results of 1 byte
	KindSetLimit             // smallest balances to be changed; results of 1 byte
	KindSetStatus            // statuses to be changed; results of 1 byte
	KindCreateTenants        // tenants to be made; results of 3 bytes

	KindCrossTransfers       // transfers by handle to other partitions, RecordBytes each; results of 1 byte
	KindCrossTransfersByName // transfers by account id to other partitions; results of 1 byte
	KindParticipate          // messages of a paying to a receiving partition; results of 1 byte
	KindPhases               // their answers, brought to the paying partition; results of 1 byte

	KindHolds             // commands about holds; results of 1 byte
	KindCrossCaptures     // captures for accounts of other partitions; results of 1 byte
	KindSetDailyLimits    // daily limits of accounts to be changed; results of 1 byte
	KindExpire            // nothing, but that the time has come for a hold to expire; results of 1 byte
	KindTransactions      // transactions whose accounts are in one partition; results of 1 byte
	KindCrossTransactions // transactions with accounts of several partitions; results of 1 byte
	KindCreateAssets      // assets of a tenant to be made, by the first partition; results of AssetBytes
)

// String returns the kind's name in the documentation of the format.
func (k Kind) String() string {
	switch k {
	case KindNone:
		return "none"
	case KindTransfers:
		return "transfers"
	case KindTransfersByName:
		return "transfers by name"
	case KindOpenAccounts:
		return "open accounts"
	case KindLookup:
		return "look up"
	case KindAddCurrency:
		return "add currency"
	case KindSetLimit:
		return "set limit"
	case KindSetStatus:
		return "set status"
	case KindCreateTenants:
		return "create tenants"
	case KindCrossTransfers:
		return "cross transfers"
	case KindCrossTransfersByName:
		return "cross transfers by name"
	case KindParticipate:
		return "participate"
	case KindPhases:
		return "phases"
	case KindHolds:
		return "holds"
	case KindCrossCaptures:
		return "cross captures"
	case KindSetDailyLimits:
		return "set daily limits"
	case KindExpire:
		return "expire"
	case KindTransactions:
		return "transactions"
	case KindCrossTransactions:
		return "cross transactions"
	case KindCreateAssets:
		return "create assets"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// OpenedBytes is the size of an Opened: a result, and 8 bytes of handle.
const OpenedBytes = 9

// Header begins a batch.
type Header struct {
	Kind   Kind
	Tenant uint16 // a number that the machine gave; zero on the stream
	Count  int    // of commands: 1 to MaxBatch
}

// ErrFormat says that bytes are not a batch.
var ErrFormat = errors.New("wallet: malformed batch")

// AppendHeader appends the header of a batch.
func AppendHeader(dst []byte, h Header) []byte {
	dst = append(dst, batchVersion, byte(h.Kind))
	dst = binary.LittleEndian.AppendUint16(dst, h.Tenant)
	return binary.LittleEndian.AppendUint32(dst, uint32(h.Count))
}

// SetTenant writes the tenant's number into an encoded batch.
func SetTenant(batch []byte, tenant uint16) { binary.LittleEndian.PutUint16(batch[2:], tenant) }

// ParseHeader reads the header of a batch and returns the rest.
func ParseHeader(b []byte) (Header, []byte, error) {
	if len(b) < HeaderBytes {
		return Header{}, nil, fmt.Errorf("%w: %d bytes are less than a header", ErrFormat, len(b))
	}
	if b[0] != batchVersion {
		return Header{}, nil, fmt.Errorf("%w: version %d, want %d", ErrFormat, b[0], batchVersion)
	}
	h := Header{Kind: Kind(b[1]), Tenant: binary.LittleEndian.Uint16(b[2:])}
	n := binary.LittleEndian.Uint32(b[4:])
	if n == 0 || n > MaxBatch {
		return Header{}, nil, fmt.Errorf("%w: %d commands, want 1 to %d", ErrFormat, n, MaxBatch)
	}
	h.Count = int(n)
	return h, b[HeaderBytes:], nil
}

// Validate checks that b is a batch whose commands can all be read; what they
// say is for the machine to judge.
func Validate(b []byte) (Header, error) {
	h, body, err := ParseHeader(b)
	if err != nil {
		return h, err
	}
	size := commandSize(h.Kind)
	if size == nil {
		return h, fmt.Errorf("%w: unknown %v", ErrFormat, h.Kind)
	}
	if n := prefixSize(h.Kind); n <= len(body) {
		body = body[n:]
	} else {
		return h, fmt.Errorf("%w: %d bytes are less than the head of %v", ErrFormat, len(body), h.Kind)
	}
	for i := range h.Count {
		n := size(body)
		if n <= 0 || n > len(body) {
			return h, fmt.Errorf("%w: command %d of %d is cut short", ErrFormat, i+1, h.Count)
		}
		if h.Kind == KindTransfers { // all of one size: no need to walk
			n = h.Count * RecordBytes
			if len(body) != n {
				return h, fmt.Errorf("%w: %d bytes of transfers, want %d", ErrFormat, len(body), n)
			}
			return h, nil
		}
		body = body[n:]
	}
	if len(body) > 0 {
		return h, fmt.Errorf("%w: %d bytes after the last command", ErrFormat, len(body))
	}
	return h, nil
}

// ValidateRequest checks a batch that a client sent: Validate accepts it, it is
// of a kind that the stream carries, and names no tenant; and that ids and
// currencies of accounts to be opened are valid.
func ValidateRequest(b []byte) (Header, error) {
	h, err := Validate(b)
	if err != nil {
		return h, err
	}
	if h.Tenant != 0 {
		return h, fmt.Errorf("%w: a tenant in a request", ErrFormat)
	}
	switch h.Kind {
	case KindTransfers, KindTransfersByName, KindLookup, KindTransactions:
		return h, nil
	case KindOpenAccounts:
		size, body := commandSize(h.Kind), b[HeaderBytes:]
		for i := range h.Count {
			n := size(body)
			name, c, smallest := parseAccount(body[:n])
			if err := (&NewAccount{AccountID(name), c, smallest}).Validate(); err != nil {
				return h, fmt.Errorf("account %d of %d: %w", i+1, h.Count, err)
			}
			body = body[n:]
		}
		return h, nil
	case KindNone, KindAddCurrency, KindSetLimit, KindSetStatus, KindCreateTenants,
		KindCrossTransfers, KindCrossTransfersByName, KindParticipate, KindPhases,
		KindHolds, KindCrossCaptures, KindSetDailyLimits, KindExpire, KindCrossTransactions, KindCreateAssets:
	}
	return h, fmt.Errorf("%w: %v is not for the stream", ErrFormat, h.Kind)
}

// The fixed parts of the commands that end with names.
const (
	byNameBytes  = 28 // id 16, amount 8, currency 2, two lengths
	accountBytes = 11 // amount 8, currency 2, length
	statusBytes  = 2  // status, length
	assetBytes   = 2  // decimal places, length
	nameBytes    = 1  // length
)

// commandSize returns the function that gives the size of the command at the
// beginning of b (more than len(b), or 0, if it is cut short), or nil for an unknown kind.
func commandSize(k Kind) func(b []byte) int {
	named := func(fixed int) func(b []byte) int {
		return func(b []byte) int {
			if len(b) < fixed {
				return 0
			}
			return fixed + int(b[fixed-1])
		}
	}
	switch k {
	case KindNone:
		return nil
	case KindTransfers:
		return func([]byte) int { return RecordBytes }
	case KindTransfersByName:
		return func(b []byte) int {
			if len(b) < byNameBytes {
				return 0
			}
			return byNameBytes + int(b[26]) + int(b[27])
		}
	case KindOpenAccounts, KindAddCurrency, KindSetLimit:
		return named(accountBytes)
	case KindSetStatus:
		return named(statusBytes)
	case KindCreateAssets:
		return named(assetBytes)
	case KindLookup, KindCreateTenants:
		return named(nameBytes)
	case KindCrossTransfers:
		return func([]byte) int { return RecordBytes }
	case KindCrossTransfersByName:
		return func(b []byte) int {
			if len(b) < crossByNameBytes {
				return 0
			}
			return crossByNameBytes + int(b[35]) + int(b[36])
		}
	case KindParticipate:
		return messageSize
	case KindPhases:
		return func([]byte) int { return answerBytes }
	case KindHolds, KindCrossCaptures:
		return func(b []byte) int {
			if len(b) < holdBytes {
				return 0
			}
			return holdBytes + int(b[61]) + int(b[62])
		}
	case KindSetDailyLimits:
		return named(dailyBytes)
	case KindExpire:
		return func([]byte) int { return expireBytes }
	case KindTransactions:
		return transactionSize
	case KindCrossTransactions:
		return crossTransactionSize
	}
	return nil
}

// AppendHandleTransfer appends a command of KindTransfers.
func AppendHandleTransfer(dst []byte, t *HandleTransfer) []byte {
	dst = append(dst, t.ID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.To))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.Amount))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(t.Currency))
	return append(dst, make([]byte, RecordBytes-42)...)
}

// AppendTransfer appends a command of KindTransfersByName. The account ids must be valid.
func AppendTransfer(dst []byte, t *Transfer) []byte {
	dst = append(dst, t.ID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.Amount))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(t.Currency))
	dst = append(dst, byte(len(t.From)), byte(len(t.To)))
	dst = append(dst, t.From...)
	return append(dst, t.To...)
}

// AppendAccount appends a command of KindOpenAccounts, KindAddCurrency or
// KindSetLimit. The account id must be valid.
func AppendAccount(dst []byte, a *NewAccount) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(a.Min))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(a.Currency))
	return AppendName(dst, string(a.ID))
}

// AppendStatus appends a command of KindSetStatus. The account id must be valid.
func AppendStatus(dst []byte, id AccountID, to Status) []byte {
	return AppendName(append(dst, byte(to)), string(id))
}

// AppendName appends a command of KindLookup or KindCreateTenants. The name must be valid.
func AppendName(dst []byte, name string) []byte {
	return append(append(dst, byte(len(name))), name...)
}

// AppendOpened appends the answer to a command of KindOpenAccounts or KindLookup.
func AppendOpened(dst []byte, o Opened) []byte {
	result := Result(o.Code)
	if o.Before {
		result = Repeat(o.Code)
	}
	return binary.LittleEndian.AppendUint64(append(dst, byte(result)), uint64(o.Handle))
}

// ParseOpened reads the answer to a command of KindOpenAccounts or KindLookup
// from the first OpenedBytes of b.
func ParseOpened(b []byte) Opened {
	result := Result(b[0])
	return Opened{Handle: Handle(binary.LittleEndian.Uint64(b[1:])), Code: result.Code(), Before: result.Repeated()}
}

// parseTransfer reads a command of KindTransfersByName that Validate accepted.
func parseTransfer(b []byte) (id key, from, to []byte, a money.Amount, c money.Currency) {
	names := b[byNameBytes:]
	return makeKey(b), names[:b[26]], names[b[26]:][:b[27]],
		money.Amount(binary.LittleEndian.Uint64(b[16:])), money.Currency(binary.LittleEndian.Uint16(b[24:]))
}

// parseAccount reads a command that AppendAccount made.
func parseAccount(b []byte) (name []byte, c money.Currency, smallest money.Amount) {
	return b[accountBytes:][:b[10]],
		money.Currency(binary.LittleEndian.Uint16(b[8:])), money.Amount(binary.LittleEndian.Uint64(b))
}
