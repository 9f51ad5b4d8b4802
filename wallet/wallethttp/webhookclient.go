package wallethttp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// CreateWebhook makes a webhook. Its secret is in Secrets; no other answer has it, but that of RotateWebhook.
func (c *Client) CreateWebhook(ctx context.Context, n *wallet.NewWebhook) (wallet.WebhookState, error) {
	r := webhookRequest{URL: webhookURL(n.URL), Note: n.Note, From: webhookFrom(FormatWebhookFrom(&n.From))}
	r.Kinds, r.Accounts, r.Thresholds = chosenKinds(n.Kinds), chosenAccounts(n.Accounts), chosenThresholds(n.Thresholds)
	if n.Disabled {
		r.Enabled = new(flag(false))
	}
	return c.webhook(ctx, http.MethodPost, "/v1/wallet/webhooks", r)
}

// FormatWebhookFrom returns what ParseWebhookFrom reads.
func FormatWebhookFrom(f *wallet.WebhookFrom) string {
	switch {
	case len(f.Positions) > 0:
		return f.Positions.String()
	case f.Oldest:
		return fromOldest
	case !f.Time.IsZero():
		return formatOptionalTime(f.Time)
	}
	return fromNow
}

func chosenKinds(kinds []wallet.EventKind) (list []webhookKind) {
	for _, k := range kinds {
		list = append(list, webhookKind(k.String()))
	}
	return list
}

func chosenAccounts(ids []wallet.AccountID) (list []accountID) {
	for _, id := range ids {
		list = append(list, accountID(id))
	}
	return list
}

func chosenThresholds(all []wallet.Threshold) (list []webhookThreshold) {
	for _, t := range all {
		list = append(list, webhookThreshold{accountID(t.Account), currency(t.Currency.String()), sideOf(&t), amount(t.Amount.Format(t.Currency))})
	}
	return list
}

// webhook makes a request that is answered with a webhook.
func (c *Client) webhook(ctx context.Context, method, path string, request any) (wallet.WebhookState, error) {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return wallet.WebhookState{}, err
		}
	}
	var answer webhookAnswer
	if err := c.do(ctx, &call{method, path, body, &answer}); err != nil {
		return wallet.WebhookState{}, err
	}
	return c.parseWebhook(ctx, &answer)
}

