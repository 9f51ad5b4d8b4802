package wallet

// Notes is what a client says of a transfer beside what moves: the reference and the
// metadata of a [Transaction].
type Notes struct {
	Reference string
	Metadata  Metadata // nil for none
}

// Empty says that nothing is said: then the transfer is a plain one.
func (n *Notes) Empty() bool { return n.Reference == "" && len(n.Metadata) == 0 }

// Noted returns the transaction that carries a transfer with notes: two postings, that of
// the paying account first. A plain transfer has no room for them, and shares the ids, so
// that one id is never both: the second is IDReused.
//
// The code is Applied, or that of a transfer which no transaction stands for:
// AmountNotPositive, as the money would move backwards, or SameAccount. The caller refuses
// it with that, and nothing remembers the id.
func (t *Transfer) Noted(n Notes) (*Transaction, Code) {
	switch {
	case t.Amount <= 0:
		return nil, AmountNotPositive
	case t.From == t.To:
		return nil, SameAccount
	}
	return &Transaction{
		ID: t.ID, Postings: []Posting{{t.From, -t.Amount, t.Currency}, {t.To, t.Amount, t.Currency}},
		Reference: n.Reference, Metadata: n.Metadata,
	}, Applied
}

// LikeTransfer says whether a transaction moves what a transfer would: an amount from the
// account of its first posting to another one.
func (t *Transaction) LikeTransfer() bool {
	if len(t.Postings) != 2 || t.Reverses != nil {
		return false
	}
	from, to := &t.Postings[0], &t.Postings[1]
	return from.Amount < 0 && from.Amount == -to.Amount && from.Currency == to.Currency && from.Account != to.Account
}
