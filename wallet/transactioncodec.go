package wallet

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"maru.example/money"
)

// The parts of a transaction's command: see docs/format/wallet.md.
const (
	transactionHead = 18 // id 16, length of the rest 2
	contentHead     = 4  // what it reverses 1, postings 1, length of the reference 1, keys 1
	postingBytes    = 11 // amount 8, currency 2, length of the account's id 1
	metadataHead    = 3  // length of the key 1, of the value 2
	legBytes        = 18 // handle 8, currency 2, amount 8
	transactionTry  = 28 // of a message with legs: action 1, number 8, tenant 2, id 16, legs 1
)

// reversed says what a transaction reverses. The numbers are part of the log's format.
type reversed uint8

const (
	reversesNothing reversed = iota
	reversesTransfer
	reversesTransaction
	reversesCapture
)

// AppendTransaction appends a command of KindTransactions, which must be valid.
func AppendTransaction(dst []byte, t *Transaction) []byte {
	dst = append(dst, t.ID[:]...)
	at := len(dst)
	dst = append(dst, 0, 0)
	what, of := reversesNothing, TransactionID{}
	if o := t.Reverses; o != nil {
		of = o.ID
		switch {
		case o.Hold != TransactionID{}:
			what = reversesCapture
		case o.Transfer:
			what = reversesTransfer
		default:
			what = reversesTransaction
		}
	}
	dst = appendContent(dst, what, of, t.Postings, t.Reference, t.Metadata)
	if o := t.Reverses; o != nil {
		dst = appendContent(dst, reversesNothing, TransactionID{}, o.Postings, o.Reference, o.Metadata)
		if what == reversesCapture {
			dst = append(dst, o.Hold[:]...)
		}
	}
	binary.LittleEndian.PutUint16(dst[at:], uint16(len(dst)-at-2))
	return dst
}

// appendContent appends what a transaction says. The keys are in their order, so that
// the same content is always the same bytes.
func appendContent(dst []byte, what reversed, of TransactionID, postings []Posting, reference string, data Metadata) []byte {
	dst = append(dst, byte(what), byte(len(postings)), byte(len(reference)), byte(len(data)))
	if what != reversesNothing {
		dst = append(dst, of[:]...)
	}
	for i := range postings {
		p := &postings[i]
		dst = binary.LittleEndian.AppendUint64(dst, uint64(p.Amount))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(p.Currency))
		dst = AppendName(dst, string(p.Account))
	}
	dst = append(dst, reference...)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		dst = append(dst, byte(len(key)))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(data[key])))
		dst = append(append(dst, key...), data[key]...)
	}
	return dst
}

// transactionSize is the size of the command of KindTransactions at the beginning of
// b, or 0 if it is cut short.
func transactionSize(b []byte) int {
	if len(b) < transactionHead+contentHead {
		return 0
	}
	n := int(binary.LittleEndian.Uint16(b[16:]))
	if n < contentHead {
		return 0
	}
	return transactionHead + n
}

// crossTransactionSize is the same of KindCrossTransactions, which goes on with a
// protocol, and a handle for each posting.
func crossTransactionSize(b []byte) int {
	n := transactionSize(b)
	if n == 0 {
		return 0
	}
	return n + 1 + 8*int(b[transactionHead+1])
}

// appendCrossTransaction appends a command of KindCrossTransactions: one of
// KindTransactions, and the handles of the accounts of its postings, 0 where there is
// none or the deciding partition knows it.
func appendCrossTransaction(dst, cmd []byte, by Protocol, handles []Handle) []byte {
	dst = append(append(dst, cmd...), byte(by))
	for _, h := range handles {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(h))
	}
	return dst
}

// content is what a transaction says, as its command has it.
type content struct {
	reverses reversed
	of       key    // what is reversed
	hold     key    // of an original that was a capture: what it was paid out of
	all      []byte // for the fingerprint
	postings []byte
	n        int // of them
	notes    int // bytes of the reference and the metadata, which are the last of all
}

// rawPosting is a posting within a command.
type rawPosting struct {
	name     []byte
	amount   money.Amount
	currency money.Currency
}

// nextPosting reads a posting that parseContent accepted, and returns the rest.
func nextPosting(b []byte) (p rawPosting, rest []byte) {
	end := postingBytes + int(b[10])
	return rawPosting{
		b[postingBytes:end], money.Amount(binary.LittleEndian.Uint64(b)), money.Currency(binary.LittleEndian.Uint16(b[8:])),
	}, b[end:]
}

// first returns the account of the first posting: the partition that it belongs to
// decides a transaction.
func (c *content) first() []byte {
	p, _ := nextPosting(c.postings)
	return p.name
}

// fingerprint is that of a transaction.
func (c *content) fingerprint() uint64 { return mix(nameHash(c.all)^hash7, hash3) >> 8 }

// parseTransaction reads a command of KindTransactions, without what a command of
// KindCrossTransactions has behind it. Original is what it reverses.
func parseTransaction(cmd []byte) (id key, own, original content, ok bool) {
	own, rest, ok := parseContent(cmd[transactionHead:])
	if !ok {
		return key{}, own, original, false
	}
	if own.reverses != reversesNothing {
		if original, rest, ok = parseContent(rest); !ok || original.reverses != reversesNothing || own.of == (key{}) {
			return key{}, own, original, false
		}
		if own.reverses != reversesTransaction && !original.isTransfer() {
			return key{}, own, original, false
		}
		if own.reverses == reversesCapture {
			if len(rest) < 16 {
				return key{}, own, original, false
			}
			if original.hold, rest = makeKey(rest), rest[16:]; original.hold == (key{}) {
				return key{}, own, original, false
			}
		}
	}
	id = makeKey(cmd)
	return id, own, original, len(rest) == 0 && id != key{}
}

