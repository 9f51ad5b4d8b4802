package wallethttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/money"
	"maru.example/wallet"
)

type (
	webhookID     string
	webhookURL    string
	webhookKind   string
	webhookFrom   string
	messageID     string
	thresholdSide string
	overlapHours  int
	payload       json.RawMessage
)

const (
	fromNow    = "now"
	fromOldest = "oldest"
	sideBelow  = "below"
	sideAbove  = "above"

	maxOverlapHours     = 720
	defaultOverlapHours = 24
)

// Schema describes a webhook's id.
func (webhookID) Schema(huma.Registry) *huma.Schema {
	return stringSchema(`^wh_[0-9a-f]{16}$`, "A webhook's id.", "wh_4f1c8a03b7d29e56")
}

// Schema describes a webhook's address.
func (webhookURL) Schema(huma.Registry) *huma.Schema {
	return stringSchema(`^https?://.+$`, "Where messages are posted: https, or http to a loopback address.", "https://example.com/hook")
}

// Schema describes a kind of events.
func (webhookKind) Schema(huma.Registry) *huma.Schema {
	var names []any
	for _, k := range wallet.WebhookKinds() {
		names = append(names, k.String())
	}
	return &huma.Schema{Type: huma.TypeString, Enum: names, Examples: []any{wallet.Credit.String()}}
}

// Schema describes a place in the logs.
func (webhookFrom) Schema(huma.Registry) *huma.Schema {
	return stringSchema(`^(now|oldest|[0-9]{4}-[0-9]{2}-[0-9]{2}T.+|[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*)$`,
		"Where to begin: now, oldest, a time of RFC 3339, or a position, or several of different partitions.", fromNow)
}

// Schema describes the id of a message.
func (messageID) Schema(huma.Registry) *huma.Schema {
	return stringSchema(`^[A-Za-z0-9_-]{1,128}$`, "The header webhook-id of a message: the same for each attempt, and for the same event.", "evt_5b0c9e17-0-7-1")
}

// Schema describes a side of a threshold.
func (thresholdSide) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Enum: []any{sideBelow, sideAbove}, Examples: []any{sideBelow},
		Description: "below: the balance was at least the amount, and is less. above: it was at most the amount, and is more.",
	}
}

// Schema describes for how long two secrets sign.
func (overlapHours) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Minimum: new(0.0), Maximum: new(float64(maxOverlapHours)), Examples: []any{defaultOverlapHours}}
}

// Schema describes the body of a message.
func (payload) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Description: "The body as it was sent.", AdditionalProperties: true}
}

// MarshalJSON returns the text.
func (p payload) MarshalJSON() ([]byte, error) { return json.RawMessage(p).MarshalJSON() }

// UnmarshalJSON keeps the text.
func (p *payload) UnmarshalJSON(b []byte) error { return (*json.RawMessage)(p).UnmarshalJSON(b) }

type webhookThreshold struct {
	Account  accountID     `json:"account"`
	Currency currency      `json:"currency"`
	Side     thresholdSide `json:"side"`
	Amount   amount        `json:"amount"`
}

type webhookRequest struct {
	URL        webhookURL         `json:"url"`
	Note       string             `json:"note,omitempty" pattern:"^.{1,256}$" example:"the shop"`
	Kinds      []webhookKind      `json:"kinds,omitempty" nullable:"false" doc:"Events of these kinds; without any, there have to be thresholds."`
	Accounts   []accountID        `json:"accounts,omitempty" nullable:"false" maxItems:"100" doc:"Events of these accounts; of all without any. Kinds of events that are of no account come without any only."`
	Thresholds []webhookThreshold `json:"thresholds,omitempty" nullable:"false" maxItems:"64" doc:"Balances whose crossing is told, each time."`
	Enabled    *flag              `json:"enabled,omitempty" doc:"True by default."`
	From       webhookFrom        `json:"from,omitempty" doc:"Where it begins; now by default."`
}

type webhookChange struct {
	URL        webhookURL          `json:"url,omitempty"`
	Note       string              `json:"note,omitempty" pattern:"^.{1,256}$" example:"the shop"`
	Kinds      *[]webhookKind      `json:"kinds,omitempty" nullable:"false"`
	Accounts   *[]accountID        `json:"accounts,omitempty" nullable:"false" maxItems:"100" doc:"None: all."`
	Thresholds *[]webhookThreshold `json:"thresholds,omitempty" nullable:"false" maxItems:"64"`
	Enabled    *flag               `json:"enabled,omitempty"`
}

type rotateRequest struct {
	Overlap *overlapHours `json:"overlap_hours,omitempty" doc:"For how long messages are signed with the secret before as well; 24 by default, 0 if it was stolen."`
}

type replayRequest struct {
	From webhookFrom `json:"from"`
}

