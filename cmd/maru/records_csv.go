package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// csvReader reads records from comma-separated values (RFC 4180), with two
// differences to what the standard library reads: a record is one line, so that
// a quote that is never closed costs one record and not the rest of the file;
// and lines and memory are bounded.
type csvReader struct {
	lines   *lineReader
	columns []field
	fields  []string
}

// newCSVReader reads the header, which says what the file holds.
func newCSVReader(l *lineReader) (*csvReader, error) {
	header, err := l.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: not even a header line")
	}
	if err != nil {
		return nil, err
	}
	c := &csvReader{lines: l}
	if c.fields, err = splitCSV(nil, header); err != nil {
		return nil, l.malformed(err)
	}
	c.columns, err = parseHeader(c.fields)
	if err != nil {
		return nil, l.malformed(err)
	}
	return c, nil
}

// parseHeader returns the field of each column. The columns may stand in any
// order; optionalFields may be absent.
func parseHeader(names []string) ([]field, error) {
	var columns []field
	var given fieldSet
	for _, name := range names {
		f := fieldOf(name)
		if f == fieldCount {
			return nil, fmt.Errorf("the header has an unknown column %s", quoted(name))
		}
		if given.has(f) {
			return nil, fmt.Errorf("the header has the column %s twice", name)
		}
		given |= 1 << f
		columns = append(columns, f)
	}
	need := transferFields
	if given.within(accountFields) {
		need = accountFields
	}
	if !given.within(need) {
		return nil, errors.New("the header has columns of accounts and of transfers")
	}
	for f := range fieldCount {
		if !optionalFields.has(f) && need.has(f) && !given.has(f) {
			return nil, fmt.Errorf("the header lacks the column %s", fieldNames[f])
		}
	}
	return columns, nil
}

// read implements recordReader.
func (c *csvReader) read(r *record) error {
	line, err := c.lines.next()
	if err != nil {
		return err
	}
	r.line = c.lines.number
	if c.fields, err = splitCSV(c.fields[:0], line); err != nil {
		return c.lines.malformed(err)
	}
	if len(c.fields) != len(c.columns) {
		return c.lines.malformed(fmt.Errorf("%d fields, but the header has %d", len(c.fields), len(c.columns)))
	}
	var v values
	for i, f := range c.columns {
		v.text[f] = c.fields[i]
		v.given |= 1 << f
	}
	if err := v.record(r); err != nil {
		return c.lines.malformed(err)
	}
	return nil
}

// splitCSV appends the fields of a line to dst.
func splitCSV(dst []string, line string) ([]string, error) {
	if strings.IndexByte(line, '"') < 0 { // as most lines are
		for {
			comma := strings.IndexByte(line, ',')
			if comma < 0 {
				return append(dst, line), nil
			}
			dst = append(dst, line[:comma])
			line = line[comma+1:]
		}
	}
	for {
		if strings.HasPrefix(line, `"`) {
			value, rest, err := cutQuoted(line)
			if err != nil {
				return dst, err
			}
			dst = append(dst, value)
			if rest == "" {
				return dst, nil
			}
			if rest[0] != ',' {
				return dst, errors.New("text behind a closing quote")
			}
			line = rest[1:]
			continue
		}
		value, rest, more := strings.Cut(line, ",")
		if strings.Contains(value, `"`) {
			return dst, errors.New("a quote inside a field that does not begin with one")
		}
		dst = append(dst, value)
		if !more {
			return dst, nil
		}
		line = rest
	}
}

// cutQuoted returns the value of the quoted field at the beginning of line, and
// what follows its closing quote. Two quotes inside stand for one.
func cutQuoted(line string) (value, rest string, err error) {
	for i := 1; i < len(line); i++ {
		if line[i] != '"' {
			continue
		}
		if i+1 < len(line) && line[i+1] == '"' {
			i++
			continue
		}
		return strings.ReplaceAll(line[1:i], `""`, `"`), line[i+1:], nil
	}
	return "", "", errors.New("a quote is not closed on its line")
}
