package wallet

import (
	"encoding/binary"
	"fmt"

	"maru.example/money"
)

// EventKind says what happened. The numbers are part of the format of effects.
type EventKind uint8

// The kinds of events. The first three change a balance: Amount is by how much, and
// Balance what it is then.
const (
	NoEvent         EventKind = iota
	Debit                     // an account paid
	Credit                    // an account was paid
	Return                    // the payer got back what was on its way to another partition
	AccountOpened             // Account, Name, Currency, Min
	CurrencyAdded             // Name, Currency, Min
	LimitChanged              // Name, Currency, Min
	StatusChanged             // Name, Status
	TenantMade                // Name, and Tenant is its number
	TransferFailed            // ID, Code: a refusal, for ever or for now
	AssetMade                 // Name, Currency: also if it had been made before
	HoldPlaced                // as all of holds: see Event.Hold; Name is its only payee
	HoldCaptured              // Amount left it, ID is the transfer
	HoldReleased              // Amount was given back by the command with ID
	HoldExtended              // Expires, by the command with ID
	HoldExpired               // Amount was given back by the machine's clock
	HoldRestored              // Amount is held again: the capture ID was not done in the other partition
	DailyLimitSet             // Name, Currency, Daily
	TransactionMade           // ID, Content, and Code: Applied or Pending; its debits and credits are events of their own
	endEvent
)

