package wallethttp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"html/template"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// The docs page is one file without scripts: it needs no other host, and shows
// what the document says.
var docsPage = template.Must(template.New("docs").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h2 { font-size: 1rem; margin: 2.5rem 0 .5rem; border-top: 1px solid #ccc; padding-top: 1rem }
code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #f4f4f4; padding: .75rem; overflow-x: auto }
table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111 } pre { background: #222 } a { color: #8bf } }
</style>
<h1>{{.Title}} {{.Version}}</h1>
<p>{{.Description}} The same for programs: <a href="/openapi.json">openapi.json</a>, <a href="/openapi.yaml">openapi.yaml</a>.</p>
{{range .Operations}}
<h2 id="{{.ID}}"><code>{{.Method}} {{.Path}}</code></h2>
<p><b>{{.Summary}}.</b> {{.Description}}</p>
{{with .Request}}<p>Body</p><pre>{{.}}</pre>{{end}}
{{with .Answer}}<p>Answer</p><pre>{{.}}</pre>{{end}}
<details><summary>Answers by status</summary><table>{{range .Responses}}<tr><td>{{.Status}}</td><td>{{.Description}}</td></tr>{{end}}</table></details>
{{end}}
</html>
`))

type pageOperation struct {
	ID, Method, Path, Summary, Description, Request, Answer string
	Responses                                               []pageResponse
}

type pageResponse struct{ Status, Description string }

// page writes the docs page.
func page(api *huma.OpenAPI, beside []*huma.Operation) []byte {
	var ops []pageOperation
	for _, op := range operations() {
		o := op.describe(api.Components.Schemas)
		p := pageOperation{ID: op.id, Method: op.method, Path: op.path, Summary: op.summary, Description: o.Description}
		if op.request != nil {
			p.Request = example(api, o.RequestBody.Content["application/json"].Schema)
		}
		if op.stream != nil {
			p.Answer = eventExample
		} else {
			p.Answer = example(api, o.Responses[strconv.Itoa(op.status)].Content["application/json"].Schema)
		}
		p.respond(o)
		ops = append(ops, p)
	}
	for _, o := range beside {
		p := pageOperation{ID: o.OperationID, Method: o.Method, Path: o.Path, Summary: o.Summary, Description: o.Description}
		p.respond(o)
		ops = append(ops, p)
	}
	var out bytes.Buffer
	err := docsPage.Execute(&out, map[string]any{
		"Title": api.Info.Title, "Version": api.Info.Version, "Description": api.Info.Description, "Operations": ops,
	})
	if err != nil {
		panic(err) // it depends on nothing but the program
	}
	return out.Bytes()
}

// respond adds the answers of an operation.
func (p *pageOperation) respond(o *huma.Operation) {
	for status, r := range o.Responses {
		p.Responses = append(p.Responses, pageResponse{status, r.Description})
	}
	slices.SortFunc(p.Responses, func(a, b pageResponse) int { return cmp.Compare(a.Status, b.Status) })
}

// example returns a value of a schema as indented JSON.
func example(api *huma.OpenAPI, s *huma.Schema) string {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(exampleValue(api, s)); err != nil {
		panic(err) // it depends on nothing but the program
	}
	return text.String()
}

func exampleValue(api *huma.OpenAPI, s *huma.Schema) any {
	if s.Ref != "" {
		s = api.Components.Schemas.SchemaFromRef(s.Ref)
	}
	switch {
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	switch s.Type {
	case huma.TypeArray:
		return []any{exampleValue(api, s.Items)}
	case huma.TypeObject:
		o := make(map[string]any, len(s.Properties))
		for name, p := range s.Properties {
			o[name] = exampleValue(api, p)
		}
		return o
	case huma.TypeInteger:
		return 1
	case huma.TypeBoolean:
		return true
	}
	return "…"
}
