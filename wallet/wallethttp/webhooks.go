package wallethttp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/wallet"
)

// Webhooks is what the handler needs of what delivers webhooks: wallethook.Engine is one, and
// describes the methods.
type Webhooks interface {
	WebhookSettings
	WebhookDeliveries
}

// WebhookSettings is the part of Webhooks that makes and changes them.
type WebhookSettings interface {
	CreateWebhook(ctx context.Context, tenant wallet.Tenant, n *wallet.NewWebhook) (wallet.WebhookState, error)
	Webhooks(ctx context.Context, tenant wallet.Tenant) ([]wallet.WebhookState, error)
	Webhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID) (wallet.WebhookState, error)
	UpdateWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, c *wallet.WebhookChange) (wallet.WebhookState, error)
	DeleteWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID) error
	RotateWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, overlap time.Duration) (wallet.WebhookState, error)
}

// WebhookDeliveries is the part of Webhooks that is about messages.
type WebhookDeliveries interface {
	ReplayWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, from *wallet.WebhookFrom) (wallet.WebhookState, error)
	TestWebhook(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID) (wallet.WebhookAttempt, error)
	WebhookAttempts(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, limit int) ([]wallet.WebhookAttempt, error)
	DeadLetters(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, after string, limit int) ([]wallet.DeadLetter, error)
	Redeliver(ctx context.Context, tenant wallet.Tenant, id wallet.WebhookID, message string) (wallet.WebhookAttempt, error)
}

const (
	codeWebhookNotFound     = "webhook_not_found"
	codeDeadLetterNotFound  = "dead_letter_not_found"
	codeWebhookConflict     = "webhook_conflict"
	codeWebhooksUnavailable = "webhooks_unavailable"
	codeTooManyWebhooks     = "too_many_webhooks"

	defaultListed = 50
)

var errNoWebhooks = fmt.Errorf("%w: the server has none", wallet.ErrWebhooksElsewhere)

// webhookFailure returns the problem of an error about webhooks, nil if it is another one.
func webhookFailure(err error) *Problem {
	switch {
	case errors.Is(err, wallet.ErrNoWebhook):
		return newProblem(http.StatusNotFound, codeWebhookNotFound, "there is no such webhook")
	case errors.Is(err, wallet.ErrNoDeadLetter):
		return newProblem(http.StatusNotFound, codeDeadLetterNotFound, "there is no such dead letter: it was delivered, or is older than those that are kept")
	case errors.Is(err, wallet.ErrWebhookConflict), errors.Is(err, wallet.ErrWebhookBehind):
		return newProblem(http.StatusConflict, codeWebhookConflict, "the webhook was changed or deleted by somebody else at the same time: look at it, and try again")
	case errors.Is(err, wallet.ErrTooManyWebhooks):
		return newProblem(http.StatusConflict, codeTooManyWebhooks, reason(err))
	case errors.Is(err, wallet.ErrWebhooksElsewhere):
		return newProblem(http.StatusNotImplemented, codeWebhooksUnavailable, reason(err))
	}
	for _, form := range []error{wallet.ErrWebhook, wallet.ErrTenant, wallet.ErrAccountID, wallet.ErrCurrency, wallet.ErrPosition} {
		if errors.Is(err, form) {
			return invalid([]FieldError{{Pointer: "#", Detail: reason(err)}})
		}
	}
	return nil
}

// webhook returns the webhook that the path names.
func (q query) webhook() (wallet.WebhookID, error) {
	id := wallet.WebhookID(q.PathValue("webhook_id"))
	if err := id.Validate(); err != nil {
		return "", invalidParameter("webhook_id", err)
	}
	return id, nil
}

func (s *server) createWebhook(q query) (*reply, error) {
	var c wallet.WebhookChange
	var n wallet.NewWebhook
	err := q.readBody(MaxTransactionBytes, func(d *decoder) {
		var text string
		d.webhook(&c, &text)
		var err error
		n.From, err = ParseWebhookFrom(text)
		d.check("from", err)
	})
	if err != nil {
		return nil, err
	}
	take(&n.URL, c.URL)
	take(&n.Note, c.Note)
	take(&n.Kinds, c.Kinds)
	take(&n.Accounts, c.Accounts)
	take(&n.Thresholds, c.Thresholds)
	n.Disabled = c.Enabled != nil && !*c.Enabled
	w, err := s.o.Webhooks.CreateWebhook(q.Context(), q.tenant, &n)
	if err != nil {
		return nil, err
	}
	r := q.webhookReply(&w, true)
	r.status, r.location = http.StatusCreated, webhookPath(w.ID)
	return r, nil
}

