package clusterhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"

	"maru.example/internal/httpd"
)

// member is a member of a request's body. One of number and text is set.
type member struct {
	name     string
	number   *uint64
	text     *string
	optional bool
}

// readBody reads a body, which is one object with these members.
func readBody(r *http.Request, members []member) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return httpd.NewProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "send the body with the header Content-Type: application/json")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBodyBytes+1))
	switch {
	case len(body) > MaxBodyBytes:
		return httpd.NewProblem(http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("the body has more than %d bytes; nothing was done", MaxBodyBytes))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return httpd.NewProblem(http.StatusRequestTimeout, "body_timeout", "the body took too long to arrive; nothing was done")
	case err != nil:
		return httpd.NewProblem(http.StatusBadRequest, "body_incomplete", "the body ended too early; nothing was done")
	case !json.Valid(body):
		return httpd.NewProblem(http.StatusBadRequest, "malformed_json", "the body is not JSON (RFC 8259); nothing was done")
	}
	return decodeObject(body, members)
}

// decodeObject reads an object, which is well-formed, strictly.
func decodeObject(body []byte, members []member) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return invalid("the body must be an object")
	}
	var seen []string
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return invalid("the body must be an object")
		}
		name := fmt.Sprint(key)
		i := slices.IndexFunc(members, func(m member) bool { return m.name == name })
		if i < 0 {
			return invalid(fmt.Sprintf("the member %.64q is not known", name))
		}
		if slices.Contains(seen, name) {
			return invalid("the member " + name + " is there twice")
		}
		seen = append(seen, name)
		value, err := d.Token()
		if err != nil || !members[i].set(value) {
			return invalid("the member " + name + " must be " + members[i].kind())
		}
	}
	for _, m := range members {
		if !m.optional && !slices.Contains(seen, m.name) {
			return invalid("the member " + m.name + " is missing")
		}
	}
	return nil
}

// set takes a value, if it is of the right kind.
func (m *member) set(value json.Token) bool {
	if m.text != nil {
		text, ok := value.(string)
		*m.text = text
		return ok
	}
	digits, ok := value.(json.Number)
	n, err := strconv.ParseUint(digits.String(), 10, 64)
	*m.number = n
	return ok && err == nil && n > 0
}

func (m *member) kind() string {
	if m.text != nil {
		return "a string"
	}
	return "a whole number of 1 or more"
}