// String returns the name that the API shows.
func (k EventKind) String() string {
	names := [endEvent]string{
		"none", "debit", "credit", "return", "account_opened", "currency_added", "limit_changed", "status_changed",
		"tenant_made", "transfer_failed", "asset_made",
		"hold_placed", "hold_captured", "hold_released", "hold_extended", "hold_expired", "hold_restored", "daily_limit_set", "transaction_made",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Event is what a command did. Which fields it has beside the first three is said
// with the kinds; accounts opened before their name is known are known by handle.
type Event struct {
	Kind    EventKind `json:"kind"`
	Command uint32    `json:"command,omitzero"` // its number in the batch, from 0
	Tenant  uint16    `json:"tenant,omitzero"`

	Account  Handle         `json:"account,omitzero"`
	Other    Handle         `json:"other,omitzero"` // the other side; 0 where it is not known
	ID       TransactionID  `json:"id,omitzero"`
	Amount   money.Amount   `json:"amount,omitzero"`  // less than zero: was debited
	Balance  money.Amount   `json:"balance,omitzero"` // afterwards
	Currency money.Currency `json:"currency,omitzero"`
	Code     Code           `json:"code,omitzero"`
	Name     string         `json:"name,omitzero"`
	Min      money.Amount   `json:"min,omitzero"`
	Status   Status         `json:"status,omitzero"`

	// Of a hold: which, what is held of Account's Balance in Currency, and how much
	// of that by this one, afterwards. The captures have debits and credits as well.
	Hold    TransactionID `json:"hold,omitzero"`
	Held    money.Amount  `json:"held,omitzero"`
	Left    money.Amount  `json:"left,omitzero"`
	Expires Millis        `json:"expires,omitzero"`

	Daily   DailyLimit `json:"daily,omitzero"`
	Content []byte     `json:"content,omitempty"` // a transaction: ParseTransaction reads it
}

// OfHold says that events of the kind are about a hold.
func (k EventKind) OfHold() bool { return k >= HoldPlaced && k <= HoldRestored }

// Events calls f with what a batch did, in the order of its commands: from the batch
// as it is in the log, and the results and the effects with which the machine answered
// it. The event is valid during the call. An answer that was given before, of which
// nothing came this time, is no event. The error wraps ErrFormat if the three do not belong together,
// or is f's.
func Events(batch, results, effects []byte, f func(*Event) error) error {
	h, err := Validate(batch)
	undecided := err != nil || len(results) == 1 && (Code(results[0]) == Malformed || Code(results[0]) == UnknownTenant)
	if undecided {
		h.Kind = KindNone // it was answered, and changed nothing; but the time came for holds
	}
	at, err := onHoldsAt(h.Kind, results, effects)
	if err != nil {
		return err
	}
	r := eventReader{tenant: h.Tenant, effects: effects[:at], onHolds: effects[at:], f: f}
	if undecided {
		err = r.holds(nil)
	} else {
		err = r.commands(h, batch, results)
	}
	if err != nil {
		return err
	}
	if n := len(r.effects) + len(r.onHolds); n > 0 {
		return fmt.Errorf("%w: %d bytes of effects are left", ErrFormat, n)
	}
	return nil
}

// commands emits the events of all commands of a batch.
func (r *eventReader) commands(h Header, batch, results []byte) error {
	size := resultSize(h.Kind)
	if len(results) != size*h.Count {
		return fmt.Errorf("%w: %d bytes of results of %d %v", ErrFormat, len(results), h.Count, h.Kind)
	}
	body := batch[HeaderBytes+prefixSize(h.Kind):]
	for r.command = range uint32(h.Count) {
		n := commandSize(h.Kind)(body)
		if len(r.onHolds) > 0 {
			if err := r.expired(); err != nil {
				return err
			}
		}
		if err := r.read(h.Kind, body[:n], results[:size]); err != nil {
			return err
		}
		if len(r.onHolds) > 0 {
			if err := r.holds(body[:n]); err != nil {
				return err
			}
		}
		body, results = body[n:], results[size:]
	}
	return nil
}

// expired emits the holds that expired before the command was decided.
func (r *eventReader) expired() error {
	for len(r.onHolds) >= onHoldBytes && EventKind(r.onHolds[0]) == HoldExpired {
		e := parseOnHold(r.onHolds)
		if e.Command != r.command {
			break
		}
		if err := r.emit(e); err != nil {
			return err
		}
		r.onHolds = r.onHolds[onHoldBytes:]
	}
	return nil
}

// holds emits what became of holds by the command.
func (r *eventReader) holds(cmd []byte) error {
	for len(r.onHolds) >= onHoldBytes {
		e := parseOnHold(r.onHolds)
		if e.Command != r.command {
			break
		}
		if !e.Kind.OfHold() {
			return fmt.Errorf("%w: an effect on a hold of %v", ErrFormat, e.Kind)
		}
		if e.Kind == HoldPlaced && len(cmd) > holdBytes {
			if c, ok := parseHold(cmd); ok {
				e.Name = string(c.to)
			}
		}
		if err := r.emit(e); err != nil {
			return err
		}
		r.onHolds = r.onHolds[onHoldBytes:]
	}
	return nil
}

// eventReader joins the commands of a batch with their results and effects.
type eventReader struct {
	tenant  uint16
	command uint32
	effects []byte // those that are left
	onHolds []byte // the same, about holds
	event   Event
	pair    [2]Handle // the two sides of the command, 0 if they are not known from it
	f       func(*Event) error
}

func (r *eventReader) emit(e Event) error {
	e.Command = r.command
	r.event = e
	return r.f(&r.event)
}

// read emits the events of one command.
func (r *eventReader) read(k Kind, cmd, result []byte) error {
	switch k {
	case KindTransfers:
		return r.transfer(cmd, Result(result[0]))
	case KindTransfersByName, KindCrossTransfers, KindCrossTransfersByName, KindTransactions, KindCrossTransactions:
		code := Result(result[0])
		if code != Result(Applied) && code != Result(Pending) && !code.Repeated() {
			return r.emit(Event{Kind: TransferFailed, Tenant: r.tenant, ID: TransactionID(cmd[:16]), Code: code.Code()})
		}
		if (k == KindTransactions || k == KindCrossTransactions) && !code.Repeated() {
			said := Event{Kind: TransactionMade, Tenant: r.tenant, ID: TransactionID(cmd[:16]), Code: code.Code(), Content: cmd[:transactionSize(cmd)]}
			if err := r.emit(said); err != nil {
				return err
			}
		}
		if k == KindTransactions || k == KindCrossTransactions {
			return r.sides(k, cmd)
		}
		return r.movements()
	case KindHolds, KindCrossCaptures:
		code, action := Result(result[0]), holdAction(cmd[holdActionAt])
		if code != Result(Applied) && code != Result(Pending) && !code.Repeated() && action == holdCapture {
			return r.emit(Event{Kind: TransferFailed, Tenant: r.tenant, ID: TransactionID(cmd[:16]), Code: code.Code()})
		}
		return r.movements()
	case KindParticipate, KindPhases:
		return r.movements()
	case KindOpenAccounts:
		if o := ParseOpened(result); o.Code == Applied && !o.Before {
			name, c, smallest := parseAccount(cmd)
			return r.emit(Event{Kind: AccountOpened, Tenant: r.tenant, Account: o.Handle, Name: string(name), Currency: c, Min: smallest})
		}
	case KindAddCurrency:
		return r.change(CurrencyAdded, cmd, result)
	case KindSetLimit:
		return r.change(LimitChanged, cmd, result)
	case KindSetStatus:
		if Code(result[0]) == Applied {
			return r.emit(Event{Kind: StatusChanged, Tenant: r.tenant, Name: string(cmd[statusBytes:]), Status: Status(cmd[0])})
		}
	case KindCreateTenants:
		if Code(result[0]) == Applied {
			return r.emit(Event{Kind: TenantMade, Tenant: binary.LittleEndian.Uint16(result[1:]), Name: string(cmd[nameBytes:])})
		}
	case KindCreateAssets:
		if Code(result[0]) == Applied {
			c := money.Currency(binary.LittleEndian.Uint16(result[1:]))
			return r.emit(Event{Kind: AssetMade, Tenant: r.tenant, Name: string(cmd[assetBytes:]), Currency: c})
		}
	case KindSetDailyLimits:
		if Code(result[0]) == Applied {
			name, c, limit := parseDaily(cmd)
			return r.emit(Event{Kind: DailyLimitSet, Tenant: r.tenant, Name: string(name), Currency: c, Daily: limit})
		}
	case KindNone, KindLookup, KindExpire:
	}
	return nil
}

// change emits a change of an account's currencies.
func (r *eventReader) change(k EventKind, cmd, result []byte) error {
	if Code(result[0]) != Applied {
		return nil
	}
	name, c, smallest := parseAccount(cmd)
	return r.emit(Event{Kind: k, Tenant: r.tenant, Name: string(name), Currency: c, Min: smallest})
}

// transfer emits the two sides of a transfer by handle, whose effects are two balances.
func (r *eventReader) transfer(cmd []byte, result Result) error {
	e := Event{Tenant: r.tenant, ID: TransactionID(cmd[:16])}
	switch {
	case result.Repeated():
		return nil
	case result != Result(Applied):
		e.Kind, e.Code = TransferFailed, result.Code()
		return r.emit(e)
	case len(r.effects) < balancesBytes:
		return fmt.Errorf("%w: the effects end before command %d", ErrFormat, r.command)
	}
	amount := money.Amount(binary.LittleEndian.Uint64(cmd[32:]))
	e.Account, e.Other = Handle(binary.LittleEndian.Uint64(cmd[16:])), Handle(binary.LittleEndian.Uint64(cmd[24:]))
	e.Currency = money.Currency(binary.LittleEndian.Uint16(cmd[40:]))
	e.Kind, e.Amount, e.Balance = Debit, -amount, money.Amount(binary.LittleEndian.Uint64(r.effects))
	if err := r.emit(e); err != nil {
		return err
	}
	e.Account, e.Other = e.Other, e.Account
	e.Kind, e.Amount, e.Balance = Credit, amount, money.Amount(binary.LittleEndian.Uint64(r.effects[8:]))
	r.effects = r.effects[balancesBytes:]
	return r.emit(e)
}

// sides emits the effects of a transaction. Of one with two postings each is the other's
// other side, as of a transfer, where the command or the effects tell its handle.
func (r *eventReader) sides(k Kind, cmd []byte) error {
	if cmd[transactionHead+1] != 2 {
		return r.movements()
	}
	pair := make([]Handle, 0, 2)
	for rest := r.effects; len(rest) >= movementBytes; rest = rest[movementBytes:] {
		e := parseMovement(rest)
		if e.Command != r.command {
			break
		}
		pair = append(pair, e.Account)
	}
	if k == KindCrossTransactions && len(pair) == 1 {
		handles := cmd[transactionSize(cmd)+1:] // that of the account in the other partition; the one that is here has 0
		pair = append(pair, Handle(binary.LittleEndian.Uint64(handles)|binary.LittleEndian.Uint64(handles[8:])))
	}
	if len(pair) == 2 {
		r.pair = [2]Handle(pair)
	}
	err := r.movements()
	r.pair = [2]Handle{}
	return err
}

// movements emits the effects of the command.
func (r *eventReader) movements() error {
	for len(r.effects) > 0 {
		if len(r.effects) < movementBytes {
			return fmt.Errorf("%w: %d bytes of effects are left", ErrFormat, len(r.effects))
		}
		e := parseMovement(r.effects)
		if e.Command != r.command {
			break
		}
		if e.Kind != Debit && e.Kind != Credit && e.Kind != Return {
			return fmt.Errorf("%w: an effect of %v", ErrFormat, e.Kind)
		}
		switch e.Account {
		case r.pair[0]:
			e.Other = r.pair[1]
		case r.pair[1]:
			e.Other = r.pair[0]
		}
		if err := r.emit(e); err != nil {
			return err
		}
		r.effects = r.effects[movementBytes:]
	}
	return nil
}
