package wallethttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// PlaceHold reserves money of an account: see [wallet.Service.PlaceHold]. Its result is
// wallet.Held, or why not. As with Transfer, repeat what has no answer.
func (c *Client) PlaceHold(ctx context.Context, h wallet.NewHold) (wallet.Result, error) {
	return c.changeHold(ctx, h.Account, "/v1/wallet/holds", holdRequest{
		transactionID(h.ID.String()), accountID(h.Account), accountID(h.Payee),
		amount(h.Amount.Format(h.Currency)), currency(h.Currency.String()), moment(formatMillis(h.Expires)),
	})
}

// Capture pays out of a hold.
func (c *Client) Capture(ctx context.Context, v wallet.Capture) (wallet.Result, error) {
	r := captureRequest{
		From: accountID(v.From), To: accountID(v.To), Amount: amount(v.Amount.Format(v.Currency)),
		Currency: currency(v.Currency.String()), ID: transactionID(v.ID.String()),
	}
	if v.Final {
		r.Final = new(flag(true))
	}
	return c.changeHold(ctx, v.From, holdPath(v.Hold)+"/capture", r)
}

// Release gives back what a hold has left, or a part of it.
func (c *Client) Release(ctx context.Context, v wallet.Release) (wallet.Result, error) {
	r := releaseRequest{Account: accountID(v.Account), Currency: currency(v.Currency.String()), ID: transactionID(v.ID.String())}
	if v.Amount != 0 {
		r.Amount = amount(v.Amount.Format(v.Currency))
	}
	return c.changeHold(ctx, v.Account, holdPath(v.Hold)+"/release", r)
}

// Extend gives a hold another expiry.
func (c *Client) Extend(ctx context.Context, v wallet.Extend) (wallet.Result, error) {
	return c.changeHold(ctx, v.Account, holdPath(v.Hold)+"/extend", extendRequest{
		accountID(v.Account), moment(formatMillis(v.Expires)), transactionID(v.ID.String()),
	})
}

func holdPath(id wallet.TransactionID) string { return "/v1/wallet/holds/" + id.String() }

func (c *Client) changeHold(ctx context.Context, account wallet.AccountID, path string, request any) (wallet.Result, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	return c.command(ctx, account, path, body)
}

// Hold returns an open hold: see [wallet.Service.Hold].
func (c *Client) Hold(ctx context.Context, id wallet.TransactionID) (wallet.Hold, wallet.Code, error) {
	var answer holdAnswer
	err := c.do(ctx, &call{http.MethodGet, holdPath(id), nil, &answer})
	if code, err := decided(err); err != nil || code != wallet.Applied {
		return wallet.Hold{}, code, err
	}
	h, err := c.parseHold(ctx, &answer)
	if err != nil {
		return h, 0, fmt.Errorf("the server's answer: %w", err)
	}
	return h, wallet.Applied, nil
}

// Holds lists open holds of an account: see [wallet.Service.Holds].
func (c *Client) Holds(ctx context.Context, id wallet.AccountID, after wallet.HoldCursor, limit int) (wallet.HoldList, wallet.Code, error) {
	if err := id.Validate(); err != nil {
		return wallet.HoldList{}, 0, err
	}
	path := accountPath(id) + "/holds?limit=" + strconv.Itoa(limit)
	if after != (wallet.HoldCursor{}) {
		path += "&after=" + url.QueryEscape(formatHoldCursor(after))
	}
	var answer holdsAnswer
	_, err := c.doFor(ctx, id, &call{http.MethodGet, path, nil, &answer})
	if code, err := decided(err); err != nil || code != wallet.Applied {
		return wallet.HoldList{}, code, err
	}
	list := wallet.HoldList{More: answer.Next != ""}
	if list.Next, err = parseHoldCursor(answer.Next); err != nil {
		return wallet.HoldList{}, 0, fmt.Errorf("the server's answer: next: %w", err)
	}
	for i := range answer.Holds {
		h, err := c.parseHold(ctx, &answer.Holds[i])
		if err != nil {
			return wallet.HoldList{}, 0, fmt.Errorf("the server's answer: %w", err)
		}
		list.Holds = append(list.Holds, h)
	}
	return list, wallet.Applied, nil
}

// SetDailyLimit changes how much may leave an account in a currency on one day.
func (c *Client) SetDailyLimit(ctx context.Context, id wallet.AccountID, of money.Currency, l wallet.DailyLimit) (wallet.Account, wallet.Code, error) {
	return c.accountOf(ctx, http.MethodPut, id, "/daily-limits/"+of.String(),
		dailyRequest{dailyAmount(formatDailyAmount(l, of)), dailyCount(formatDailyCount(l))})
}

// parseHold returns the hold that an answer describes.
func (c *Client) parseHold(ctx context.Context, a *holdAnswer) (h wallet.Hold, err error) {
	if h.ID, err = wallet.ParseTransactionID(string(a.ID)); err != nil {
		return h, err
	}
	h.Account, h.Payee = wallet.AccountID(a.Account), wallet.AccountID(a.Payee)
	if h.Currency, err = c.ParseCurrency(ctx, string(a.Currency)); err != nil {
		return h, err
	}
	for _, part := range []struct {
		text amount
		to   *money.Amount
	}{{a.Amount, &h.Amount}, {a.Left, &h.Left}, {a.Captured, &h.Captured}, {a.InFlight, &h.InFlight}} {
		if *part.to, err = money.ParseAmount(string(part.text), h.Currency); err != nil {
			return h, err
		}
	}
	placed, err := time.Parse(time.RFC3339Nano, a.PlacedAt)
	if err != nil {
		return h, fmt.Errorf("placed_at: %w", err)
	}
	h.PlacedAt = placed.UnixNano()
	h.Expires, err = parseMillis(a.Expires)
	return h, err
}

// parseHolds reads what an answer says of holds and of the daily limit; older servers
// say nothing.
func (a *balanceAnswer) parseHolds(b *wallet.Balance) (err error) {
	if a.Held != "" {
		if b.Held, err = money.ParseAmount(string(a.Held), b.Currency); err != nil {
			return err
		}
	}
	d := a.Daily
	if d == nil {
		return nil
	}
	var count error
	if b.Daily.Limit, err, count = parseDaily(string(d.Amount), string(d.Count), b.Currency); err != nil || count != nil {
		return fmt.Errorf("daily_limit %q, %q", d.Amount, d.Count)
	}
	if b.Daily.Spent, err = money.ParseAmount(string(d.Spent), b.Currency); err != nil {
		return err
	}
	n, err := strconv.ParseUint(d.SpentCount, 10, 32)
	b.Daily.SpentCount = uint32(n)
	return err
}
