package wallethttp

import (
	"errors"
	"fmt"

	"maru.example/money"
	"maru.example/wallet"
)

// transaction reads a transaction, and by what protocol it is to be made.
func (d *decoder) transaction() (t *wallet.Transaction, by wallet.Protocol) {
	var id, protocol string
	t = &wallet.Transaction{}
	ok := d.object([]member{
		{name: "transaction_id", value: &id},
		d.postings(&t.Postings, false),
		{name: "reference", value: &t.Reference, most: wallet.MaxReference, optional: true},
		d.metadata(&t.Metadata),
		{name: "protocol", value: &protocol, optional: true},
	})
	if ok {
		d.finish(t, id)
	}
	return t, d.legProtocol(protocol)
}

// finish converts the id of a transaction, and checks what its members do not say by
// themselves.
func (d *decoder) finish(t *wallet.Transaction, id string) {
	var err error
	t.ID, err = wallet.ParseTransactionID(id)
	d.check("transaction_id", err)
	if len(d.errs) == 0 {
		d.check("", t.Validate())
	}
}

// legProtocol converts the name of a protocol of a transaction.
func (d *decoder) legProtocol(name string) wallet.Protocol {
	by := d.protocol(name)
	if by == wallet.TwoPhase {
		d.check("protocol", wallet.ErrTwoPhase)
	}
	return by
}

// postings is a member that is a list of postings.
func (d *decoder) postings(to *[]wallet.Posting, optional bool) member {
	items := 0
	return member{name: "postings", optional: optional, list: func(d *decoder) {
		if items++; items > wallet.MaxPostings {
			if items == wallet.MaxPostings+1 {
				d.check("", wallet.ErrPostings)
			}
			d.skip()
			return
		}
		*to = append(*to, d.posting())
	}}
}

func (d *decoder) posting() (p wallet.Posting) {
	var account, amount, code string
	if !d.object([]member{{name: "account", value: &account}, {name: "amount", value: &amount}, {name: "currency", value: &code}}) {
		return p
	}
	p.Account = wallet.AccountID(account)
	d.check("account", p.Account.Validate())
	p.Currency, p.Amount = d.amount(code, amount)
	if p.Currency != 0 && p.Account.Validate() == nil && len(d.errs) == 0 {
		d.check("amount", p.Validate())
	}
	return p
}

// amount converts a currency and an amount of it.
func (d *decoder) amount(code, text string) (money.Currency, money.Amount) {
	c, err := d.parseCurrency(code)
	if err != nil {
		d.check("currency", err)
		return 0, 0
	}
	a, err := money.ParseAmount(text, c)
	d.check("amount", err)
	return c, a
}

// metadata is a member that is an object of strings, with any names.
func (d *decoder) metadata(to *wallet.Metadata) member {
	return member{name: "metadata", optional: true, object: func(d *decoder) {
		d.anyMembers(func(name string) {
			switch {
			case d.text[d.pos] != '"':
				d.fail(name, "must be a string, not "+d.kind())
				d.skip()
			case len(*to) > wallet.MaxMetadata: // refused already
				d.skip()
			default:
				if *to == nil {
					*to = wallet.Metadata{}
				}
				(*to)[name] = d.string()
			}
		})
		d.check("", to.Validate())
	}}
}

// anyMembers reads an object whose members may have any names, each once: value reads what belongs
// to a name. The size of the request bounds them.
func (d *decoder) anyMembers(value func(name string)) {
	if d.text[d.pos] != '{' {
		d.fail("", "must be an object, not "+d.kind())
		d.skip()
		return
	}
	seen := map[string]bool{}
	for d.next('}') {
		name := d.string()
		d.space()
		d.pos++ // the colon
		d.space()
		if seen[name] {
			d.fail(name, "is there twice")
			d.skip()
			continue
		}
		seen[name] = true
		value(name)
	}
}

// reversalBody is what the body of a reversal says.
type reversalBody struct {
	t          *wallet.Transaction // Reverses is nil if it does not say what it takes back
	id, amount string
	made       bool // the id, as none was given
	by         wallet.Protocol
}

