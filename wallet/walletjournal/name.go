package walletjournal

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"unicode/utf8"

	"maru.example/wallet"
)

// Accounts that the converter uses beside the journal's. The wallet's ids are the
// same as the names.
const (
	// ConversionAccount takes the other side of what a transaction exchanges: the sum of its
	// real postings in each commodity, if that is not zero.
	ConversionAccount = "Equity:@conversion"
	// VirtualAccount takes the other side of virtual postings that stand alone.
	VirtualAccount = "Equity:@virtual"
)

// ErrAccountName says that a name is no account's in a journal.
var ErrAccountName = errors.New("walletjournal: not the name of a journal's account")

// hashMark begins the hash of a name that is too long for an id.
const hashMark = "@."

// AccountID returns the id in the wallet of a journal's account. Letters of
// ASCII, digits and .:-_@ stay as they are; a space becomes @_, and any other byte of
// its UTF-8 @ and two digits in hexadecimal, upper case: as in URLs, with @
// instead of %. An @ in the name becomes @40 only where it would be read as one of these.
//
// An id that would have more than 64 bytes is cut, and ends with @. and the
// SHA-256 of the name in base64url: [AccountName] cannot undo that, so that
// complete is false. All other ids it turns back into the same name, and no
// two names have one id, but for the accounts of [ExportedID].
func AccountID(name string) (id wallet.AccountID, complete bool, err error) {
	if !validAccount(name) {
		return "", false, ErrAccountName
	}
	if raw, ok := cutRaw(name); ok {
		return raw, !exportsOwn(raw), nil
	}
	encoded := encodeName(name)
	if len(encoded) <= wallet.MaxAccountIDBytes && wallet.AccountID(encoded).Validate() == nil {
		return wallet.AccountID(encoded), true, nil
	}
	sum := sha256.Sum256([]byte(name))
	hashed := hashMark + base64.RawURLEncoding.EncodeToString(sum[:])
	cut := min(len(encoded), wallet.MaxAccountIDBytes-len(hashed))
	if at := strings.LastIndexByte(encoded[:cut], '@'); at >= 0 && at > cut-3 {
		cut = at
	}
	return wallet.AccountID(encoded[:cut] + hashed), false, nil
}

// AccountName returns the name in a journal of a wallet's account: the one of which
// [AccountID] makes the id. An id that it makes of no name becomes @@ and the id, with % for
// each colon, and [AccountID] turns that back.
func AccountName(id wallet.AccountID) string {
	if own, ok := cutRaw(string(id)); ok && exportsOwn(own) {
		return string(id)
	}
	if name := decodeName(string(id)); isNameOf(name, id) {
		return name
	}
	return rawMark + strings.ReplaceAll(string(id), ":", "%")
}

// isNameOf says whether AccountID makes the id of the name.
func isNameOf(name string, id wallet.AccountID) bool {
	made, complete, err := AccountID(name)
	return err == nil && complete && made == id
}

const rawMark = "@@"

// cutRaw returns the id for which a name stands that AccountName made because
// there was no other.
func cutRaw(name string) (wallet.AccountID, bool) {
	rest, ok := strings.CutPrefix(name, rawMark)
	if !ok || strings.Contains(rest, ":") {
		return "", false
	}
	id := wallet.AccountID(strings.ReplaceAll(rest, "%", ":"))
	if id.Validate() != nil || isNameOf(decodeName(string(id)), id) && !exportsOwn(id) {
		return "", false
	}
	return id, true
}

// exportsOwn says whether an id is the name of an account that exports have beside the wallet's.
func exportsOwn(id wallet.AccountID) bool { return id == OpeningAccount || id == FlightAccount }

// ExportedID returns what stands for a wallet's account in an export: its id; but where that is the name of
// an account of the export itself, [OpeningAccount] or [FlightAccount], @@ and the id with % for each colon, which is no id.
// [AccountID] turns that back. A journal that has both is refused by [Converter]: it would make one account of them.
func ExportedID(id wallet.AccountID) wallet.AccountID {
	if !exportsOwn(id) {
		return id
	}
	return wallet.AccountID(rawMark + strings.ReplaceAll(string(id), ":", "%"))
}

func encodeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == ' ':
			b.WriteString("@_")
		case c == '@' && escapes(name[i+1:]):
			b.WriteString("@40")
		case nameByte(c):
			b.WriteByte(c)
		default:
			b.WriteByte('@')
			b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

// nameByte says whether names in the wallet may have the byte.
func nameByte(c byte) bool { return c == '.' || wallet.AccountID([]byte{c}).Validate() == nil }

// escapes says whether an @ before s would be read as an escape.
func escapes(s string) bool {
	return strings.HasPrefix(s, "_") || len(s) >= 2 && upperHex(s[0]) && upperHex(s[1])
}

func upperHex(c byte) bool { return isDigit(c) || 'A' <= c && c <= 'F' }

func decodeName(id string) string {
	var b strings.Builder
	for i := 0; i < len(id); i++ {
		switch {
		case id[i] != '@' || !escapes(id[i+1:]):
			b.WriteByte(id[i])
		case id[i+1] == '_':
			b.WriteByte(' ')
			i++
		default:
			decoded, err := hex.DecodeString(id[i+1 : i+3])
			if err != nil {
				panic("walletjournal: not hexadecimal: " + id)
			}
			b.Write(decoded)
			i += 2
		}
	}
	if name := b.String(); utf8.ValidString(name) {
		return name
	}
	return ""
}
