package wallet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"maru.example/money"
)

// Limits of transactions.
const (
	MaxPostings      = 64      // of a transaction
	MaxReference     = 64      // bytes of a reference
	MaxMetadata      = 16      // keys of a transaction
	MaxMetadataKey   = 64      // bytes of a key
	MaxMetadataBytes = 1 << 10 // of all keys and values together
)

// Errors of malformed transactions: nothing was proposed.
var (
	ErrPostings  = errors.New("wallet: a transaction has 2 to 64 postings")
	ErrPosting   = errors.New("wallet: the amount of a posting is not zero, and has less than 19 digits in minor units")
	ErrReference = errors.New("wallet: a reference has up to 64 bytes of UTF-8")
	ErrMetadata  = errors.New("wallet: metadata has up to 16 keys of 1 to 64 bytes of UTF-8, and 1024 bytes in all")
	ErrReversal  = errors.New("wallet: a reversal is of a transfer of two postings, or of a transaction that is no reversal itself")
	ErrTwoPhase  = errors.New("wallet: transactions between partitions are made by tcc or saga, not by 2pc")
)

// Posting is a leg of a transaction: Amount is added to what an account holds of a
// currency. It is negative for a debit, and never zero.
type Posting struct {
	Account  AccountID
	Amount   money.Amount
	Currency money.Currency
}

// Metadata is what a client notes beside a transaction: see MaxMetadata.
type Metadata map[string]string

// Transaction is up to MaxPostings postings that are made together or not at all.
// For each currency their amounts add up to zero. What is judged, and what moves, is
// the sum of the postings of an account in a currency: it may be debited and credited
// in one transaction, and needs no more money than that sum.
type Transaction struct {
	ID        TransactionID // it shares the ids with transfers
	Postings  []Posting
	Reference string    // in a system outside; the machine does not look it up
	Metadata  Metadata  // nil for none
	Reverses  *Original // what it takes back, nil for none
}

// Original is a transfer or a transaction that is to be reversed: all that was said of
// it, since the machine remembers no more than whether it was that.
type Original struct {
	ID        TransactionID
	Transfer  bool          // it was made as a transfer
	Hold      TransactionID // it was a capture of this hold, and so a transfer
	Postings  []Posting     // of a transfer two: that of the paying account first
	Reference string
	Metadata  Metadata
}

// OriginalTransfer returns a transfer as something to be reversed.
func OriginalTransfer(t *Transfer) *Original { return OriginalNoted(t, Notes{}) }

// OriginalNoted returns a transfer that was made with notes, if there are any, as something
// to be reversed.
func OriginalNoted(t *Transfer, n Notes) *Original {
	return &Original{
		ID: t.ID, Transfer: n.Empty(), Postings: []Posting{{t.From, -t.Amount, t.Currency}, {t.To, t.Amount, t.Currency}},
		Reference: n.Reference, Metadata: n.Metadata,
	}
}

// OriginalCapture returns a capture as something to be reversed: what is taken back is
// available to the account again, and not held.
func OriginalCapture(c *Capture) *Original {
	o := OriginalTransfer(&c.Transfer)
	o.Hold = c.Hold
	return o
}

// Original returns a transaction as something to be reversed.
func (t *Transaction) Original() *Original {
	return &Original{ID: t.ID, Postings: t.Postings, Reference: t.Reference, Metadata: t.Metadata}
}

// Movement says whether it moved one amount from one account to another, so that an amount alone
// says which part of it is taken back.
func (o *Original) Movement() bool {
	return len(o.Postings) == 2 && o.Postings[0].Amount == -o.Postings[1].Amount && o.Postings[0].Currency == o.Postings[1].Currency
}

// Reverse returns the transaction that takes all of it back.
func (o *Original) Reverse(id TransactionID) *Transaction {
	t := &Transaction{ID: id, Postings: slices.Clone(o.Postings), Reverses: o}
	for i := range t.Postings {
		t.Postings[i].Amount = -t.Postings[i].Amount
	}
	return t
}

// ReversePart returns the transaction that takes a part of a [Original.Movement] back.
func (o *Original) ReversePart(id TransactionID, amount money.Amount) *Transaction {
	t := o.Reverse(id)
	for i := range t.Postings {
		if t.Postings[i].Amount < 0 {
			t.Postings[i].Amount = -amount
		} else {
			t.Postings[i].Amount = amount
		}
	}
	return t
}

// Validate returns an error if the transaction is malformed. Whether its postings
// balance is for the machine to judge.
func (t *Transaction) Validate() error {
	if t.ID == (TransactionID{}) {
		return ErrTransactionID
	}
	if err := validContent(t.Postings, t.Reference, t.Metadata); err != nil || t.Reverses == nil {
		return err
	}
	if err := t.Reverses.Validate(); err != nil {
		return fmt.Errorf("the transaction to be reversed: %w", err)
	}
	return nil
}

// Validate returns an error if no such transfer or transaction can have been made.
func (o *Original) Validate() error {
	if o.ID == (TransactionID{}) {
		return ErrTransactionID
	}
	if o.Transfer && (len(o.Postings) != 2 || o.Reference != "" || len(o.Metadata) > 0 || o.Postings[0].Amount >= 0 ||
		o.Postings[0].Amount != -o.Postings[1].Amount || o.Postings[0].Currency != o.Postings[1].Currency) {
		return ErrReversal
	}
	if o.Hold != (TransactionID{}) && !o.Transfer {
		return ErrReversal
	}
	return validContent(o.Postings, o.Reference, o.Metadata)
}

func validContent(postings []Posting, reference string, data Metadata) error {
	if len(postings) < 2 || len(postings) > MaxPostings {
		return ErrPostings
	}
	for i := range postings {
		if err := postings[i].Validate(); err != nil {
			return fmt.Errorf("posting %d: %w", i+1, err)
		}
	}
	if len(reference) > MaxReference || !utf8.ValidString(reference) {
		return ErrReference
	}
	return data.Validate()
}

// Validate returns ErrAccountID, ErrCurrency or ErrPosting.
func (p *Posting) Validate() error {
	if err := p.Account.Validate(); err != nil {
		return err
	}
	switch {
	case !p.Currency.Valid():
		return ErrCurrency
	case p.Amount == 0 || p.Amount == math.MinInt64:
		return ErrPosting
	}
	return nil
}

// Validate returns ErrMetadata if it is too large, or no text.
func (d Metadata) Validate() error {
	size := 0
	for key, value := range d {
		if len(key) == 0 || len(key) > MaxMetadataKey || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return ErrMetadata
		}
		size += len(key) + len(value)
	}
	if len(d) > MaxMetadata || size > MaxMetadataBytes {
		return ErrMetadata
	}
	return nil
}

// ReversalID returns the id of the reversal of a whole transfer or transaction that was given
// none: always the same (a UUID of version 8, RFC 9562), so that it is made once.
func ReversalID(of TransactionID) (id TransactionID) {
	sum := sha256.Sum256(append([]byte("reversal of "), of[:]...))
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}
