package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"maru.example/wallet"
)

// ndjsonReader reads records from lines that hold one JSON object each.
type ndjsonReader struct{ lines *lineReader }

// read implements recordReader.
func (n *ndjsonReader) read(r *record) error {
	line, err := n.lines.next()
	if err != nil {
		return err
	}
	r.line = n.lines.number
	var v values
	if err := v.scanObject(line); err != nil {
		return n.lines.malformed(err)
	}
	if err := v.record(r); err != nil {
		return n.lines.malformed(err)
	}
	return nil
}

// scanObject reads a JSON object (RFC 8259) whose names are fields and whose
// values are strings; that of metadata is an object. It is stricter than encoding/json, which takes names that
// differ in case and names that stand twice, and takes a third of the time.
func (v *values) scanObject(s string) error {
	rest, ok := skip(s, '{')
	if !ok {
		return errors.New("not a JSON object")
	}
	if rest, ok = skip(rest, '}'); ok {
		return atEnd(rest)
	}
	for {
		name, after, err := scanString(rest)
		if err != nil {
			return err
		}
		f := fieldOf(name)
		switch {
		case f == fieldCount:
			return fmt.Errorf("unknown field %s", quoted(name))
		case v.given.has(f):
			return fmt.Errorf("the field %s stands twice", name)
		}
		if rest, ok = skip(after, ':'); !ok {
			return fmt.Errorf("no colon behind the name %s", name)
		}
		if f == fieldMetadata {
			v.text[f], rest, err = cutObject(rest)
		} else {
			v.text[f], rest, err = scanString(rest)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		v.given |= 1 << f
		if rest, ok = skip(rest, ','); ok {
			continue
		}
		if rest, ok = skip(rest, '}'); ok {
			return atEnd(rest)
		}
		return fmt.Errorf("neither a comma nor the end of the object behind %s", name)
	}
}

// cutObject returns the text of an object of strings at the beginning of s, and what
// follows it.
func cutObject(s string) (object, rest string, err error) {
	after, ok := skip(s, '{')
	if !ok {
		return "", "", errors.New("not a JSON object")
	}
	for {
		if end, ok := skip(after, '}'); ok {
			return s[:len(s)-len(end)], end, nil
		}
		if after == "" {
			return "", "", errors.New("neither a comma nor the end of the object")
		}
		if after[0] == ',' || after[0] == ':' {
			after = after[1:]
			continue
		}
		if _, after, err = scanString(after); err != nil {
			return "", "", err
		}
	}
}

// scanMetadata reads a JSON object of strings, each name once.
func scanMetadata(s string) (wallet.Metadata, error) {
	rest, ok := skip(s, '{')
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	data := wallet.Metadata{}
	if rest, ok = skip(rest, '}'); ok {
		return data, atEnd(rest)
	}
	for {
		name, after, err := scanString(rest)
		if err != nil {
			return nil, err
		}
		if _, twice := data[name]; twice {
			return nil, fmt.Errorf("the key %s stands twice", quoted(name))
		}
		if rest, ok = skip(after, ':'); !ok {
			return nil, fmt.Errorf("no colon behind the key %s", quoted(name))
		}
		if data[name], rest, err = scanString(rest); err != nil {
			return nil, err
		}
		if rest, ok = skip(rest, ','); ok {
			continue
		}
		if rest, ok = skip(rest, '}'); ok {
			return data, atEnd(rest)
		}
		return nil, errors.New("neither a comma nor the end of the object")
	}
}

// skip returns s without leading space and the byte c, and whether c was there.
func skip(s string, c byte) (rest string, ok bool) {
	s = strings.TrimLeft(s, jsonSpace)
	if s == "" || s[0] != c {
		return s, false
	}
	return s[1:], true
}

const jsonSpace = " \t\r\n"

func atEnd(rest string) error {
	if strings.TrimLeft(rest, jsonSpace) != "" {
		return errors.New("text behind the object")
	}
	return nil
}

// scanString reads a JSON string.
func scanString(s string) (value, rest string, err error) {
	inner, ok := skip(s, '"')
	if !ok {
		return "", "", errors.New("a string in quotes is needed")
	}
	escaped := false
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return "", "", errors.New("a control character in a string")
		case c != '"':
		case escaped:
			var unescaped string // not value, which would be allocated in all cases
			if err := json.Unmarshal([]byte(`"`+inner[:i+1]), &unescaped); err != nil {
				return "", "", errors.New("a string with an invalid escape")
			}
			return unescaped, inner[i+1:], nil
		default:
			return inner[:i], inner[i+1:], nil
		}
	}
	return "", "", errors.New("a string is not closed on its line")
}
