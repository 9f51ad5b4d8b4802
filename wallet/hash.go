package wallet

import (
	"encoding/binary"
	"math/bits"

	"maru.example/money"
)

// The constants of the hashes below are part of the snapshot format: they are
// the first digits of the fractions of √2, √3, √5 and √7.
const (
	hash2 = 0x6a09e667f3bcc908
	hash3 = 0xbb67ae8584caa73b
	hash5 = 0x3c6ef372fe94f82b
	hash7 = 0xa54ff53a5f1d36f1
)

// mix folds the 128-bit product of a and b, the step of the wyhash family.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// nameHash is a fixed hash of an account's id, the account's part of a
// fingerprint. It need not withstand an enemy: whoever makes two of a tenant's
// own ids collide can only hide from that tenant that it used a transaction id twice.
func nameHash[S ~string | []byte](name S) uint64 {
	h := uint64(hash2) ^ uint64(len(name))
	for len(name) >= 8 {
		word := uint64(name[0]) | uint64(name[1])<<8 | uint64(name[2])<<16 | uint64(name[3])<<24 |
			uint64(name[4])<<32 | uint64(name[5])<<40 | uint64(name[6])<<48 | uint64(name[7])<<56
		h = mix(h^word, hash3)
		name = name[8:]
	}
	var tail uint64
	for i := range len(name) {
		tail |= uint64(name[i]) << (8 * i)
	}
	return mix(h^tail, hash5)
}

// unknownHash stands for nameHash where a handle names no account.
func unknownHash(h Handle) uint64 { return mix(uint64(h)^hash7, hash2) }

// fingerprint is 56 bits that tell one transfer's content from another's: two
// contents under one id have the same fingerprint once in 2^56.
func fingerprint(from, to uint64, a money.Amount, c money.Currency) uint64 {
	return mix(mix(from^hash3, to^hash5)^uint64(a), hash7^uint64(c)<<32) >> 8
}

// openSum is a fingerprint of the content with which an account was opened.
func openSum(c money.Currency, smallest money.Amount) uint32 {
	return uint32(mix(uint64(smallest)^hash2, hash7^uint64(c)<<32) >> 32)
}

// key is a transaction id as two machine words.
type key struct{ a, b uint64 }

func makeKey(id []byte) key {
	return key{binary.LittleEndian.Uint64(id), binary.LittleEndian.Uint64(id[8:])}
}

// id is the transaction id that makeKey read.
func (k key) id() (id TransactionID) {
	binary.LittleEndian.PutUint64(id[:], k.a)
	binary.LittleEndian.PutUint64(id[8:], k.b)
	return id
}
