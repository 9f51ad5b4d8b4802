package walletjournal

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"maru.example/wallet"
)

// Tags of a transaction that came from a wallet.
const (
	// TagTransactionID has the wallet's id of the transaction. A transaction that has one keeps it.
	TagTransactionID = "transaction_id"
	// TagTime has the moment at which the wallet decided, as in RFC 3339.
	TagTime = "time"

	tagPart     = "part_of"  // the transaction_id of what has more parts, in other partitions
	tagReverses = "reverses" // the transaction_id of what is taken back
	tagPosition = "position" // in the wallet's log
	tagMetadata = "metadata" // what cannot be a tag of its own, as a JSON object
)

// The keys of metadata that a transaction in a wallet has of its entry in a journal, beside its tags.
const (
	keyDate        = "date"
	keyDate2       = "date_2"
	keyCode        = "code" // if it is no reference
	keyDescription = "description"
)

// Movement is a transaction as the wallet makes it: its legs sum to zero in each
// currency, and no two of them are of one account and currency.
type Movement struct {
	ID          wallet.TransactionID // zero: it is none of the wallet's
	Derived     bool                 // the id follows from the content
	Part        bool                 // it is a part of the transaction ID
	Time        time.Time            // of the wallet's decision; zero if only the date is known
	Date        Date
	Date2       Date
	Code        string // a wallet's reference
	Description string
	Metadata    wallet.Metadata // nil for none
	Reverses    wallet.TransactionID
	Position    string // in the wallet's log
	Legs        []Leg

	File string // where it is from, of what was read
	Line int
}

// Transaction returns what makes the movement in a wallet. The code is its reference, or
// metadata if it is too long for that; date, second date and description are metadata, and of the tags
// those that fit beside them, in the order of their names. A long description is cut.
func (m *Movement) Transaction() *wallet.Transaction {
	t := &wallet.Transaction{ID: m.ID, Metadata: wallet.Metadata{}}
	for _, l := range m.Legs {
		t.Postings = append(t.Postings, wallet.Posting{Account: l.Account, Amount: l.Amount, Currency: l.Currency})
	}
	// The order of postings in a journal does not count: the same entry is the same transaction.
	slices.SortFunc(t.Postings, func(a, b wallet.Posting) int {
		return cmp.Or(strings.Compare(string(a.Account), string(b.Account)), cmp.Compare(a.Currency, b.Currency))
	})
	note := func(key, value string) {
		if _, ok := t.Metadata[key]; ok || value == "" {
			return
		}
		t.Metadata[key] = value
		if t.Metadata.Validate() != nil {
			delete(t.Metadata, key)
		}
	}
	note(keyDate, m.Date.String())
	note(keyDate2, m.Date2.String())
	if code := strings.ToValidUTF8(m.Code, "?"); len(code) <= wallet.MaxReference {
		t.Reference = code
	} else {
		note(keyCode, cut(code, wallet.MaxMetadataBytes/4))
	}
	note(keyDescription, cut(strings.ToValidUTF8(m.Description, "?"), wallet.MaxMetadataBytes/2))
	for _, key := range slices.Sorted(maps.Keys(m.Metadata)) {
		note(key, m.Metadata[key])
	}
	return t
}

// cut returns the beginning of s that has so many bytes at the most.
func cut(s string, size int) string {
	if len(s) <= size {
		return s
	}
	for size > 0 && !utf8.RuneStart(s[size]) {
		size--
	}
	return s[:size]
}

// Say adds what a transaction in a wallet says beside its postings: what
// [Movement.Transaction] made of a journal's entry becomes that again.
func (m *Movement) Say(t *wallet.Transaction) {
	m.Code, m.Metadata = t.Reference, maps.Clone(t.Metadata)
	if t.Reverses != nil {
		m.Reverses = t.Reverses.ID
	}
	if d, err := parseDate(m.Metadata[keyDate], 0); err == nil && d.String() == m.Metadata[keyDate] {
		m.Date2 = d
		delete(m.Metadata, keyDate)
	}
	if text, ok := m.Metadata[keyDescription]; ok && text != "" {
		m.Description = text
		delete(m.Metadata, keyDescription)
	}
	if code, ok := m.Metadata[keyCode]; ok && m.Code == "" && code != "" {
		m.Code = code
		delete(m.Metadata, keyCode)
	}
	if len(m.Metadata) == 0 {
		m.Metadata = nil
	}
}

