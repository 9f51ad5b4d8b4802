package wallet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"maru.example/money"
	"maru.example/rsm"
)

// Limits of webhooks.
const (
	MaxWebhooks           = 128  // of all tenants
	MaxWebhookAccounts    = 100  // that one chooses
	MaxWebhookThresholds  = 64   // of one
	MaxWebhookSecrets     = 2    // with which one signs at once
	MaxWebhookURLBytes    = 2048 // of its address
	MaxWebhookNoteBytes   = 256
	MaxWebhookAttempts    = 200 // of one that are remembered, the newest
	MaxWebhookDeadLetters = 500 // of one that are kept, the newest
	MaxDeadLettersListed  = 100
)

// Errors of webhooks.
var (
	ErrWebhook           = errors.New("wallet: not a webhook")
	ErrNoWebhook         = errors.New("wallet: there is no such webhook")
	ErrNoDeadLetter      = errors.New("wallet: there is no such dead letter")
	ErrTooManyWebhooks   = fmt.Errorf("wallet: there are %d webhooks, which is the most", MaxWebhooks)
	ErrWebhookConflict   = errors.New("wallet: the webhook was changed meanwhile")
	ErrWebhookBehind     = errors.New("wallet: the webhook's lane is further, or another one")
	ErrWebhooksElsewhere = errors.New("wallet: webhooks unavailable")
	ErrStoreForked       = errors.New("wallet: the database knows another course of this log: the data directory, or another one with the same database, is a copy of before")
)

// WebhookID names a webhook: wh_ and 16 hexadecimal digits.
type WebhookID string

var webhookIDForm = regexp.MustCompile(`^wh_[0-9a-f]{16}$`)

// Validate returns an error that wraps ErrWebhook if it is not of the form.
func (id WebhookID) Validate() error {
	if !webhookIDForm.MatchString(string(id)) {
		return fmt.Errorf("%w: an id is wh_ and 16 hexadecimal digits", ErrWebhook)
	}
	return nil
}

// Webhook is an address that is told of chosen events of a tenant.
type Webhook struct {
	ID         WebhookID
	Tenant     Tenant
	URL        string
	Note       string
	Kinds      []EventKind // of the events that it is told; none: only thresholds
	Accounts   []AccountID // whose; none: all
	Thresholds []Threshold
	Secrets    []WebhookSecret // the newest first
	Enabled    bool
	Reason     string // why it was disabled, if nobody asked for it
	Created    time.Time
	// Revision counts its changes: a new one has 1.
	Revision uint64
}

// WebhookSecret is a key with which messages are signed.
type WebhookSecret struct {
	Key   []byte
	Until time.Time // zero: without end
}

// Threshold is a balance of which the crossing is told: each time that one change of
// the balance goes from one side to the other.
type Threshold struct {
	Account  AccountID
	Currency money.Currency
	Amount   money.Amount
	Above    bool // it was at most Amount, and is more; else: it was at least Amount, and is less
}

// Kind returns the type of the message: balance_below or balance_above.
func (t *Threshold) Kind() string {
	if t.Above {
		return "balance_above"
	}
	return "balance_below"
}

// Crossed says whether an event's change of a balance crosses the threshold.
func (t *Threshold) Crossed(e *Event) bool {
	before := e.Balance - e.Amount
	if t.Above {
		return before <= t.Amount && e.Balance > t.Amount
	}
	return before >= t.Amount && e.Balance < t.Amount
}

