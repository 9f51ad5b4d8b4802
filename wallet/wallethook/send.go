package wallethook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"maru.example/wallet"
)

const (
	secretPrefix  = "whsec_"
	secretBytes   = 32
	answerBytes   = 4 << 10 // that are read of an answer, so that its connection can be used again
	errorBytes    = 200     // that are remembered of one
	maxRetryAfter = 24 * time.Hour
	userAgent     = "maru-webhooks/1"
	reasonGone    = "gone"    // the receiver answered 410
	reasonFailing = "failing" // nothing but failure for so long
	kindTest      = "test"
	answerIn      = 2 * time.Second // before the end of a request that waits for an attempt
)

// newSecret returns a key for signatures.
func newSecret() []byte {
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // it never fails
	return key
}

// FormatSecret returns a key as receivers are given it.
func FormatSecret(key []byte) string { return secretPrefix + base64.StdEncoding.EncodeToString(key) }

// sign returns the signatures of a message: one of each secret that counts now.
func sign(secrets []wallet.WebhookSecret, id string, now time.Time, body []byte) string {
	var all []string
	for _, s := range secrets {
		if !s.Until.IsZero() && !now.Before(s.Until) {
			continue
		}
		mac := hmac.New(sha256.New, s.Key)
		_, _ = fmt.Fprintf(mac, "%s.%d.", id, now.Unix()) // a hash takes everything
		_, _ = mac.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " ")
}

// letter is the body of a message.
type letter struct {
	Kind string          `json:"type"`
	Time string          `json:"timestamp"` // of the event
	Data json.RawMessage `json:"data"`
}

func newBody(kind string, at time.Time, data json.RawMessage) ([]byte, error) {
	return json.Marshal(letter{kind, at.UTC().Format(time.RFC3339Nano), data})
}

// outcome is what became of an attempt.
type outcome struct {
	wallet.WebhookAttempt
	retryAfter time.Duration // that the receiver asked for
}

func (o *outcome) delivered() bool { return o.Error == "" }

// send makes one attempt to deliver a message.
func (e *Engine) send(ctx context.Context, w *wallet.Webhook, id, kind string, try uint32, body []byte) outcome {
	began := time.Now()
	o := outcome{WebhookAttempt: wallet.WebhookAttempt{Time: began.UTC(), Message: id, Kind: kind, Try: try}}
	within := e.o.Timeout
	if end, ok := ctx.Deadline(); ok { // somebody waits for what became of it
		left := time.Until(end)
		within = min(within, max(left-answerIn, left/2)).Round(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := e.post(ctx, w, began, body, &o)
	o.Latency = time.Since(began)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		o.Error = fmt.Sprintf("no answer within %v", within)
	case err != nil:
		o.Error = limitText(err.Error())
	}
	if o.delivered() {
		e.counts.delivered.Add(1)
	} else {
		e.counts.failed.Add(1)
	}
	return o
}

func (e *Engine) post(ctx context.Context, w *wallet.Webhook, now time.Time, body []byte, o *outcome) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {userAgent},
		"Webhook-Id": {o.Message}, "Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)},
		"Webhook-Signature": {sign(w.Secrets, o.Message, now, body)},
	}
	resp, err := e.client.Do(r)
	if err != nil {
		return errors.Unwrap(err) // of the *url.Error, which repeats the address
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	_ = resp.Body.Close() // it was read, or is not wanted
	o.Status = resp.StatusCode
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil // it says so, whatever comes behind
	}
	o.retryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	if err == nil && len(bytes.TrimSpace(text)) > 0 {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return errors.New(resp.Status)
}

// randomBelow returns any time from 0 to below n.
func randomBelow(n time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(n))
}

// retryAfter reads the header of that name: seconds, or a date. 0: there is none.
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = max(at.Sub(now), 0)
	}
	return min(d, maxRetryAfter)
}

// pause returns how long to wait after a number of failed attempts: any time up to twice
// as long each time (full jitter), and as long as the receiver asked for.
func (e *Engine) pause(attempts uint32, asked time.Duration) time.Duration {
	most := e.o.MaxBackoff
	if n := attempts - 1; n < 32 && e.o.Backoff < most>>n {
		most = e.o.Backoff << n
	}
	return max(e.o.Random(most), asked)
}

// limitText returns what is remembered of a text.
func limitText(s string) string {
	if len(s) > errorBytes {
		s = s[:errorBytes]
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s), "")
}