type webhookAnswer struct {
	ID         webhookID          `json:"id"`
	URL        webhookURL         `json:"url"`
	Note       string             `json:"note,omitempty"`
	Kinds      []webhookKind      `json:"kinds" nullable:"false"`
	Accounts   []accountID        `json:"accounts" nullable:"false" doc:"None: all."`
	Thresholds []webhookThreshold `json:"thresholds" nullable:"false"`
	State      string             `json:"state" enum:"active,failing,gap,disabled" doc:"failing: the last attempt in a partition failed, and is repeated. gap: events that it wants are not on record any more; it stands still until a replay says where to go on."`
	Reason     string             `json:"reason,omitempty" enum:"gone,failing" doc:"Why it was disabled, if not by request: the receiver answered 410, or nothing but failure for five days."`
	Secret     string             `json:"secret,omitempty" pattern:"^whsec_[A-Za-z0-9+/=]+$" doc:"The key of the signatures: only when it was made."`
	CreatedAt  string             `json:"created_at" format:"date-time"`
	Lanes      []webhookLane      `json:"partitions" nullable:"false"`
}

type webhookLane struct {
	Partition    uint16 `json:"partition"`
	Position     string `json:"position,omitempty" pattern:"^[0-9]+:[0-9]+$" doc:"The first entry of which not everything is delivered; absent: not known yet."`
	Attempts     uint32 `json:"failed_attempts" minimum:"0" doc:"To deliver the next message."`
	NextAttempt  string `json:"next_attempt_at,omitempty" format:"date-time"`
	LastError    string `json:"last_error,omitempty"`
	LastSuccess  string `json:"last_success_at,omitempty" format:"date-time"`
	FailingSince string `json:"failing_since,omitempty" format:"date-time"`
	GapTo        string `json:"gap_to,omitempty" pattern:"^[0-9]+:[0-9]+$" doc:"Entries from position on are not on record; this is the first that is again."`
	SetBack      string `json:"set_back_from,omitempty" pattern:"^[0-9]+:[0-9]+$" doc:"It was there, in a past of the wallet before a restore, or in another course of its log, and went on at the end of the log that got the database."`
}

type webhooksAnswer struct {
	Webhooks []webhookAnswer `json:"webhooks" nullable:"false"`
}

type deletedAnswer struct {
	Status string `json:"status" enum:"deleted"`
}

type attemptAnswer struct {
	Time    string    `json:"time" format:"date-time"`
	Message messageID `json:"message_id"`
	Kind    string    `json:"type"`
	Try     uint32    `json:"try" minimum:"1"`
	Status  int       `json:"status,omitempty" doc:"Of the answer; absent: there was none."`
	Latency int64     `json:"latency_ms" minimum:"0"`
	Error   string    `json:"error,omitempty" doc:"Absent: it was delivered."`
}

type attemptsAnswer struct {
	Attempts []attemptAnswer `json:"attempts" nullable:"false" doc:"The newest first."`
}

type deadLetterAnswer struct {
	Message  messageID `json:"message_id"`
	Kind     string    `json:"type"`
	Time     string    `json:"given_up_at" format:"date-time"`
	Attempts uint32    `json:"attempts" minimum:"0"`
	Error    string    `json:"last_error"`
	Body     payload   `json:"body"`
}

type deadLettersAnswer struct {
	Letters []deadLetterAnswer `json:"dead_letters" nullable:"false" doc:"The oldest first."`
	Next    string             `json:"next,omitempty" doc:"There may be more: the parameter after of the next page."`
}

// formatOptionalTime returns a time in the form of RFC 3339, "" if it is zero.
func formatOptionalTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// WebhookStateName names how a webhook stands: active, failing, gap or disabled.
func WebhookStateName(s *wallet.WebhookState) string {
	if !s.Enabled {
		return "disabled"
	}
	state := "active"
	for i := range s.Lanes {
		switch {
		case s.Lanes[i].GapTo != 0:
			return "gap"
		case !s.Lanes[i].FailingSince.IsZero():
			state = "failing"
		}
	}
	return state
}

func (q query) newWebhook(s *wallet.WebhookState) webhookAnswer {
	a := webhookAnswer{
		ID: webhookID(s.ID), URL: webhookURL(s.URL), Note: s.Note, Kinds: []webhookKind{}, Accounts: []accountID{}, Thresholds: []webhookThreshold{},
		State: WebhookStateName(s), Reason: s.Reason, CreatedAt: formatOptionalTime(s.Created), Lanes: []webhookLane{},
	}
	for _, k := range s.Kinds {
		a.Kinds = append(a.Kinds, webhookKind(k.String()))
	}
	for _, id := range s.Accounts {
		a.Accounts = append(a.Accounts, accountID(id))
	}
	for _, t := range s.Thresholds {
		a.Thresholds = append(a.Thresholds, webhookThreshold{accountID(t.Account), q.currency(t.Currency), sideOf(&t), amount(t.Amount.Format(t.Currency))})
	}
	for i := range s.Lanes {
		l := newWebhookLane(&s.Lanes[i])
		if !s.Enabled {
			l.NextAttempt = "" // there is none until it is enabled
		}
		a.Lanes = append(a.Lanes, l)
	}
	return a
}

func sideOf(t *wallet.Threshold) thresholdSide {
	if t.Above {
		return sideAbove
	}
	return sideBelow
}

