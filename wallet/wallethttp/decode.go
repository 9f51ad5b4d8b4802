package wallethttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"maru.example/money"
)

// A decoder reads the JSON object of a request. What it reads has been found to
// be well-formed, so that it looks at names and kinds only, and goes on after an
// error: all of them are reported.
type decoder struct {
	text string
	pos  int
	in   string // pointer to the object or list that is being read, "" for the body
	item int    // place in that list; -1 outside
	errs []FieldError

	parseCurrency func(string) (money.Currency, error)
}

// A member is one that an object must have, unless optional: its name and where
// its value goes, which is a string, true or false, a small number, a list whose items
// are read one by one, or an object.
type member struct {
	name     string
	value    *string
	flag     *bool
	number   *int
	list     func(d *decoder)
	object   func(d *decoder)
	most     int   // bytes of the value; 0 for any number
	given    *bool // becomes true if the member is there; nil: not wanted
	optional bool
}

// newDecoder returns a decoder of a body, or the problem that it is not JSON.
func newDecoder(body []byte) (*decoder, error) {
	if !json.Valid(body) {
		var syntax *json.SyntaxError
		detail := "the body is not JSON"
		if err := json.Unmarshal(body, new(any)); errors.As(err, &syntax) {
			detail = fmt.Sprintf("the body is not JSON: at byte %d: %v", syntax.Offset, syntax)
		}
		return nil, newProblem(http.StatusBadRequest, codeMalformedJSON, detail)
	}
	if !utf8.Valid(body) {
		return nil, newProblem(http.StatusBadRequest, codeMalformedJSON, "the body is not UTF-8")
	}
	if at := loneSurrogate(body); at >= 0 {
		return nil, newProblem(http.StatusBadRequest, codeMalformedJSON, fmt.Sprintf("the body has no character at byte %d: half of a surrogate pair", at+1))
	}
	d := &decoder{text: string(body), item: -1, parseCurrency: money.ParseCurrency}
	d.space()
	return d, nil
}

// loneSurrogate returns where well-formed JSON has an escape that is no character, as the half of a surrogate pair that it
// stands for has no other half; -1: nowhere.
func loneSurrogate(body []byte) int {
	const escape = len(`\uD834`)
	for at := bytes.IndexByte(body, '\\'); at >= 0; {
		next := at + 2
		if r := escaped(body[at:]); utf16.IsSurrogate(r) {
			if utf16.DecodeRune(r, escaped(body[at+escape:])) == utf8.RuneError {
				return at
			}
			next = at + 2*escape
		}
		more := bytes.IndexByte(body[next:], '\\')
		if more < 0 {
			return -1
		}
		at = next + more
	}
	return -1
}

// escaped returns the number of an escape \uXXXX at the beginning of well-formed JSON, 0 if there is none.
func escaped(b []byte) rune {
	if b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		panic(err) // it is well-formed
	}
	return rune(n)
}

// object reads an object with these members and says whether it was free of
// errors.
func (d *decoder) object(members []member) bool {
	before := len(d.errs)
	if d.text[d.pos] != '{' {
		d.fail("", "must be an object, not "+d.kind())
		d.skip()
		return false
	}
	var seen uint
	for d.next('}') {
		name := d.string()
		d.space()
		d.pos++ // the colon
		d.space()
		i := find(members, name)
		switch {
		case i < 0:
			d.fail(name, "is not known here")
			d.skip()
			continue
		case seen&(1<<i) != 0:
			d.fail(name, "is there twice")
		}
		seen |= 1 << i
		if given := members[i].given; given != nil {
			*given = true
		}
		d.member(&members[i])
	}
	for i := range members {
		if seen&(1<<i) == 0 && !members[i].optional {
			d.fail(members[i].name, "is missing")
		}
	}
	return len(d.errs) == before
}

func find(members []member, name string) int {
	for i := range members {
		if members[i].name == name {
			return i
		}
	}
	return -1
}

