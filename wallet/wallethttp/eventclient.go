package wallethttp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"maru.example/wallet"
)

// maxEventBytes is the most that a Client reads of one event.
const maxEventBytes = 64 << 10

// Event is what happened, as a stream has it.
type Event struct {
	ID          string           // where to go on
	Account     wallet.AccountID // "": of the tenant
	Partition   uint16           // in which it happened
	wallet.Line                  // of events that change no balance, its place only
	Name        string           // of the kind
	Data        json.RawMessage  // all that the server said
}

// EventsFrom says where a stream begins; the zero value is with what is new.
type EventsFrom struct {
	After string // the event with this ID; what is in partitions that it does not name, from the earliest time in it
	Time  int64  // nanoseconds since 1970 UTC; 0: not said. It does not count with After
}

// ErrDropped says that the server ended a stream, and why.
var ErrDropped = errors.New("wallethttp: the stream of events was dropped")

// Follow calls f with what happens to the accounts, or without any to all of the tenant, until ctx ends, f returns an
// error, or the stream ends: then the error wraps ErrDropped if the server said why, and
// the caller can go on after the last event that it got.
func (c *Client) Follow(ctx context.Context, accounts []wallet.AccountID, from EventsFrom, f func(*Event) error) error {
	p := url.Values{}
	for _, id := range accounts {
		p.Add("account", string(id))
	}
	if from.Time > 0 {
		p.Set("from", formatTime(from.Time))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.bases[int(c.first.Load())]+"/v1/wallet/events?"+p.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header = c.header.Clone()
	if from.After != "" {
		r.Header.Set("Last-Event-ID", from.After)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is not wanted
	if resp.StatusCode != http.StatusOK {
		content, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
		return errors.Join(problem(resp, content), err)
	}
	return c.readEvents(ctx, resp.Body, f)
}

// readEvents reads a stream to its end.
func (c *Client) readEvents(ctx context.Context, stream io.Reader, f func(*Event) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEventBytes)
	var id, kind, data string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			if kind == "" {
				continue // a sign of life
			}
			if err := c.readEvent(ctx, id, kind, data, f); err != nil {
				return err
			}
			kind = ""
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	return fmt.Errorf("events: %w", io.ErrUnexpectedEOF)
}

func (c *Client) readEvent(ctx context.Context, id, kind, data string, f func(*Event) error) error {
	if kind == "dropped" {
		var why struct{ Reason string }
		if err := json.Unmarshal([]byte(data), &why); err != nil {
			return fmt.Errorf("%w: %q", ErrDropped, data)
		}
		return fmt.Errorf("%w: %s", ErrDropped, why.Reason)
	}
	var a eventAnswer
	if err := json.Unmarshal([]byte(data), &a); err != nil {
		return fmt.Errorf("event %s: %w", id, err)
	}
	mark, err := readMark(a.Position, a.Time)
	if err != nil {
		return fmt.Errorf("event %s: %w", id, err)
	}
	e := &Event{ID: id, Account: wallet.AccountID(a.Account), Partition: mark.Partition, Name: kind, Data: json.RawMessage(data)}
	e.LineKey = wallet.LineKey{Time: mark.Time, Index: mark.Index, Number: a.Number}
	switch kind {
	case wallet.Debit.String(), wallet.Credit.String(), wallet.Return.String():
		if e.Line, err = c.parseLine(ctx, a.line()); err != nil {
			return fmt.Errorf("event %s: %w", id, err)
		}
	default:
	}
	return f(e)
}