func take[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func webhookPath(id wallet.WebhookID) string { return "/v1/wallet/webhooks/" + string(id) }

// webhookReply returns the answer with a webhook, and its newest secret if it is to be told.
func (q query) webhookReply(w *wallet.WebhookState, tell bool) *reply {
	a := q.newWebhook(w)
	if tell && len(w.Secrets) > 0 {
		a.Secret = "whsec_" + base64.StdEncoding.EncodeToString(w.Secrets[0].Key)
	}
	return jsonReply(a)
}

func (s *server) listWebhooks(q query) (*reply, error) {
	all, err := s.o.Webhooks.Webhooks(q.Context(), q.tenant)
	if err != nil {
		return nil, err
	}
	answer := webhooksAnswer{Webhooks: []webhookAnswer{}}
	for i := range all {
		answer.Webhooks = append(answer.Webhooks, q.newWebhook(&all[i]))
	}
	return jsonReply(answer), nil
}

func (s *server) showWebhook(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	w, err := s.o.Webhooks.Webhook(q.Context(), q.tenant, id)
	if err != nil {
		return nil, err
	}
	return q.webhookReply(&w, false), nil
}

func (s *server) updateWebhook(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	var c wallet.WebhookChange
	if err := q.readBody(MaxTransactionBytes, func(d *decoder) { d.webhook(&c, nil) }); err != nil {
		return nil, err
	}
	w, err := s.o.Webhooks.UpdateWebhook(q.Context(), q.tenant, id, &c)
	if err != nil {
		return nil, err
	}
	return q.webhookReply(&w, false), nil
}

func (s *server) deleteWebhook(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	if err := s.o.Webhooks.DeleteWebhook(q.Context(), q.tenant, id); err != nil {
		return nil, err
	}
	return jsonReply(deletedAnswer{"deleted"}), nil
}

func (s *server) rotateWebhook(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	hours := defaultOverlapHours
	err = q.readBody(MaxBodyBytes, func(d *decoder) {
		if d.object([]member{{name: "overlap_hours", number: &hours, optional: true}}) && (hours < 0 || hours > maxOverlapHours) {
			d.fail("overlap_hours", fmt.Sprintf("must be from 0 to %d", maxOverlapHours))
		}
	})
	if err != nil {
		return nil, err
	}
	w, err := s.o.Webhooks.RotateWebhook(q.Context(), q.tenant, id, time.Duration(hours)*time.Hour)
	if err != nil {
		return nil, err
	}
	return q.webhookReply(&w, true), nil
}

func (s *server) replayWebhook(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	var from wallet.WebhookFrom
	err = q.readBody(MaxTransactionBytes, func(d *decoder) {
		var text string
		if d.object([]member{{name: "from", value: &text}}) {
			var err error
			if from, err = ParseWebhookFrom(text); text == "" {
				err = errors.New("must not be empty")
			}
			d.check("from", err)
		}
	})
	if err != nil {
		return nil, err
	}
	w, err := s.o.Webhooks.ReplayWebhook(q.Context(), q.tenant, id, &from)
	if err != nil {
		return nil, err
	}
	return q.webhookReply(&w, false), nil
}

func (s *server) testWebhook(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	a, err := s.o.Webhooks.TestWebhook(q.Context(), q.tenant, id)
	if err != nil {
		return nil, err
	}
	return jsonReply(newAttempt(&a)), nil
}

func (s *server) webhookAttempts(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	limit, err := q.limit(wallet.MaxWebhookAttempts, defaultListed)
	if err != nil {
		return nil, err
	}
	list, err := s.o.Webhooks.WebhookAttempts(q.Context(), q.tenant, id, limit)
	if err != nil {
		return nil, err
	}
	answer := attemptsAnswer{Attempts: []attemptAnswer{}}
	for i := range list {
		answer.Attempts = append(answer.Attempts, newAttempt(&list[i]))
	}
	return jsonReply(answer), nil
}

func (s *server) deadLetters(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	limit, err := q.limit(wallet.MaxDeadLettersListed, defaultListed)
	if err != nil {
		return nil, err
	}
	after, err := q.parameter("after")
	if err != nil {
		return nil, err
	}
	list, err := s.o.Webhooks.DeadLetters(q.Context(), q.tenant, id, after, limit)
	if err != nil {
		return nil, err
	}
	answer := deadLettersAnswer{Letters: []deadLetterAnswer{}}
	for i := range list {
		l := &list[i]
		if !json.Valid(l.Body) {
			return nil, fmt.Errorf("the body of the dead letter %s is not JSON", l.Message)
		}
		answer.Letters = append(answer.Letters, deadLetterAnswer{
			messageID(l.Message), l.Kind, formatOptionalTime(l.Time), l.Attempts, l.Error, payload(l.Body),
		})
	}
	if len(list) == limit {
		answer.Next = list[limit-1].Message
	}
	return jsonReply(answer), nil
}

func (s *server) redeliver(q query) (*reply, error) {
	id, err := q.webhook()
	if err != nil {
		return nil, err
	}
	a, err := s.o.Webhooks.Redeliver(q.Context(), q.tenant, id, q.PathValue("message_id"))
	if err != nil {
		return nil, err
	}
	return jsonReply(newAttempt(&a)), nil
}

func webhookOperations() []operation {
	const path = "/v1/wallet/webhooks/{webhook_id}"
	ops := []operation{{
		id: "create-webhook", method: "POST", path: "/v1/wallet/webhooks", status: http.StatusCreated,
		summary: "Let an address be told of events",
		description: "Messages are signed as Standard Webhooks has it (webhook-id, webhook-timestamp, webhook-signature), with the secret that only this answer " +
			"has. Each event is delivered at least once, in the order of its partition: webhook-id is the same each time.",
		request: webhookRequest{}, answer: webhookAnswer{}, do: (*server).createWebhook,
	}, {
		id: "list-webhooks", method: "GET", path: "/v1/wallet/webhooks", summary: "List the tenant's webhooks", answer: webhooksAnswer{}, do: (*server).listWebhooks,
	}, {
		id: "get-webhook", method: "GET", path: path, summary: "Show a webhook and how far it is", answer: webhookAnswer{}, do: (*server).showWebhook,
	}, {
		id: "update-webhook", method: "PATCH", path: path, summary: "Change a webhook",
		description: "What is left out stays. It goes on where it is; one that is enabled again too.",
		request:     webhookChange{}, answer: webhookAnswer{}, do: (*server).updateWebhook,
	}, {
		id: "delete-webhook", method: "DELETE", path: path, summary: "Delete a webhook and its dead letters", answer: deletedAnswer{}, do: (*server).deleteWebhook,
	}, {
		id: "rotate-webhook", method: "POST", path: path + "/rotate", summary: "Give a webhook a new secret",
		request: rotateRequest{}, answer: webhookAnswer{}, do: (*server).rotateWebhook,
	}, {
		id: "replay-webhook", method: "POST", path: path + "/replay", summary: "Let a webhook go on at another place",
		description: "Back, what it was told is delivered again with the same ids; on, events in between are left out.",
		request:     replayRequest{}, answer: webhookAnswer{}, do: (*server).replayWebhook,
	}, {
		id: "test-webhook", method: "POST", path: path + "/test", summary: "Send a message of the type test", answer: attemptAnswer{}, do: (*server).testWebhook,
	}, {
		id: "list-webhook-attempts", method: "GET", path: path + "/attempts", summary: "List the newest attempts to deliver",
		parameters: []parameter{{"limit", "How many at the most.", limitSchema(wallet.MaxWebhookAttempts, defaultListed)}},
		answer:     attemptsAnswer{}, do: (*server).webhookAttempts,
	}, {
		id: "list-dead-letters", method: "GET", path: path + "/dead-letters", summary: "List messages that were given up",
		parameters: []parameter{
			{"limit", "How many at the most.", limitSchema(wallet.MaxDeadLettersListed, defaultListed)},
			{"after", "The next of the page before.", &huma.Schema{Type: huma.TypeString}},
		},
		answer: deadLettersAnswer{}, do: (*server).deadLetters,
	}, {
		id: "redeliver", method: "POST", path: path + "/dead-letters/{message_id}/redeliver", summary: "Try to deliver a dead letter once more",
		description: "If it succeeds, it is removed.", answer: attemptAnswer{}, do: (*server).redeliver,
	}}
	for i := range ops {
		ops[i].scope, ops[i].webhooks = WebhookScope, true
		if ops[i].status == 0 {
			ops[i].status = http.StatusOK
		}
	}
	return ops
}