// reversal reads a reversal of the transfer or transaction with an id.
func (d *decoder) reversal(of wallet.TransactionID) *reversalBody {
	r := &reversalBody{t: &wallet.Transaction{}}
	var protocol string
	keep := func(read func(d *decoder) *wallet.Original) func(d *decoder) {
		return func(d *decoder) {
			if r.t.Reverses != nil {
				d.fail("", "must not be there beside the other")
			}
			if o := read(d); o != nil {
				r.t.Reverses, o.ID = o, of
			}
		}
	}
	ok := d.object([]member{
		{name: "transaction_id", value: &r.id, optional: true},
		{name: "transfer", object: keep((*decoder).originalTransfer), optional: true},
		{name: "capture", object: keep((*decoder).originalCapture), optional: true},
		{name: "transaction", object: keep((*decoder).originalTransaction), optional: true},
		{name: "amount", value: &r.amount, optional: true},
		d.postings(&r.t.Postings, true),
		{name: "reference", value: &r.t.Reference, most: wallet.MaxReference, optional: true},
		d.metadata(&r.t.Metadata),
		{name: "protocol", value: &protocol, optional: true},
	})
	r.by = d.legProtocol(protocol)
	if ok && r.id == "" {
		r.id, r.made = wallet.ReversalID(of).String(), true
		if r.amount != "" || len(r.t.Postings) > 0 {
			d.check("transaction_id", errPartID)
		}
	}
	return r
}

var errPartID = errors.New("is missing: only a whole reversal can do without")

// finishReversal checks a reversal of which it is known what it takes back.
func (d *decoder) finishReversal(r *reversalBody) {
	o := r.t.Reverses
	if r.amount != "" && (!o.Movement() || len(r.t.Postings) > 0) {
		d.check("amount", errors.New("is for what moved one amount between two accounts, and not beside postings"))
		return
	}
	if len(r.t.Postings) == 0 {
		r.t.Postings = o.Reverse(r.t.ID).Postings
	}
	if r.amount != "" {
		a, err := money.ParseAmount(r.amount, o.Postings[0].Currency)
		if err == nil && a <= 0 {
			err = fmt.Errorf("must be more than zero, not %s", r.amount)
		}
		d.check("amount", err)
		r.t.Postings = o.ReversePart(r.t.ID, a).Postings
	}
	d.finish(r.t, r.id)
}

// originalTransfer reads what a transfer was; nil if that was not said. With notes it is
// the transaction that carried it.
func (d *decoder) originalTransfer() *wallet.Original {
	var notes wallet.Notes
	t, ok := d.originalMovement(d.notes(&notes)...)
	if !ok {
		return nil
	}
	return wallet.OriginalNoted(&t, notes)
}

// originalCapture reads what a capture was; nil if that was not said.
func (d *decoder) originalCapture() *wallet.Original {
	var hold string
	t, ok := d.originalMovement(member{name: "hold_id", value: &hold})
	if !ok {
		return nil
	}
	id, err := wallet.ParseTransactionID(hold)
	d.check("hold_id", err)
	return wallet.OriginalCapture(&wallet.Capture{Transfer: t, Hold: id})
}

// originalMovement reads what moved from one account to another, and members beside; false if that was not said.
func (d *decoder) originalMovement(beside ...member) (t wallet.Transfer, ok bool) {
	var from, to, amount, code string
	if !d.object(append([]member{
		{name: "from_account", value: &from}, {name: "to_account", value: &to}, {name: "amount", value: &amount}, {name: "currency", value: &code},
	}, beside...)) {
		return t, false
	}
	t.From, t.To = wallet.AccountID(from), wallet.AccountID(to)
	d.check("from_account", t.From.Validate())
	d.check("to_account", t.To.Validate())
	if t.Currency, t.Amount = d.amount(code, amount); t.Currency != 0 && t.Amount <= 0 {
		d.fail("amount", "must be more than zero")
	}
	return t, true
}

// originalTransaction reads what a transaction was; nil if that was not said.
func (d *decoder) originalTransaction() *wallet.Original {
	o := &wallet.Original{}
	if !d.object([]member{
		d.postings(&o.Postings, false),
		{name: "reference", value: &o.Reference, most: wallet.MaxReference, optional: true},
		d.metadata(&o.Metadata),
	}) {
		return nil
	}
	return o
}
