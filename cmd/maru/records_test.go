package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/money"
	"maru.example/wallet"
)

const (
	uuid1 = "01900000-0000-7000-8000-000000000001"
	uuid2 = "01900000-0000-7000-8000-000000000002"
)

// readAll returns the records and the texts of the malformed lines.
func readAll(t *testing.T, content string, f format) (records []record, malformed []string) {
	t.Helper()
	in, err := newRecordReader(strings.NewReader(content), f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var r record
		err := in.read(&r)
		var bad *lineError
		switch {
		case errors.Is(err, io.EOF):
			return records, malformed
		case errors.As(err, &bad):
			malformed = append(malformed, bad.Error())
		case err != nil:
			t.Fatal(err)
		default:
			records = append(records, r)
		}
	}
}

func mustID(s string) wallet.TransactionID {
	id, err := wallet.ParseTransactionID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func account(line int64, id wallet.AccountID, currency string, smallest money.Amount) record {
	return record{line: line, kind: accountRecord, account: wallet.NewAccount{
		ID: id, Currency: money.MustParseCurrency(currency), Min: smallest,
	}}
}

func transfer(line int64, id string, from, to wallet.AccountID, amount money.Amount, currency string) record {
	return record{line: line, kind: transferRecord, transfer: wallet.Transfer{
		ID: mustID(id), From: from, To: to, Amount: amount, Currency: money.MustParseCurrency(currency),
	}}
}

func noted(r record, reference string, data wallet.Metadata) record {
	r.notes = wallet.Notes{Reference: reference, Metadata: data}
	return r
}

func TestRecords(t *testing.T) {
	const accounts = "id,currency,min_balance\n"
	const transfers = "transaction_id,from_account,to_account,amount,currency\n"
	tests := []struct {
		name      string
		format    format
		content   string
		want      []record
		malformed []string
	}{
		{"accounts", formatCSV, accounts + "a,USD,-10.00\nb,JPY,unlimited\nc,BHD,\n", []record{
			account(2, "a", "USD", -1000), account(3, "b", "JPY", wallet.Unlimited), account(4, "c", "BHD", 0),
		}, nil},
		{
			"no column for the smallest balance", formatCSV, "currency,id\nUSD,a\n",
			[]record{account(2, "a", "USD", 0)},
			nil,
		},
		{
			"transfers, columns in another order", formatCSV,
			"currency,amount,to_account,from_account,transaction_id\nUSD,1.50,b,a," + uuid1 + "\n",
			[]record{transfer(2, uuid1, "a", "b", 150, "USD")},
			nil,
		},
		{
			"byte order mark, CRLF, empty lines, no end of the last line", formatCSV,
			"\ufeffid,currency\r\n\r\na,USD\r\n  \r\nb,USD",
			[]record{account(3, "a", "USD", 0), account(5, "b", "USD", 0)},
			nil,
		},
		{
			"quotes", formatCSV, "\"id\",currency\n\"a\",\"USD\"\n\"b\"\"\",USD\n\"c,USD\na\"b,USD\n\"d\"x,USD\n",
			[]record{account(2, "a", "USD", 0)},
			[]string{
				"line 3: id: an account id has 1 to 64 letters, digits and ._:-@ (. and .. are no ids)",
				"line 4: a quote is not closed on its line",
				"line 5: a quote inside a field that does not begin with one",
				"line 6: text behind a closing quote",
			},
		},
		{
			"fields missing and too many", formatCSV, accounts + "a,USD\nb,USD,,\nc,USD,\n",
			[]record{account(4, "c", "USD", 0)},
			[]string{"line 2: 2 fields, but the header has 3", "line 3: 4 fields, but the header has 3"},
		},
		{
			"values that are wrong", formatCSV,
			transfers + "x,a,b,1.00,USD\n" + uuid1 + ",a b,b,1.00,USD\n" + uuid1 + ",a,b,1.001,USD\n" +
				uuid1 + ",a,b,1.00,XXX\n" + uuid1 + ",a,b,99999999999999999999,USD\n" + uuid1 + ",a,b,-1.00,USD\n",
			[]record{transfer(7, uuid1, "a", "b", -100, "USD")},
			[]string{
				"line 2: a transaction_id is a UUID, such as 01900000-0000-7000-8000-000000000001, and not all zeros",
				"line 3: from_account: an account id has 1 to 64 letters, digits and ._:-@ (. and .. are no ids)",
				`line 4: amount "1.001" in USD: more decimal places than the currency has`,
				`line 5: currency "XXX": unknown currency`,
				`line 6: amount "99999999999999999999" in USD: amount out of range`,
			},
		},
		{
			"a line that is too long", formatCSV,
			accounts + strings.Repeat("x", 3*maxLineBytes) + "\na,USD,\n" + strings.Repeat("y", 2*maxLineBytes),
			[]record{account(3, "a", "USD", 0)},
			[]string{"line 2: longer than 16384 bytes", "line 4: longer than 16384 bytes"},
		},
		{
			"objects of both kinds", formatNDJSON,
			`{"id":"a","currency":"USD","min_balance":"-1.00"}` + "\n" +
				` { "transaction_id" : "` + uuid2 + `", "from_account":"a", "to_account":"\u0062", "amount":"7", "currency":"JPY" } ` + "\n",
			[]record{account(1, "a", "USD", -100), transfer(2, uuid2, "a", "b", 7, "JPY")},
			nil,
		},
		{"objects that are wrong", formatNDJSON, strings.Join([]string{
			`[]`, `{}`, `{"id":"a"}x`, `{"id":1}`, `{"ID":"a"}`, `{"id":"a","id":"b"}`, `{"id":"a"`, `{"id" "a"}`, `{"id":"a`,
			`{"id":"\x"}`, `{"id":"a","amount":"1"}`, `{"id":"a","currency":"USD","min_balance":"lots"}`, "{\"id\":\"\x01\"}", `{"id":"a",}`,
		}, "\n"), nil, []string{
			"line 1: not a JSON object",
			"line 2: id: an account id has 1 to 64 letters, digits and ._:-@ (. and .. are no ids)",
			"line 3: text behind the object",
			"line 4: id: a string in quotes is needed",
			`line 5: unknown field "ID"`,
			"line 6: the field id stands twice",
			"line 7: neither a comma nor the end of the object behind id",
			"line 8: no colon behind the name id",
			"line 9: id: a string is not closed on its line",
			"line 10: id: a string with an invalid escape",
			"line 11: it has fields of an account and of a transfer",
			`line 12: amount "lots" in USD: not a decimal amount`,
			"line 13: id: a control character in a string",
			"line 14: a string in quotes is needed",
		}},
		{
			"notes, CSV", formatCSV, "reference,transaction_id,from_account,to_account,amount,currency,metadata\n" +
				`order,` + uuid1 + `,a,b,1.00,USD,"{""k"": ""v,"", ""l"":""}""}"` + "\n," + uuid2 + ",a,b,1.00,USD,\n" +
				strings.Repeat("x", 65) + "," + uuid2 + ",a,b,1.00,USD,\n," + uuid2 + ",a,b,1.00,USD,k=v\n," + uuid2 + `,a,b,1.00,USD,"{""k"":""v"",""k"":""w""}"` + "\n",
			[]record{noted(transfer(2, uuid1, "a", "b", 100, "USD"), "order", wallet.Metadata{"k": "v,", "l": "}"}), transfer(3, uuid2, "a", "b", 100, "USD")},
			[]string{"line 4: a reference has up to 64 bytes of UTF-8", "line 5: metadata: not a JSON object", `line 6: metadata: the key "k" stands twice`},
		},
		{
			"notes, NDJSON", formatNDJSON, `{"metadata":{"k":"\u007d{","l":""} ,"transaction_id":"` + uuid1 + `","from_account":"a","to_account":"b","amount":"1.00","currency":"USD"}` + "\n" +
				`{"metadata":{},"reference":"","transaction_id":"` + uuid2 + `","from_account":"a","to_account":"b","amount":"1.00","currency":"USD"}` + "\n" +
				`{"metadata":"k"}` + "\n" + `{"metadata":{"k":1}}` + "\n" + `{"metadata":{"k"` + "\n" + `{"metadata":{"k":"v",}}` + "\n" + `{"id":"a","currency":"USD","reference":"x"}` + "\n" +
				`{"metadata":{"k" "v"},"transaction_id":"` + uuid2 + `","from_account":"a","to_account":"b","amount":"1.00","currency":"USD"}` + "\n",
			[]record{noted(transfer(1, uuid1, "a", "b", 100, "USD"), "", wallet.Metadata{"k": "}{", "l": ""}), noted(transfer(2, uuid2, "a", "b", 100, "USD"), "", wallet.Metadata{})},
			[]string{
				"line 3: metadata: not a JSON object", "line 4: metadata: a string in quotes is needed", "line 5: metadata: neither a comma nor the end of the object",
				"line 6: a transaction_id is a UUID, such as 01900000-0000-7000-8000-000000000001, and not all zeros", "line 7: it has fields of an account and of a transfer", `line 8: metadata: no colon behind the key "k"`,
			},
		},
		{"format by the first byte: NDJSON", formatAuto, "\ufeff\n {\"id\":\"a\",\"currency\":\"USD\"}", []record{account(2, "a", "USD", 0)}, nil},
		{"format by the first byte: CSV", formatAuto, "id,currency\na,USD\n", []record{account(2, "a", "USD", 0)}, nil},
		{"nothing behind the header", formatCSV, accounts, nil, nil},
		{"an empty NDJSON file", formatNDJSON, "", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, malformed := readAll(t, tt.content, tt.format)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(record{})); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.malformed, malformed); diff != "" {
				t.Errorf("malformed lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"empty", "", "the file is empty: not even a header line"},
		{"unknown column", "id,currency,min_balnce\n", `line 1: the header has an unknown column "min_balnce"`},
		{"other separator", "id;currency\n", `line 1: the header has an unknown column "id;currency"`},
		{"twice", "id,currency,id\n", "line 1: the header has the column id twice"},
		{"missing", "transaction_id,from_account,to_account,amount\n", "line 1: the header lacks the column currency"},
		{"missing id", "currency\n", "line 1: the header lacks the column id"},
		{"mixed", "id,currency,amount\n", "line 1: the header has columns of accounts and of transfers"},
		{"quote", "\"id,currency\n", "line 1: a quote is not closed on its line"},
		{"no header", uuid1 + ",a,b,1.00,USD\n", `line 1: the header has an unknown column "` + uuid1 + `"`},
		{"too long", strings.Repeat("id,", maxLineBytes), "line 1: longer than 16384 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newRecordReader(strings.NewReader(tt.content), formatCSV)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestReadErrorEndsTheFile(t *testing.T) {
	broken := errors.New("broken disk")
	in, err := newRecordReader(io.MultiReader(strings.NewReader("id,currency\na,USD\nb,"), &brokenReader{broken}), formatCSV)
	if err != nil {
		t.Fatal(err)
	}
	var r record
	if err := in.read(&r); err != nil {
		t.Fatal(err)
	}
	if err := in.read(&r); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v: half a line must not count as one", err, broken)
	}
}

type brokenReader struct{ err error }

func (b *brokenReader) Read([]byte) (int, error) { return 0, b.err }

// FuzzRecords checks that what is accepted is valid, and is what the standard
// library reads in the same line.
func FuzzRecords(f *testing.F) {
	for _, seed := range []string{
		"id,currency,min_balance\na,USD,-1.00\n\"b\",JPY,\n",
		"transaction_id,from_account,to_account,amount,currency\n" + uuid1 + ",a,b,1.00,USD\r\n",
		`{"id":"\u0061","currency":"USD"}` + "\n" + `{"transaction_id":"` + uuid1 + `","from_account":"a","to_account":"b","amount":"1","currency":"JPY"}`,
		"\ufeff{}", "id,currency\n\"", `{"id":"\`,
	} {
		f.Add(seed, uint8(formatAuto))
	}
	f.Fuzz(func(t *testing.T, content string, as uint8) {
		in, err := newRecordReader(strings.NewReader(content), format(as%3))
		if err != nil {
			return
		}
		lines := strings.Split(content, "\n")
		last := int64(0)
		for {
			var r record
			err := in.read(&r)
			var bad *lineError
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.As(err, &bad):
				r.line = bad.line
			case err != nil:
				t.Fatal(err)
			default:
				checkRecord(t, &r, lines[r.line-1], in)
			}
			if r.line <= last || r.line > int64(len(lines)) {
				t.Fatalf("line %d behind line %d of %d", r.line, last, len(lines))
			}
			last = r.line
		}
	})
}

func checkRecord(t *testing.T, r *record, line string, in recordReader) {
	t.Helper()
	var got values
	switch in := in.(type) {
	case *csvReader:
		fields, err := csv.NewReader(strings.NewReader(line)).Read()
		if err != nil {
			t.Fatalf("line %q: accepted, but %v", line, err)
		}
		for i, f := range in.columns {
			got.text[f] = fields[i]
		}
	case *ndjsonReader:
		var object map[string]string
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, byteOrderMark)), &object); err != nil {
			t.Fatalf("line %q: accepted, but %v", line, err)
		}
		for name, value := range object {
			got.text[fieldOf(name)] = value
		}
	}
	switch r.kind {
	case accountRecord:
		if string(r.account.ID) != got.text[fieldID] || r.account.Currency.String() != got.text[fieldCurrency] || r.account.ID.Validate() != nil {
			t.Errorf("line %q: account %+v", line, r.account)
		}
	case transferRecord:
		x := r.transfer
		if x.ID.String() != strings.ToLower(got.text[fieldTransactionID]) || string(x.From) != got.text[fieldFrom] ||
			string(x.To) != got.text[fieldTo] || x.From.Validate() != nil || x.To.Validate() != nil || !x.Currency.Valid() {
			t.Errorf("line %q: transfer %+v", line, x)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, tt := range []struct{ name, header, line string }{
		{"csv", "transaction_id,from_account,to_account,amount,currency\n", uuid1 + ",alice:main,bob:savings,125.50,USD\n"},
		{"ndjson", "", `{"transaction_id":"` + uuid1 + `","from_account":"alice:main","to_account":"bob:savings","amount":"125.50","currency":"USD"}` + "\n"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			content := tt.header + strings.Repeat(tt.line, 10_000)
			in, err := newRecordReader(strings.NewReader(content), formatAuto)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(tt.line)))
			var r record
			for b.Loop() {
				err := in.read(&r)
				if errors.Is(err, io.EOF) {
					if in, err = newRecordReader(strings.NewReader(content), formatAuto); err == nil {
						err = in.read(&r)
					}
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
