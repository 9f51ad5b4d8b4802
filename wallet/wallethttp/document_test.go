package wallethttp_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"maru.example/wallet/wallethttp"
)

// openAPI is a served document, read as a client would.
type openAPI struct {
	OpenAPI    string
	Paths      map[string]map[string]operationDoc
	Components struct{ Schemas map[string]*schemaDoc }
}

type operationDoc struct {
	OperationID string
	Parameters  []struct {
		Name, In string
		Required bool
		Schema   *schemaDoc
	}
	RequestBody *struct {
		Required bool
		Content  map[string]struct {
			Schema  *schemaDoc
			Example any
		}
	}
	Responses map[string]struct {
		Content map[string]struct{ Schema *schemaDoc }
		Headers map[string]struct{ Schema *schemaDoc }
	}
}

// schemaDoc is the part of JSON Schema that the document uses.
type schemaDoc struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Title, Description   string
	Format               string
	Examples             []any
	Pattern              string
	Enum                 []any
	Properties           map[string]*schemaDoc
	Required             []string
	AdditionalProperties *bool
	Items                *schemaDoc
	MinItems, MaxItems   *int
	Minimum, Maximum     *float64
	AllOf                []*schemaDoc
	Not                  *schemaDoc
}

// readDocument reads the served document. Schemas with words that schemaDoc does
// not have are refused: they would not be checked.
func readDocument(t testing.TB, h http.Handler) *openAPI {
	t.Helper()
	got := ask(t, h, "GET", "/openapi.json", "")
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/openapi+json" {
		t.Fatalf("got %d %v", got.status, got.header)
	}
	var doc openAPI
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
		t.Fatal(err)
	}
	var schemas struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(got.body), &schemas); err != nil {
		t.Fatal(err)
	}
	for name, text := range schemas.Components.Schemas {
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.DisallowUnknownFields()
		if err := d.Decode(&schemaDoc{}); err != nil {
			t.Fatalf("schema %s: %v", name, err)
		}
	}
	return &doc
}

// check returns what is wrong with a value, or nothing.
func (d *openAPI) check(s *schemaDoc, at string, v any) (errs []string) {
	fail := func(format string, args ...any) { errs = append(errs, at+": "+fmt.Sprintf(format, args...)) }
	if s.Ref != "" {
		target, ok := d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if !ok {
			return []string{at + ": no schema " + s.Ref}
		}
		return d.check(target, at, v)
	}
	for _, part := range s.AllOf {
		errs = append(errs, d.check(part, at, v)...)
	}
	if s.Not != nil && slices.Contains(s.Not.Enum, v) {
		fail("%v is one of %v", v, s.Not.Enum)
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		fail("%v is not one of %v", v, s.Enum)
	}
	switch v := v.(type) {
	case map[string]any:
		return append(errs, d.checkObject(s, at, v)...)
	case []any:
		if s.Type != "array" || s.MinItems != nil && len(v) < *s.MinItems || s.MaxItems != nil && len(v) > *s.MaxItems {
			fail("array of %d is not of type %s or of the right length", len(v), s.Type)
			return errs
		}
		for i, item := range v {
			errs = append(errs, d.check(s.Items, fmt.Sprintf("%s/%d", at, i), item)...)
		}
	case string:
		if s.Type != "string" || s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			fail("%q is not a %s with the pattern %s", v, s.Type, s.Pattern)
		}
	case float64:
		if s.Type != "integer" || v != float64(int64(v)) || s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			fail("%v is not of type %s or out of range", v, s.Type)
		}
	case bool:
		if s.Type != "boolean" {
			fail("boolean is not of type %s", s.Type)
		}
	default:
		fail("%v is not of type %s", v, s.Type)
	}
	return errs
}

func (d *openAPI) checkObject(s *schemaDoc, at string, v map[string]any) (errs []string) {
	if s.Type != "object" && len(s.AllOf) == 0 {
		errs = append(errs, at+": object is not of type "+s.Type)
	}
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			errs = append(errs, at+"/"+name+": is missing")
		}
	}
	for name, member := range v {
		switch p, ok := s.Properties[name]; {
		case ok:
			errs = append(errs, d.check(p, at+"/"+name, member)...)
		case s.AdditionalProperties != nil && !*s.AdditionalProperties:
			errs = append(errs, at+"/"+name+": is not documented")
		}
	}
	return errs
}

// streams says whether the operation answers with a stream of events.
func (op *operationDoc) streams() bool {
	_, ok := op.Responses["200"].Content["text/event-stream"]
	return ok
}

// checkAnswer returns what the document does not say of an answer.
func (d *openAPI) checkAnswer(op *operationDoc, got answer) []string {
	r, ok := op.Responses[fmt.Sprint(got.status)]
	if !ok {
		return []string{fmt.Sprintf("status %d is not documented: %s", got.status, got.body)}
	}
	if op.streams() && got.status == http.StatusOK && got.header.Get("Content-Type") == "text/event-stream" {
		return nil
	}
	content, ok := r.Content[got.header.Get("Content-Type")]
	if !ok {
		return []string{fmt.Sprintf("content %q of status %d is not documented", got.header.Get("Content-Type"), got.status)}
	}
	var errs []string
	for _, name := range []string{wallethttp.ReplayedHeader, "Retry-After", "Location"} {
		if _, ok := r.Headers[name]; !ok && got.header.Get(name) != "" {
			errs = append(errs, fmt.Sprintf("header %s of status %d is not documented", name, got.status))
		}
	}
	var v any
	if err := json.Unmarshal([]byte(got.body), &v); err != nil {
		return append(errs, err.Error())
	}
	return append(errs, d.check(content.Schema, "#", v)...)
}

// example returns a value of a schema, made of its examples.
func (d *openAPI) example(t testing.TB, s *schemaDoc) any {
	t.Helper()
	if s.Ref != "" {
		return d.example(t, d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")])
	}
	switch {
	case len(s.Examples) > 0:
		return s.Examples[0]
	case s.Type == "array":
		return []any{d.example(t, s.Items)}
	case s.Type == "object":
		o := make(map[string]any)
		for name, p := range s.Properties {
			o[name] = d.example(t, p)
		}
		return o
	}
	t.Fatalf("no example of %+v", s)
	return nil
}

// truthful returns h, watched: every answer to an operation must be as the
// document says, and what the document calls wrong must be refused.
func truthful(t *testing.T, h http.Handler) http.Handler {
	t.Helper()
	doc := readDocument(t, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := record(h, r)
		maps.Copy(w.Header(), seen.answer.header)
		w.WriteHeader(seen.answer.status)
		if _, err := w.Write([]byte(seen.answer.body)); err != nil {
			t.Error(err)
		}
		method, path, _ := strings.Cut(seen.pattern, " ")
		op, ok := doc.Paths[path][strings.ToLower(method)]
		if !ok {
			if strings.HasPrefix(path, "/v1/") {
				t.Errorf("%s is not documented", seen.pattern)
			}
			return
		}
		for _, err := range doc.checkAnswer(&op, seen.answer) {
			t.Errorf("%s %s: %s", r.Method, r.URL, err)
		}
		var body any
		if op.RequestBody == nil || json.Unmarshal([]byte(seen.body), &body) != nil {
			return
		}
		if errs := doc.check(op.RequestBody.Content["application/json"].Schema, "#", body); len(errs) > 0 && seen.answer.status < 400 {
			t.Errorf("%s %s: taken, and by the document it is wrong: %s\n%.500s", r.Method, r.URL, errs, seen.body)
		}
	})
}