// member reads the value of a member.
func (d *decoder) member(m *member) {
	switch c := d.text[d.pos]; {
	case m.flag != nil && (c == 't' || c == 'f'):
		*m.flag = c == 't'
		d.skip()
	case m.flag != nil:
		d.fail(m.name, "must be true or false, not "+d.kind())
		d.skip()
	case m.object != nil:
		outer, item := d.in, d.item
		if d.in += "/" + m.name; item >= 0 {
			d.in = outer + "/" + strconv.Itoa(item) + "/" + m.name
		}
		d.item = -1
		m.object(d)
		d.in, d.item = outer, item
	case m.number != nil:
		d.number(m)
	case m.list == nil && c == '"':
		if *m.value = d.string(); m.optional && *m.value == "" {
			d.fail(m.name, "must not be empty: leave it out")
		} else if m.most > 0 && len(*m.value) > m.most {
			d.fail(m.name, fmt.Sprintf("must have up to %d bytes", m.most))
		}
	case m.list == nil:
		d.fail(m.name, "must be a string, not "+d.kind())
		d.skip()
	case c != '[':
		d.fail(m.name, "must be an array, not "+d.kind())
		d.skip()
	default:
		outer := d.in
		d.in += "/" + m.name
		for d.next(']') {
			d.item++
			m.list(d)
		}
		d.in, d.item = outer, -1
	}
}

// number reads a whole number.
func (d *decoder) number(m *member) {
	before := d.pos
	d.skip()
	n, err := strconv.ParseInt(d.text[before:d.pos], 10, 16)
	if err != nil {
		d.fail(m.name, "must be a whole number, without a fraction or an exponent")
	}
	*m.number = int(n)
}

// next moves to the next element of an array or object, past the bracket or
// comma at or after pos, or past the closing bracket, and says which.
func (d *decoder) next(closing byte) bool {
	d.space()
	c := d.text[d.pos]
	d.pos++
	if c == closing {
		return false
	}
	d.space()
	if c != ',' && d.text[d.pos] == closing { // empty
		d.pos++
		return false
	}
	return true
}

func (d *decoder) space() {
	for d.pos < len(d.text) && strings.IndexByte(" \t\r\n", d.text[d.pos]) >= 0 {
		d.pos++
	}
}

// string reads a string. One without escapes is a part of the text.
func (d *decoder) string() string {
	start := d.pos
	escaped := false
	for d.pos++; d.text[d.pos] != '"'; d.pos++ {
		if d.text[d.pos] == '\\' {
			escaped = true
			d.pos++
		}
	}
	d.pos++
	if !escaped {
		return d.text[start+1 : d.pos-1]
	}
	var s string
	if err := json.Unmarshal([]byte(d.text[start:d.pos]), &s); err != nil {
		panic(err) // it is well-formed
	}
	return s
}

// skip passes over a value.
func (d *decoder) skip() {
	depth := 0
	for {
		switch d.text[d.pos] {
		case '"':
			d.string()
		case '{', '[':
			depth++
			d.pos++
		case '}', ']':
			depth--
			d.pos++
		case ',', ':', ' ', '\t', '\r', '\n':
			d.pos++
			continue
		default:
			for d.pos < len(d.text) && strings.IndexByte(",]} \t\r\n", d.text[d.pos]) < 0 {
				d.pos++
			}
		}
		if depth == 0 {
			return
		}
	}
}

// kind names the kind of the value at pos.
func (d *decoder) kind() string {
	switch d.text[d.pos] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// fail notes what is wrong with a member of the object that is being read, or
// with the object itself if name is "".
func (d *decoder) fail(name, detail string) {
	pointer := "#" + d.in
	if d.item >= 0 {
		pointer += "/" + strconv.Itoa(d.item)
	}
	if name != "" {
		pointer += "/" + escapePointer(name)
	}
	d.errs = append(d.errs, FieldError{Pointer: pointer, Detail: detail})
}

// check notes an error of a member's content, if there is one.
func (d *decoder) check(name string, err error) {
	if err != nil {
		d.fail(name, reason(err))
	}
}

// escapePointer writes a name as a token of a JSON pointer (RFC 6901), cut to a
// length that is fit for an answer.
func escapePointer(name string) string {
	const most = 64
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
}

// reason returns an error's text for a client, who does not need the package's name.
func reason(err error) string { return strings.TrimPrefix(err.Error(), "wallet: ") }