// WebhookKinds returns the kinds of events that a webhook can choose.
func WebhookKinds() []EventKind {
	var kinds []EventKind
	for k := NoEvent + 1; k < endEvent; k++ {
		if k != TenantMade {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// ParseWebhookKind returns the kind of a name that can be chosen. The error wraps ErrWebhook.
func ParseWebhookKind(name string) (EventKind, error) {
	kinds := WebhookKinds()
	names := make([]string, len(kinds))
	for i, k := range kinds {
		if names[i] = k.String(); names[i] == name {
			return k, nil
		}
	}
	return 0, fmt.Errorf("%w: a kind of event is one of %s", ErrWebhook, strings.Join(names, ", "))
}

// Validate checks everything but the id, the secrets and the times. anyHTTP allows http
// without TLS to other hosts than this one. The error wraps ErrWebhook, ErrTenant,
// ErrAccountID or ErrCurrency.
func (w *Webhook) Validate(anyHTTP bool) error {
	if err := w.Tenant.Validate(); err != nil {
		return err
	}
	if err := ValidateWebhookURL(w.URL, anyHTTP); err != nil {
		return err
	}
	switch {
	case len(w.Note) > MaxWebhookNoteBytes:
		return fmt.Errorf("%w: a note has %d bytes at the most", ErrWebhook, MaxWebhookNoteBytes)
	case len(w.Kinds) == 0 && len(w.Thresholds) == 0:
		return fmt.Errorf("%w: it has to choose kinds of events, or thresholds", ErrWebhook)
	case len(w.Accounts) > MaxWebhookAccounts:
		return fmt.Errorf("%w: it can choose %d accounts at the most, or all", ErrWebhook, MaxWebhookAccounts)
	case len(w.Thresholds) > MaxWebhookThresholds:
		return fmt.Errorf("%w: it can have %d thresholds at the most", ErrWebhook, MaxWebhookThresholds)
	}
	allowed := WebhookKinds()
	for i, k := range w.Kinds {
		if !slices.Contains(allowed, k) || slices.Contains(w.Kinds[:i], k) {
			return fmt.Errorf("%w: kind of event %v: it cannot be chosen, or is there twice", ErrWebhook, k)
		}
	}
	for _, id := range w.Accounts {
		if err := id.Validate(); err != nil {
			return err
		}
	}
	for i, t := range w.Thresholds {
		if err := t.Account.Validate(); err != nil {
			return err
		}
		if !t.Currency.Valid() {
			return ErrCurrency
		}
		if slices.Contains(w.Thresholds[:i], t) {
			return fmt.Errorf("%w: a threshold is there twice", ErrWebhook)
		}
	}
	return nil
}

// ValidateWebhookURL checks an address: https, or http to this host. The error wraps ErrWebhook.
func ValidateWebhookURL(text string, anyHTTP bool) error {
	u, err := url.Parse(text)
	switch {
	case len(text) > MaxWebhookURLBytes:
		return fmt.Errorf("%w: the URL has %d bytes, and %d are the most", ErrWebhook, len(text), MaxWebhookURLBytes)
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%w: the URL is not like https://example.com/hook", ErrWebhook)
	case !validPort(u.Port()):
		return fmt.Errorf("%w: the URL's port is not one from 1 to 65535", ErrWebhook)
	case u.User != nil:
		return fmt.Errorf("%w: the URL must not have a name or a password: messages are signed", ErrWebhook)
	case u.Fragment != "":
		return fmt.Errorf("%w: the URL must not have a fragment", ErrWebhook)
	case u.Scheme == "https", u.Scheme == "http" && (anyHTTP || isThisHost(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("%w: http is for loopback addresses only: use https, or serve with --webhook-http", ErrWebhook)
	}
	return fmt.Errorf("%w: the URL is neither https nor http", ErrWebhook)
}

// validPort says whether the port of a URL, "" for the usual one, is one.
func validPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && n > 0
}

func isThisHost(name string) bool {
	a, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && a.IsLoopback()
}

// EventPosition is the place of an event in the log of a partition.
type EventPosition struct {
	Index  rsm.Index
	Number uint32 // of the event in the entry, from 0
}

// Before says whether it is before another position.
func (p EventPosition) Before(other EventPosition) bool {
	return p.Index < other.Index || p.Index == other.Index && p.Number < other.Number
}

// WebhookLane is how far a webhook has come in a partition. Its messages are delivered
// in the order of the partition's events, one after the other.
type WebhookLane struct {
	Partition uint16
	// Generation counts how often somebody moved the lane to another place.
	Generation uint64
	// Next is the first event that is not settled: all that it wants before are
	// delivered, or dead letters. With Index 0, the place is not known yet: it is that
	// of the first entry at Since or later, or the oldest that there is if Since is zero.
	Next  EventPosition
	Since time.Time
	// Attempts to deliver the next message have failed, the first of them at
	// FirstAttempt; the next one is due at NextAttempt.
	Attempts     uint32
	FirstAttempt time.Time
	NextAttempt  time.Time
	LastError    string    // of the last attempt, "" if it did not fail
	LastSuccess  time.Time // zero: none
	FailingSince time.Time // zero: the last attempt did not fail, or there was none
	// GapTo says, if it is not 0, that the lane stands still: entries from Next on are
	// not on record (of one whose place is not known, some at Since or later), the first that is again is GapTo.
	GapTo rsm.Index
	// SetBack says, if it is not 0, that its place was there, in a past of the wallet before a restore, or in another course of its
	// log, and that it was set back to the end of what was restored, or of the log that got the database.
	SetBack rsm.Index
}

// WebhookAttempt is one try to deliver a message.
type WebhookAttempt struct {
	Time    time.Time
	Message string // its id
	Kind    string // its type
	Try     uint32 // from 1
	Status  int    // of the answer, 0 if there was none
	Latency time.Duration
	Error   string // "": delivered
}

// DeadLetter is a message that was given up.
type DeadLetter struct {
	Message  string // its id
	Kind     string
	Time     time.Time // when it was given up
	Attempts uint32
	Error    string // of the last attempt
	Body     []byte
}

// WebhookProgress is what a webhook has done, to be kept at once or not at all.
type WebhookProgress struct {
	Lane     *WebhookLane // nil: no lane is concerned
	Attempts []WebhookAttempt
	Dead     *DeadLetter // nil: none
}

// WebhookMark is the newest entry of a partition that a store of webhooks knows of: of none behind it was anything told, and
// no lane is further. A log that does not have it is not the one that was told of: a copy of before, or of another course of things.
type WebhookMark struct {
	Past  string    // tag of the wallet's past, which is a part of all ids of messages; "" : none
	Index rsm.Index // 0: none is known
	Sum   [32]byte  // of the entry: wallethook.EntrySum; zeros are not known, and fit any
}

// WebhookMarks keeps the mark of each partition, beside a WebhookStore. It is safe for concurrent use.
type WebhookMarks interface {
	// WebhookMark returns the mark of a partition; of one that has none, with Index 0.
	WebhookMark(ctx context.Context, partition uint16) (WebhookMark, error)
	// MoveWebhookMark keeps a mark in place of the one that WebhookMark returned before, with the same Past. The error is
	// ErrWebhookBehind, and nothing is kept, if another is kept by now.
	MoveWebhookMark(ctx context.Context, partition uint16, from, to WebhookMark) error
}

// WebhookFrom says where the lanes of a webhook begin; the zero value is now: with all
// that is decided later.
type WebhookFrom struct {
	Oldest    bool             // with the oldest event that there is
	Time      time.Time        // with the events of this moment, if it is not zero
	Positions HistoryPositions // with those of entries; the lanes of other partitions stay where they are
}

// NewWebhook is what makes one.
type NewWebhook struct {
	URL        string
	Note       string
	Kinds      []EventKind
	Accounts   []AccountID
	Thresholds []Threshold
	Disabled   bool
	From       WebhookFrom
}

// WebhookChange says what of a webhook shall be otherwise: nil leaves it as it is.
type WebhookChange struct {
	URL        *string
	Note       *string
	Kinds      *[]EventKind
	Accounts   *[]AccountID
	Thresholds *[]Threshold
	Enabled    *bool
}

// WebhookState is a webhook and how far it is.
type WebhookState struct {
	Webhook
	Lanes []WebhookLane // by partition
}

// WebhookStore keeps webhooks. It is shared by the nodes that deliver. It is safe for concurrent
// use. Times are kept to the nanosecond, in UTC.
type WebhookStore interface {
	// Webhooks returns all of them, by time of creation and id.
	Webhooks(ctx context.Context) ([]Webhook, error)
	// PutWebhook keeps a webhook: a new one if its Revision is 0, else in place of the
	// one with that revision; the revision that is kept is one more. With lanes, they take the
	// place of those that there are. The error is ErrWebhookConflict if the revision is
	// another, ErrNoWebhook if there is none, or ErrTooManyWebhooks.
	PutWebhook(ctx context.Context, w *Webhook, lanes []WebhookLane) error
	// DeleteWebhook removes a webhook with all that belongs to it, or returns ErrNoWebhook.
	DeleteWebhook(ctx context.Context, id WebhookID) error
	// WebhookLanes returns the lanes of a webhook, by partition; none if there is no such webhook.
	WebhookLanes(ctx context.Context, id WebhookID) ([]WebhookLane, error)
	// SaveWebhook keeps progress. The error is ErrWebhookBehind, and nothing is kept, if the
	// lane that is kept is of a later generation, or of the same one and further, or there is none. Of attempts and dead letters the newest are
	// kept; a dead letter takes the place of one of the same message.
	SaveWebhook(ctx context.Context, id WebhookID, p *WebhookProgress) error
	// WebhookAttempts returns the newest attempts, the newest first.
	WebhookAttempts(ctx context.Context, id WebhookID, limit int) ([]WebhookAttempt, error)
	// DeadLetters returns those of a webhook, by time and message, behind one of a message
	// ("": from the first), at most limit.
	DeadLetters(ctx context.Context, id WebhookID, after string, limit int) ([]DeadLetter, error)
	// RemoveDeadLetter removes one, and returns ErrNoDeadLetter if there is none.
	RemoveDeadLetter(ctx context.Context, id WebhookID, message string) error
}