// Webhooks lists the webhooks of the tenant.
func (c *Client) Webhooks(ctx context.Context) ([]wallet.WebhookState, error) {
	var answer webhooksAnswer
	if err := c.do(ctx, &call{http.MethodGet, "/v1/wallet/webhooks", nil, &answer}); err != nil {
		return nil, err
	}
	var all []wallet.WebhookState
	for i := range answer.Webhooks {
		w, err := c.parseWebhook(ctx, &answer.Webhooks[i])
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// Webhook returns a webhook and how far it is.
func (c *Client) Webhook(ctx context.Context, id wallet.WebhookID) (wallet.WebhookState, error) {
	return c.webhook(ctx, http.MethodGet, webhookPath(id), nil)
}

// UpdateWebhook changes a webhook. A note cannot be taken away.
func (c *Client) UpdateWebhook(ctx context.Context, id wallet.WebhookID, v *wallet.WebhookChange) (wallet.WebhookState, error) {
	var r webhookChange
	if v.URL != nil {
		r.URL = webhookURL(*v.URL)
	}
	if v.Note != nil {
		r.Note = *v.Note
	}
	if v.Kinds != nil {
		r.Kinds = new(append([]webhookKind{}, chosenKinds(*v.Kinds)...))
	}
	if v.Accounts != nil {
		r.Accounts = new(append([]accountID{}, chosenAccounts(*v.Accounts)...))
	}
	if v.Thresholds != nil {
		r.Thresholds = new(append([]webhookThreshold{}, chosenThresholds(*v.Thresholds)...))
	}
	if v.Enabled != nil {
		r.Enabled = new(flag(*v.Enabled))
	}
	return c.webhook(ctx, http.MethodPatch, webhookPath(id), r)
}

// DeleteWebhook deletes a webhook and its dead letters.
func (c *Client) DeleteWebhook(ctx context.Context, id wallet.WebhookID) error {
	return c.do(ctx, &call{http.MethodDelete, webhookPath(id), nil, nil})
}

// RotateWebhook gives a webhook a new secret, which is in Secrets. The one before signs too for some hours.
func (c *Client) RotateWebhook(ctx context.Context, id wallet.WebhookID, overlap time.Duration) (wallet.WebhookState, error) {
	return c.webhook(ctx, http.MethodPost, webhookPath(id)+"/rotate", rotateRequest{new(overlapHours(overlap / time.Hour))})
}

// ReplayWebhook lets a webhook go on at another place.
func (c *Client) ReplayWebhook(ctx context.Context, id wallet.WebhookID, from *wallet.WebhookFrom) (wallet.WebhookState, error) {
	return c.webhook(ctx, http.MethodPost, webhookPath(id)+"/replay", replayRequest{webhookFrom(FormatWebhookFrom(from))})
}

// TestWebhook sends a message of the type test, and returns what became of it.
func (c *Client) TestWebhook(ctx context.Context, id wallet.WebhookID) (wallet.WebhookAttempt, error) {
	return c.try(ctx, webhookPath(id)+"/test")
}

// Redeliver tries to deliver a dead letter, and returns what became of it.
func (c *Client) Redeliver(ctx context.Context, id wallet.WebhookID, message string) (wallet.WebhookAttempt, error) {
	return c.try(ctx, webhookPath(id)+"/dead-letters/"+url.PathEscape(message)+"/redeliver")
}

func (c *Client) try(ctx context.Context, path string) (wallet.WebhookAttempt, error) {
	var answer attemptAnswer
	if err := c.do(ctx, &call{http.MethodPost, path, nil, &answer}); err != nil {
		return wallet.WebhookAttempt{}, err
	}
	return answer.parse()
}

// WebhookAttempts returns the newest attempts, the newest first.
func (c *Client) WebhookAttempts(ctx context.Context, id wallet.WebhookID, limit int) (list []wallet.WebhookAttempt, err error) {
	var answer attemptsAnswer
	if err := c.do(ctx, &call{http.MethodGet, webhookPath(id) + "/attempts?limit=" + strconv.Itoa(limit), nil, &answer}); err != nil {
		return nil, err
	}
	for i := range answer.Attempts {
		a, err := answer.Attempts[i].parse()
		if err != nil {
			return nil, fmt.Errorf("the server's answer: %w", err)
		}
		list = append(list, a)
	}
	return list, nil
}

// DeadLetters returns messages that were given up, the oldest first, behind one of them ("": from the first).
func (c *Client) DeadLetters(ctx context.Context, id wallet.WebhookID, after string, limit int) (list []wallet.DeadLetter, err error) {
	p := url.Values{"limit": {strconv.Itoa(limit)}}
	if after != "" {
		p.Set("after", after)
	}
	var answer deadLettersAnswer
	if err := c.do(ctx, &call{http.MethodGet, webhookPath(id) + "/dead-letters?" + p.Encode(), nil, &answer}); err != nil {
		return nil, err
	}
	for _, l := range answer.Letters {
		at, err := time.Parse(time.RFC3339Nano, l.Time)
		if err != nil {
			return nil, fmt.Errorf("the server's answer: %w", err)
		}
		list = append(list, wallet.DeadLetter{Message: string(l.Message), Kind: l.Kind, Time: at, Attempts: l.Attempts, Error: l.Error, Body: l.Body})
	}
	return list, nil
}

// parseWebhook returns the webhook that an answer describes.
func (c *Client) parseWebhook(ctx context.Context, a *webhookAnswer) (s wallet.WebhookState, err error) {
	s.ID, s.URL, s.Note, s.Reason, s.Enabled = wallet.WebhookID(a.ID), string(a.URL), a.Note, a.Reason, a.State != "disabled"
	for _, name := range a.Kinds {
		k, err := wallet.ParseWebhookKind(string(name))
		if err != nil {
			return s, fmt.Errorf("the server's answer: %w", err)
		}
		s.Kinds = append(s.Kinds, k)
	}
	for _, id := range a.Accounts {
		s.Accounts = append(s.Accounts, wallet.AccountID(id))
	}
	for _, t := range a.Thresholds {
		v := wallet.Threshold{Account: wallet.AccountID(t.Account), Above: t.Side == sideAbove}
		if v.Currency, err = c.ParseCurrency(ctx, string(t.Currency)); err == nil {
			v.Amount, err = money.ParseAmount(string(t.Amount), v.Currency)
		}
		if err != nil {
			return s, fmt.Errorf("the server's answer: %w", err)
		}
		s.Thresholds = append(s.Thresholds, v)
	}
	if text, ok := strings.CutPrefix(a.Secret, "whsec_"); ok {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return s, fmt.Errorf("the server's answer: %w", err)
		}
		s.Secrets = []wallet.WebhookSecret{{Key: key}}
	}
	if s.Created, err = time.Parse(time.RFC3339Nano, a.CreatedAt); err != nil {
		return s, fmt.Errorf("the server's answer: %w", err)
	}
	for i := range a.Lanes {
		l, err := a.Lanes[i].parse()
		if err != nil {
			return s, fmt.Errorf("the server's answer: %w", err)
		}
		s.Lanes = append(s.Lanes, l)
	}
	return s, nil
}

func (a *webhookLane) parse() (l wallet.WebhookLane, err error) {
	l.Partition, l.Attempts, l.LastError = a.Partition, a.Attempts, a.LastError
	for _, t := range []struct {
		text string
		to   *time.Time
	}{{a.NextAttempt, &l.NextAttempt}, {a.LastSuccess, &l.LastSuccess}, {a.FailingSince, &l.FailingSince}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339Nano, t.text); err != nil {
			return l, err
		}
	}
	for _, p := range []struct {
		text string
		to   *rsm.Index
	}{{a.Position, &l.Next.Index}, {a.GapTo, &l.GapTo}, {a.SetBack, &l.SetBack}} {
		if p.text == "" {
			continue
		}
		ps, err := wallet.ParseHistoryPositions(p.text)
		if err != nil {
			return l, err
		}
		*p.to = ps[0].Index
	}
	return l, nil
}
