package walletjournal

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// JSONWriter writes transactions as JSON Lines: an object a line. Numbers are strings,
// so that no reader rounds them. What is empty is left out.
type JSONWriter struct{ out *json.Encoder }

// NewJSONWriter returns a writer to w, which it does not buffer.
func NewJSONWriter(w io.Writer) *JSONWriter {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	return &JSONWriter{out}
}

type jsonTransaction struct {
	Date        string        `json:"date"`
	Date2       string        `json:"date2,omitempty"`
	Status      string        `json:"status,omitempty"`
	Code        string        `json:"code,omitempty"`
	Description string        `json:"description,omitempty"`
	Comment     string        `json:"comment,omitempty"`
	Postings    []jsonPosting `json:"postings"`
}

type jsonPosting struct {
	Account string      `json:"account"`
	Kind    string      `json:"kind,omitempty"` // balanced or unbalanced, if virtual
	Status  string      `json:"status,omitempty"`
	Amount  jsonAmount  `json:"amount"`
	Price   *jsonAmount `json:"price,omitempty"` // of one
	Cost    *jsonAmount `json:"cost,omitempty"`  // of all
	Lot     string      `json:"lot,omitempty"`
	Comment string      `json:"comment,omitempty"`
}

type jsonAmount struct {
	Number    string `json:"number"`
	Commodity string `json:"commodity"`
}

func makeJSONAmount(a Amount) jsonAmount { return jsonAmount{a.Number.String(), a.Commodity} }

// Write writes a transaction.
func (w *JSONWriter) Write(t *Transaction) error {
	j := jsonTransaction{
		Date: t.Date.String(), Date2: t.Date2.String(), Status: t.Status.String(), Code: t.Code,
		Description: t.Description, Comment: t.Comment, Postings: make([]jsonPosting, 0, len(t.Postings)),
	}
	for _, p := range t.Postings {
		q := jsonPosting{Account: p.Account, Status: p.Status.String(), Amount: makeJSONAmount(p.Amount), Lot: p.Lot, Comment: p.Comment}
		if p.Kind != Real {
			q.Kind = p.Kind.String()
		}
		if p.Cost != nil {
			cost := makeJSONAmount(p.Cost.Amount)
			if p.Cost.Total {
				q.Cost = &cost
			} else {
				q.Price = &cost
			}
		}
		j.Postings = append(j.Postings, q)
	}
	if err := w.out.Encode(j); err != nil {
		return fmt.Errorf("walletjournal: write: %w", err)
	}
	return nil
}

// CSVWriter writes transactions as CSV (RFC 4180, but lines end as on Unix): a line
// for each posting, after a line of names. Postings with the same number in
// the first column are one transaction.
type CSVWriter struct {
	out *csv.Writer
	n   int
}

// NewCSVWriter returns a writer to w. Flush it in the end.
func NewCSVWriter(w io.Writer) *CSVWriter { return &CSVWriter{out: csv.NewWriter(w)} }

var csvNames = []string{
	"transaction", "date", "date2", "status", "code", "description", "comment",
	"account", "kind", "posting_status", "number", "commodity", "price", "cost", "cost_commodity", "lot", "posting_comment",
}

// Write writes a transaction.
func (w *CSVWriter) Write(t *Transaction) error {
	if err := w.begin(); err != nil {
		return err
	}
	w.n++
	for _, p := range t.Postings {
		price, cost, of := "", "", ""
		if p.Cost != nil {
			of = p.Cost.Amount.Commodity
			if p.Cost.Total {
				cost = p.Cost.Amount.Number.String()
			} else {
				price = p.Cost.Amount.Number.String()
			}
		}
		err := w.out.Write([]string{
			strconv.Itoa(w.n), t.Date.String(), t.Date2.String(), t.Status.String(), t.Code, t.Description, t.Comment,
			p.Account, p.Kind.String(), p.Status.String(), p.Amount.Number.String(), p.Amount.Commodity, price, cost, of, p.Lot, p.Comment,
		})
		if err != nil {
			return fmt.Errorf("walletjournal: write: %w", err)
		}
	}
	return nil
}

// begin writes the line of names, once.
func (w *CSVWriter) begin() error {
	if w.n > 0 {
		return nil
	}
	if err := w.out.Write(csvNames); err != nil {
		return fmt.Errorf("walletjournal: write: %w", err)
	}
	return nil
}

// Flush writes what is buffered, and the line of names if there was no
// transaction.
func (w *CSVWriter) Flush() error {
	if err := w.begin(); err != nil {
		return err
	}
	w.out.Flush()
	if err := w.out.Error(); err != nil {
		return fmt.Errorf("walletjournal: write: %w", err)
	}
	return nil
}
