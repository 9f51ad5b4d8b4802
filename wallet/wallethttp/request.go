package wallethttp

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"

	"maru.example/money"
	"maru.example/wallet"
)

// buffers holds room for bodies of the usual size.
var buffers = sync.Pool{New: func() any { return new([MaxBodyBytes + 1]byte) }}

// readBody calls decode with a decoder of a request's body, of at most limit bytes.
func readBody(r *http.Request, limit int64, decode func(d *decoder)) error {
	if !isJSON(r.Header.Get("Content-Type")) {
		return newProblem(http.StatusUnsupportedMediaType, codeUnsupportedType, "send the body with the header Content-Type: application/json")
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	pooled := buffers.Get().(*[MaxBodyBytes + 1]byte)
	defer buffers.Put(pooled)
	body, err := readAll(r.Body, pooled[:0], limit)
	if err != nil {
		return err
	}
	d, err := newDecoder(body)
	if err != nil {
		return err
	}
	decode(d)
	if len(d.errs) > 0 {
		return invalid(d.errs)
	}
	return nil
}

// readAll appends what r has to dst, of at most limit bytes.
func readAll(r io.Reader, dst []byte, limit int64) ([]byte, error) {
	for {
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case int64(len(dst)) > limit:
			return nil, tooLarge(limit)
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return nil, unreadable(err)
		case len(dst) == cap(dst):
			dst = append(dst, 0)[:len(dst)]
		}
	}
}

// unreadable returns the problem of a body that did not arrive.
func unreadable(err error) *Problem {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return tooLarge(large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, codeBodyTimeout, "the body took too long to arrive; nothing was done")
	}
	return newProblem(http.StatusBadRequest, codeBodyIncomplete, "the body ended too early or is not transferred as its header says; nothing was done")
}

func tooLarge(limit int64) *Problem {
	return newProblem(http.StatusRequestEntityTooLarge, codeBodyTooLarge, fmt.Sprintf("the body has more than %d bytes; nothing was done", limit))
}

// isJSON says whether a Content-Type is JSON's, in UTF-8 if it says so. None is
// not taken either: browsers let any web page send that to any server, and JSON
// only where the server agrees.
func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	kind, parameters, err := mime.ParseMediaType(contentType)
	charset, given := parameters["charset"]
	return err == nil && kind == "application/json" && (!given || strings.EqualFold(charset, "utf-8"))
}

// transfer reads a transfer, and by what protocol it is to be made.
func (d *decoder) transfer() (t wallet.Transfer, notes wallet.Notes, by wallet.Protocol) {
	var text string
	t = d.transferItem(append(d.notes(&notes), member{name: "protocol", value: &text, optional: true})...)
	if by = d.protocol(text); !notes.Empty() {
		by = d.legProtocol(text)
	}
	return t, notes, by
}

// protocol converts the name of a protocol, "" if none was given.
func (d *decoder) protocol(name string) wallet.Protocol {
	if name == "" {
		return wallet.NoProtocol
	}
	by, err := wallet.ParseProtocol(name)
	d.check("protocol", err)
	return by
}

// transferItem reads a transfer, and members beside.
func (d *decoder) transferItem(beside ...member) (t wallet.Transfer) {
	var from, to, amount, code, id string
	if !d.object(append([]member{
		{name: "from_account", value: &from},
		{name: "to_account", value: &to},
		{name: "amount", value: &amount},
		{name: "currency", value: &code},
		{name: "transaction_id", value: &id},
	}, beside...)) {
		return t
	}
	t.From, t.To = wallet.AccountID(from), wallet.AccountID(to)
	d.check("from_account", t.From.Validate())
	d.check("to_account", t.To.Validate())
	var err error
	if t.Currency, err = d.parseCurrency(code); err != nil {
		d.check("currency", err)
	} else {
		t.Amount, err = money.ParseAmount(amount, t.Currency)
		d.check("amount", err)
	}
	t.ID, err = wallet.ParseTransactionID(id)
	d.check("transaction_id", err)
	return t
}

// notes are the members that are notes.
func (d *decoder) notes(to *wallet.Notes) []member {
	return []member{{name: "reference", value: &to.Reference, most: wallet.MaxReference, optional: true}, d.metadata(&to.Metadata)}
}

// transfers reads a list of transfers, and by what protocol they are to be made.
func (d *decoder) transfers() (l transferList, by wallet.Protocol) {
	var text string
	items := 0
	ok := d.object([]member{{name: "transfers", list: func(d *decoder) {
		if items++; items > MaxTransfers {
			d.skip()
			return
		}
		var notes wallet.Notes
		t := d.transferItem(d.notes(&notes)...)
		if l.notes == nil && !notes.Empty() {
			l.notes = make([]wallet.Notes, items-1, MaxTransfers)
		}
		if l.transfers = append(l.transfers, t); l.notes != nil {
			l.notes = append(l.notes, notes)
		}
	}}, {name: "protocol", value: &text, optional: true}})
	if items > MaxTransfers || ok && items == 0 {
		d.fail("transfers", fmt.Sprintf("must have 1 to %d transfers, not %d", MaxTransfers, items))
	}
	if by = d.protocol(text); l.notes != nil {
		by = d.legProtocol(text)
	}
	return l, by
}

// account reads what opens an account.
func (d *decoder) account() (a wallet.NewAccount) {
	var id, code string
	smallest := "0"
	if d.object([]member{
		{name: "id", value: &id},
		{name: "currency", value: &code},
		{name: "min_balance", value: &smallest, optional: true},
	}) {
		a.ID = wallet.AccountID(id)
		d.check("id", a.ID.Validate())
		a.Currency, a.Min = d.balance(code, smallest)
	}
	return a
}

// currency reads what adds a currency to an account.
func (d *decoder) currency() (c money.Currency, smallest money.Amount) {
	var code string
	text := "0"
	if d.object([]member{
		{name: "currency", value: &code},
		{name: "min_balance", value: &text, optional: true},
	}) {
		c, smallest = d.balance(code, text)
	}
	return c, smallest
}

// balance converts a currency and a smallest balance in it.
func (d *decoder) balance(code, text string) (c money.Currency, smallest money.Amount) {
	c, err := d.parseCurrency(code)
	if err != nil {
		d.check("currency", err)
		return 0, 0
	}
	return c, d.limit(text, c)
}

// limit converts a smallest balance.
func (d *decoder) limit(text string, c money.Currency) money.Amount {
	smallest, err := parseLimit(text, c)
	d.check("min_balance", err)
	return smallest
}