func newWebhookLane(l *wallet.WebhookLane) webhookLane {
	a := webhookLane{
		Partition: l.Partition, Attempts: l.Attempts, NextAttempt: formatOptionalTime(l.NextAttempt), LastError: l.LastError,
		LastSuccess: formatOptionalTime(l.LastSuccess), FailingSince: formatOptionalTime(l.FailingSince),
	}
	if l.Next.Index > 0 {
		a.Position = wallet.HistoryPosition{Partition: l.Partition, Index: l.Next.Index}.String()
	}
	if l.GapTo > 0 {
		a.GapTo = wallet.HistoryPosition{Partition: l.Partition, Index: l.GapTo}.String()
	}
	if l.SetBack > 0 {
		a.SetBack = wallet.HistoryPosition{Partition: l.Partition, Index: l.SetBack}.String()
	}
	return a
}

func newAttempt(a *wallet.WebhookAttempt) attemptAnswer {
	return attemptAnswer{formatOptionalTime(a.Time), messageID(a.Message), a.Kind, a.Try, a.Status, a.Latency.Milliseconds(), a.Error}
}

func (a *attemptAnswer) parse() (v wallet.WebhookAttempt, err error) {
	at, err := time.Parse(time.RFC3339Nano, a.Time)
	return wallet.WebhookAttempt{
		Time: at, Message: string(a.Message), Kind: a.Kind, Try: a.Try, Status: a.Status, Latency: time.Duration(a.Latency) * time.Millisecond, Error: a.Error,
	}, err
}

// ParseWebhookFrom reads where a webhook is to begin: now, oldest, a time of RFC 3339, or positions.
func ParseWebhookFrom(text string) (from wallet.WebhookFrom, err error) {
	switch {
	case text == "", text == fromNow:
		return from, nil
	case text == fromOldest:
		return wallet.WebhookFrom{Oldest: true}, nil
	case strings.Contains(text, "T"):
		from.Time, err = time.Parse(time.RFC3339Nano, text)
		if err != nil || from.Time.Unix() < 0 || from.Time.Year() > 2261 {
			return from, errors.New("must be a time of RFC 3339 from 1970 to 2261, such as 2026-01-31T00:00:00Z")
		}
		return from, nil
	}
	if from.Positions, err = wallet.ParseHistoryPositions(text); err != nil {
		return from, fmt.Errorf("must be now, oldest, a time of RFC 3339, or a position such as 0:1234: %w", err)
	}
	return from, nil
}

// webhook reads what a webhook chooses. What is there is noted in c; the address has to be, if it is new.
func (d *decoder) webhook(c *wallet.WebhookChange, from *string) {
	var url, note string
	var kinds []wallet.EventKind
	var accounts []wallet.AccountID
	var thresholds []wallet.Threshold
	var enabled bool
	var given [6]bool
	members := []member{
		{name: "url", value: &url, given: &given[0], optional: from == nil},
		{name: "note", value: &note, given: &given[1], optional: true},
		{name: "kinds", list: func(d *decoder) {
			k, err := wallet.ParseWebhookKind(d.itemText())
			d.check("", err)
			kinds = append(kinds, k)
		}, given: &given[2], optional: true},
		{name: "accounts", list: func(d *decoder) { accounts = append(accounts, d.accountID("", d.itemText())) }, given: &given[3], optional: true},
		{name: "thresholds", list: func(d *decoder) { thresholds = append(thresholds, d.threshold()) }, given: &given[4], optional: true},
		{name: "enabled", flag: &enabled, given: &given[5], optional: true},
	}
	if from != nil {
		members = append(members, member{name: "from", value: from, optional: true})
	}
	if !d.object(members) {
		return
	}
	give(&c.URL, &url, given[0])
	give(&c.Note, &note, given[1])
	give(&c.Kinds, &kinds, given[2])
	give(&c.Accounts, &accounts, given[3])
	give(&c.Thresholds, &thresholds, given[4])
	give(&c.Enabled, &enabled, given[5])
}

func give[T any](to **T, value *T, given bool) {
	if given {
		*to = value
	}
}

// itemText reads an item of a list that has to be a string.
func (d *decoder) itemText() string {
	if d.text[d.pos] != '"' {
		d.fail("", "must be a string, not "+d.kind())
		d.skip()
		return ""
	}
	return d.string()
}

// threshold reads one.
func (d *decoder) threshold() (t wallet.Threshold) {
	var account, code, side, text string
	if !d.object([]member{
		{name: "account", value: &account}, {name: "currency", value: &code}, {name: "side", value: &side}, {name: "amount", value: &text},
	}) {
		return t
	}
	t.Account = d.accountID("account", account)
	if side != sideBelow && side != sideAbove {
		d.fail("side", "must be below or above")
	}
	t.Above = side == sideAbove
	var err error
	if t.Currency, err = d.parseCurrency(code); err != nil {
		d.check("currency", err)
		return t
	}
	t.Amount, err = money.ParseAmount(text, t.Currency)
	d.check("amount", err)
	return t
}