// Journal returns a movement as a transaction of a journal, with the wallet's id and time as tags: what
// [Converter] makes of it is the same movement.
func Journal(m *Movement, c Commodities) *Transaction {
	t := &Transaction{Date: m.Date, Date2: m.Date2, Status: Cleared, Code: m.Code, Description: m.Description}
	tag := func(name, value string) { t.Comment += "\n" + name + ": " + value }
	switch {
	case m.ID == wallet.TransactionID{}:
	case m.Part:
		tag(tagPart, m.ID.String())
	default:
		tag(TagTransactionID, m.ID.String())
	}
	if !m.Time.IsZero() {
		t.Date = DateOf(m.Time)
		tag(TagTime, m.Time.Format(time.RFC3339Nano))
	}
	if m.Position != "" {
		tag(tagPosition, m.Position)
	}
	if m.Reverses != (wallet.TransactionID{}) {
		tag(tagReverses, m.Reverses.String())
	}
	t.Comment = strings.TrimPrefix(t.Comment+writeTags(m.Metadata), "\n")
	for _, l := range m.Legs {
		t.Postings = append(t.Postings, Posting{
			Account: AccountName(l.Account),
			Amount:  Amount{NewDecimal(int64(l.Amount), l.Currency.Digits()), c.Commodity(l.Currency)},
		})
	}
	return t
}

// Split returns a movement as several with at most so many legs each, all of them balanced in each
// currency. No currency has more legs than that.
func (m *Movement) Split(most int) []*Movement {
	if len(m.Legs) <= most {
		return []*Movement{m}
	}
	legs := slices.Clone(m.Legs)
	slices.SortStableFunc(legs, func(a, b Leg) int { return cmp.Compare(a.Currency, b.Currency) })
	var all []*Movement
	for len(legs) > 0 {
		end := 0
		for end < len(legs) {
			next := end
			for next < len(legs) && legs[next].Currency == legs[end].Currency {
				next++
			}
			if next > most && end > 0 {
				break
			}
			end = next
		}
		part := *m
		part.Part, part.Legs = part.ID != (wallet.TransactionID{}), legs[:end:end]
		all, legs = append(all, &part), legs[end:]
	}
	return all
}

// tagLine is a tag alone in a line of a comment.
var tagLine = regexp.MustCompile(`^(\pL[\pL\pN_-]*):(?:\s+(.*))?$`)

// reservedTags are not written for metadata: they say something else.
var reservedTags = []string{
	TagTransactionID, TagTime, tagPart, tagReverses, tagPosition, tagMetadata, tagLot, tagCode, tagDescription, tagComment, keyDate, "date2",
}

// writeTags returns metadata as lines of a comment, each after an end of line.
func writeTags(data wallet.Metadata) string {
	var lines strings.Builder
	rest := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		line := strings.TrimSpace(key + ": " + data[key])
		if parts := tagLine.FindStringSubmatch(line); parts == nil || parts[1] != key || parts[2] != data[key] || slices.Contains(reservedTags, key) || !isText(line) {
			rest[key] = data[key]
			continue
		}
		lines.WriteString("\n" + line)
	}
	if len(rest) > 0 {
		text, err := json.Marshal(rest)
		if err != nil {
			panic(err) // strings can always be written
		}
		lines.WriteString("\n" + tagMetadata + ": " + string(text))
	}
	return lines.String()
}

// readTags returns a comment's transaction_id, and its tags as metadata: the first of each name.
func readTags(comment string) (id string, data wallet.Metadata) {
	data = wallet.Metadata{}
	for line := range strings.SplitSeq(comment, "\n") {
		parts := tagLine.FindStringSubmatch(line)
		if parts == nil {
			continue
		}
		switch key, value := parts[1], parts[2]; key {
		case TagTransactionID:
			if id == "" {
				id = value
			}
		case TagTime, tagPosition:
		case tagMetadata:
			var rest map[string]string
			if json.Unmarshal([]byte(value), &rest) == nil {
				maps.Copy(data, rest)
				continue
			}
			fallthrough
		default:
			if _, ok := data[key]; !ok {
				data[key] = value
			}
		}
	}
	if len(data) == 0 {
		data = nil
	}
	return id, data
}