// isTransfer says that a content is that of a transfer.
func (c *content) isTransfer() bool {
	from, rest := nextPosting(c.postings)
	if c.n != 2 || from.amount >= 0 {
		return false
	}
	to, end := nextPosting(rest)
	return to.amount == -from.amount && to.currency == from.currency && c.notes == 0 && len(end) == 0
}

// parseContent reads a content, and returns what comes after it.
func parseContent(b []byte) (c content, rest []byte, ok bool) {
	if len(b) < contentHead {
		return c, nil, false
	}
	c.reverses, c.n = reversed(b[0]), int(b[1])
	reference, keys := int(b[2]), int(b[3])
	rest = b[contentHead:]
	if c.reverses > reversesCapture || c.n < 2 || c.n > MaxPostings || reference > MaxReference || keys > MaxMetadata {
		return c, nil, false
	}
	if c.reverses != reversesNothing {
		if len(rest) < 16 {
			return c, nil, false
		}
		c.of, rest = makeKey(rest), rest[16:]
	}
	c.postings = rest
	for range c.n {
		if len(rest) < postingBytes || len(rest) < postingBytes+int(rest[10]) {
			return c, nil, false
		}
		var p rawPosting
		if p, rest = nextPosting(rest); p.amount == 0 || p.amount == math.MinInt64 || p.currency == 0 || !validName(string(p.name)) {
			return c, nil, false
		}
	}
	c.postings = c.postings[:len(c.postings)-len(rest)]
	notes := len(rest)
	if len(rest) < reference {
		return c, nil, false
	}
	if rest, ok = skipMetadata(rest[reference:], keys); !ok {
		return c, nil, false
	}
	c.all, c.notes = b[:len(b)-len(rest)], notes-len(rest)
	return c, rest, true
}

// skipMetadata passes over keys, which are in their order, and values.
func skipMetadata(b []byte, keys int) (rest []byte, ok bool) {
	last, size := "", 0
	for range keys {
		if len(b) < metadataHead {
			return nil, false
		}
		n, m := int(b[0]), int(binary.LittleEndian.Uint16(b[1:]))
		b = b[metadataHead:]
		if size += n + m; n > MaxMetadataKey || size > MaxMetadataBytes || len(b) < n+m {
			return nil, false
		}
		name := string(b[:n])
		if name <= last {
			return nil, false
		}
		last, b = name, b[n+m:]
	}
	return b, true
}

// appendLeg appends a leg of a message.
func appendLeg(dst []byte, l *leg) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.account))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(l.currency))
	return binary.LittleEndian.AppendUint64(dst, uint64(l.amount))
}

// parseLeg reads the first legBytes of b.
func parseLeg(b []byte) leg {
	return leg{
		account: Handle(binary.LittleEndian.Uint64(b)), currency: money.Currency(binary.LittleEndian.Uint16(b[8:])),
		amount: money.Amount(binary.LittleEndian.Uint64(b[10:])),
	}
}

// legsSize is the size of a message with legs at the beginning of b, or 0.
func legsSize(b []byte) int {
	if len(b) < transactionTry || b[transactionTry-1] == 0 || b[transactionTry-1] > MaxPostings {
		return 0
	}
	return transactionTry + legBytes*int(b[transactionTry-1])
}

// appendLegsMessage appends a message with legs.
func appendLegsMessage(dst []byte, v *message) []byte {
	dst = binary.LittleEndian.AppendUint64(append(dst, byte(v.action)), v.seq)
	dst = binary.LittleEndian.AppendUint16(dst, v.tenant)
	dst = binary.LittleEndian.AppendUint64(dst, v.key.a)
	dst = binary.LittleEndian.AppendUint64(dst, v.key.b)
	return append(append(dst, byte(len(v.legs)/legBytes)), v.legs...)
}

// ParseTransaction reads a command of KindTransactions, or the beginning of one of
// KindCrossTransactions, from a log or an event: so that what a transaction says, its
// reference and metadata, can be shown. It returns false if it is malformed.
func ParseTransaction(cmd []byte) (*Transaction, bool) {
	size := transactionSize(cmd)
	if size == 0 || size > len(cmd) {
		return nil, false
	}
	id, own, original, ok := parseTransaction(cmd[:size])
	if !ok {
		return nil, false
	}
	t := &Transaction{ID: id.id()}
	t.Postings, t.Reference, t.Metadata = own.said()
	if own.reverses != reversesNothing {
		t.Reverses = &Original{ID: own.of.id(), Transfer: own.reverses != reversesTransaction, Hold: original.hold.id()}
		t.Reverses.Postings, t.Reverses.Reference, t.Reverses.Metadata = original.said()
	}
	return t, true
}

// said returns what a content says.
func (c *content) said() (postings []Posting, reference string, data Metadata) {
	rest := c.postings
	for range c.n {
		var p rawPosting
		p, rest = nextPosting(rest)
		postings = append(postings, Posting{AccountID(p.name), p.amount, p.currency})
	}
	after := c.all[len(c.all)-c.notes:]
	reference, after = string(after[:c.all[2]]), after[c.all[2]:]
	for range c.all[3] {
		n, m := int(after[0]), int(binary.LittleEndian.Uint16(after[1:]))
		after = after[metadataHead:]
		if data == nil {
			data = Metadata{}
		}
		data[string(after[:n])] = string(after[n : n+m])
		after = after[n+m:]
	}
	return postings, reference, data
}
