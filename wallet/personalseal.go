package wallet

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
)

// MasterKey seals the keys of accounts. It is kept apart from the store.
type MasterKey [32]byte

// dataKey seals the items of one account.
type dataKey [32]byte

// The form of what is sealed (docs/format/personal.md): a version, a random nonce, and AES-256-GCM's
// ciphertext with its tag.
const (
	sealVersion   = 1
	sealNonce     = 12
	sealTag       = 16
	sealOverhead  = 1 + sealNonce + sealTag
	sealedKeySize = sealOverhead + len(dataKey{})
)

// What is sealed is bound to its place by the data that AES-GCM authenticates with it.
const (
	placeOfKey  = 'k'
	placeOfItem = 'i'
)

// A sealer seals under a master key.
type sealer struct {
	master MasterKey
	random io.Reader
}

// draw fills b with randomness.
func (s *sealer) draw(b []byte) {
	if _, err := io.ReadFull(s.random, b); err != nil {
		panic(fmt.Sprintf("wallet: no randomness: %v", err))
	}
}

func (s *sealer) newKey() (k dataKey) {
	s.draw(k[:])
	return k
}

// key seals an owner's key.
func (s *sealer) key(o PersonalOwner, k dataKey) []byte {
	return s.sealUnder(s.master, appendPlace(nil, placeOfKey, o), k[:])
}

// openKey opens an owner's key, or returns ErrPersonalDamaged.
func (s *sealer) openKey(o PersonalOwner, sealed []byte) (k dataKey, err error) {
	if len(sealed) != sealedKeySize {
		return k, fmt.Errorf("%w: a key of %d bytes", ErrPersonalDamaged, len(sealed))
	}
	text, err := open(s.master, appendPlace(nil, placeOfKey, o), sealed)
	copy(k[:], text)
	return k, err
}

// item seals an item under its owner's key.
func (s *sealer) item(k dataKey, o PersonalOwner, item PersonalItem, version uint64, d *PersonalData) []byte {
	return s.sealUnder(k, placeOf(o, item, version), AppendPersonalData(nil, d))
}

// openItem opens an item, or returns ErrPersonalDamaged.
func openItem(k dataKey, o PersonalOwner, item PersonalItem, s SealedItem) (d PersonalData, err error) {
	if len(s.Sealed) > maxPersonalBytes+sealOverhead {
		return d, fmt.Errorf("%w: an item of %d bytes", ErrPersonalDamaged, len(s.Sealed))
	}
	text, err := open(k, placeOf(o, item, s.Version), s.Sealed)
	if err != nil {
		return d, err
	}
	d, ok := ParsePersonalData(text)
	if !ok {
		return d, fmt.Errorf("%w: what was sealed is not of this version", ErrPersonalDamaged)
	}
	return d, nil
}

func (s *sealer) sealUnder(key [32]byte, place, text []byte) []byte {
	sealed := make([]byte, 1+sealNonce, len(text)+sealOverhead)
	sealed[0] = sealVersion
	s.draw(sealed[1:])
	return gcm(key).Seal(sealed, sealed[1:], text, place)
}

func open(key [32]byte, place, sealed []byte) ([]byte, error) {
	if len(sealed) < sealOverhead || sealed[0] != sealVersion {
		return nil, fmt.Errorf("%w: its form is not known", ErrPersonalDamaged)
	}
	text, err := gcm(key).Open(nil, sealed[1:1+sealNonce], sealed[1+sealNonce:], place)
	if err != nil {
		return nil, ErrPersonalDamaged
	}
	return text, nil
}

func gcm(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCM(block); err == nil {
			return a
		}
	}
	panic(err) // the key has 32 bytes
}

// appendPlace appends what something sealed is bound to.
func appendPlace(dst []byte, kind byte, o PersonalOwner) []byte {
	dst = append(dst, "maru personal "...)
	dst = append(dst, sealVersion, kind)
	dst = appendText(dst, string(o.Tenant))
	return appendText(dst, string(o.Account))
}

func placeOf(o PersonalOwner, item PersonalItem, version uint64) []byte {
	dst := appendText(appendPlace(nil, placeOfItem, o), string(item))
	return binary.LittleEndian.AppendUint64(dst, version)
}

// appendText appends a text of less than 64 KiB with its length before it.
func appendText(dst []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint16(dst, uint16(len(text))), text...)
}

// The form of an item's content (docs/format/personal.md).
const (
	personalVersion  = 1
	maxPersonalBytes = 1 + 2 + MaxProfileBytes + 1 + MaxPersonalKeys*4
)

// AppendPersonalData appends the form in which an item's content is sealed.
func AppendPersonalData(dst []byte, d *PersonalData) []byte {
	dst = appendText(append(dst, personalVersion), d.Text)
	dst = append(dst, byte(len(d.Metadata)))
	for _, key := range slices.Sorted(maps.Keys(d.Metadata)) {
		dst = appendText(appendText(dst, key), d.Metadata[key])
	}
	return dst
}

// ParsePersonalData reads what AppendPersonalData appended, and nothing else.
func ParsePersonalData(b []byte) (d PersonalData, ok bool) {
	if len(b) == 0 || len(b) > maxPersonalBytes || b[0] != personalVersion {
		return d, false
	}
	if d.Text, b, ok = cutText(b[1:]); !ok || len(b) == 0 {
		return d, false
	}
	n, b := int(b[0]), b[1:]
	if n > 0 {
		d.Metadata = make(map[string]string, n)
	}
	var before string
	for i := range n {
		var key, value string
		if key, b, ok = cutText(b); ok {
			value, b, ok = cutText(b)
		}
		if !ok || i > 0 && key <= before {
			return d, false
		}
		d.Metadata[key], before = value, key
	}
	return d, len(b) == 0 && d.Validate(ProfileItem) == nil || len(b) == 0 && d.Validate(noteItem) == nil
}

// noteItem stands for any note.
var noteItem = NoteItem(TransactionID{1})

func cutText(b []byte) (text string, rest []byte, ok bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.LittleEndian.Uint16(b))
	if len(b) < 2+n {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}
