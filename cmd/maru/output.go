package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"maru.example/cluster/clusterhttp"
	"maru.example/wallet/wallethttp"
)

// The exit statuses. `maru --help` has them for the people who use them.
const (
	exitOK      = 0
	exitFailed  = 1 // the world: no server, a full disk, a lost connection
	exitUsage   = 2 // the command line: unknown flags, malformed ids and amounts
	exitRefused = 3 // the rules: insufficient funds, an unknown account, lines of a file
	exitPending = 4 // a transfer under way between two partitions: it will be done or refused
	// exitUnchecked: what was to be checked could not be, as something is missing that it needs; nothing is known to be wrong.
	exitUnchecked = 5
)

// failure is how a command ends badly: what went wrong, what to do about it, and
// the status of the process.
type failure struct {
	err    error
	hint   string // "" for none
	status int
}

// Error returns what went wrong.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// usageError returns a failure of the command line.
func usageError(hint, format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), hint: hint, status: exitUsage}
}

// failed returns a failure of the world with a hint.
func failed(err error, hint string) error {
	return &failure{err: err, hint: hint, status: exitFailed}
}

// failureOf returns the failure that an error is or holds; another error is one
// of the world.
func failureOf(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{err: err, status: exitFailed}
}

// failureView is how a command ended badly, as --json prints it.
type failureView struct {
	Status        string `json:"status"`         // failed, usage, refused, pending or unchecked: the exit status 1 to 5
	Code          string `json:"code,omitempty"` // the machine's or the server's name for it, if it has one
	Error         string `json:"error"`
	Hint          string `json:"hint,omitempty"`
	TransactionID string `json:"transaction_id,omitempty"` // of the transfer that was to be made
}

func viewFailure(err error) failureView {
	f := failureOf(err)
	v := failureView{Error: plain(err), Hint: f.hint}
	v.Status = map[int]string{exitFailed: "failed", exitUsage: "usage", exitRefused: "refused", exitPending: "pending", exitUnchecked: "unchecked"}[f.status]
	if r, ok := errors.AsType[*refusal](err); ok {
		v.Code = r.code.String()
	} else if p, ok := errors.AsType[*wallethttp.Problem](err); ok {
		v.Code = p.Code
	} else if p, ok := errors.AsType[*clusterhttp.Problem](err); ok {
		v.Code = p.Code
	}
	if t, ok := errors.AsType[*transferError](err); ok {
		v.TransactionID = t.id.String()
	}
	return v
}

// countingWriter counts the bytes that are written.
type countingWriter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// report writes an error as people read it, and returns the exit status.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	f := failureOf(err)
	fmt.Fprintf(w, "maru: %s\n", plain(err))
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.hint)
	}
	return f.status
}

// plain returns the text of an error without the name of the package that made it.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range []string{"wallet: ", "wallethttp: ", "walletgrpc: ", "money: ", "auth: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// printResult prints what a command has done: v for programs, a line for people.
func printResult(w io.Writer, asJSON bool, v any, line string) error {
	if asJSON {
		return printJSON(w, v)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// printJSON writes v as one line of JSON.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table is rows of cells, printed in aligned columns.
type table struct {
	head  []string
	right []bool // columns of numbers stand at the right
	rows  [][]string
}

// newTable returns a table with the given columns; a name that begins with ">"
// is a column of numbers.
func newTable(columns ...string) *table {
	t := &table{}
	for _, c := range columns {
		name, right := strings.CutPrefix(c, ">")
		t.head = append(t.head, strings.ToUpper(name))
		t.right = append(t.right, right)
	}
	return t
}

// add appends a row.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table: a header in capitals and then the rows.
func (t *table) print(w io.Writer) error {
	width := make([]int, len(t.head))
	lines := append([][]string{t.head}, t.rows...)
	for _, cells := range lines {
		for i, c := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var out strings.Builder
	for _, cells := range lines {
		var line strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if t.right[i] {
				line.WriteString(pad + c + "  ")
			} else {
				line.WriteString(c + pad + "  ")
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// printPairs writes names and values, one pair a line, the values aligned.
func printPairs(w io.Writer, pairs ...[2]string) error {
	width := 0
	for _, p := range pairs {
		width = max(width, utf8.RuneCountInString(p[0]))
	}
	var out strings.Builder
	for _, p := range pairs {
		out.WriteString(p[0] + strings.Repeat(" ", width-utf8.RuneCountInString(p[0])+2) + p[1] + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// count returns n with a comma between groups of three digits.
func count[T int | int64 | uint64](n T) string {
	s := fmt.Sprint(n)
	first := len(s) - len(strings.TrimPrefix(s, "-")) // digit
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// several returns how many there are of something: "1 entry", "3,002 entries". The words may go on with a verb.
func several[T int | int64 | uint64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// quoted returns s in quotes, cut to what fits a message.
func quoted(s string) string {
	const most = 40
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

// printable returns a text that somebody else wrote for a terminal: quoted if it has what is no letter, mark or space
// and so might steer it.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
