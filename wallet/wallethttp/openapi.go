package wallethttp

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/internal/httpd"
	"maru.example/money"
	"maru.example/wallet"
)

// The strings of the API have types for their schemas.
type (
	accountID     string
	tenantName    string
	transactionID string
	currency      string
	assetName     string
	amount        string
	limit         string
	sum           string
	protocol      string
	moment        string
	dailyAmount   string
	dailyCount    string
	flag          bool
)

func stringSchema(pattern, description, example string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: pattern, Description: description, Examples: []any{example}}
}

const amountPattern = `-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,15})?`

// Schema describes an account's id.
func (accountID) Schema(huma.Registry) *huma.Schema {
	return nameSchema("An account's id: letters, digits and ._:-@, and neither . nor ..", "customer:42")
}

// Schema describes a tenant's name.
func (tenantName) Schema(huma.Registry) *huma.Schema {
	return nameSchema("A tenant's name: letters, digits and ._:-@, and neither . nor ..", "default")
}

func nameSchema(description, example string) *huma.Schema {
	s := stringSchema(`^[A-Za-z0-9._:@-]{1,64}$`, description, example)
	s.Not = &huma.Schema{Enum: []any{".", ".."}}
	return s
}

// Schema describes a transfer's id.
func (transactionID) Schema(huma.Registry) *huma.Schema {
	s := stringSchema(`^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$`,
		"A UUID (RFC 9562), not all zeros.", "01900000-0000-7000-8000-000000000001")
	s.Format = "uuid"
	return s
}

// Schema describes what names a currency or an asset. It is in the document once, as are the codes.
func (currency) Schema(schemas huma.Registry) *huma.Schema {
	const name = "Currency"
	var codes []string
	for _, c := range money.Currencies() {
		codes = append(codes, c.String())
	}
	s := stringSchema(`^[A-Za-z0-9._:@-]{1,32}$`, "The alphabetic code of ISO 4217 or the name of an asset of the tenant's own. "+
		"The codes: "+strings.Join(codes, ", ")+".", "USD")
	schemas.Map()[name] = s
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// Schema describes an asset's name.
func (assetName) Schema(huma.Registry) *huma.Schema {
	return stringSchema(`^[A-Za-z0-9._:@-]{1,32}$`, "An asset's name: letters, digits and ._:-@; no code of ISO 4217, and not beginning with asset-.", "VACHR")
}

// Schema describes an amount of money.
func (amount) Schema(huma.Registry) *huma.Schema {
	return stringSchema("^"+amountPattern+"$", "A decimal amount in major units, exact.", "10.50")
}

// Schema describes a smallest balance.
func (limit) Schema(huma.Registry) *huma.Schema {
	return stringSchema("^(unlimited|"+amountPattern+")$", "The smallest balance: transfers out may not bring it lower. Or \"unlimited\".", "-100.00")
}

// Schema describes a sum of balances.
func (sum) Schema(huma.Registry) *huma.Schema {
	return stringSchema(`^-?[0-9]+(\.[0-9]{1,15})?$`, "A decimal amount in major units, of any size.", "0.00")
}

// Schema describes how money gets to another partition.
func (protocol) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Enum: []any{wallet.TCC.String(), wallet.Saga.String(), wallet.TwoPhase.String()},
		Description: "Try, confirm or cancel; a saga; or two-phase commit.", Examples: []any{wallet.Saga.String()},
	}
}

// Schema describes a time that a client gives.
func (moment) Schema(huma.Registry) *huma.Schema {
	s := stringSchema(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$`, "A time of RFC 3339.", "2026-12-31T23:59:59.999Z")
	s.Format = "date-time"
	return s
}

// Schema describes the sum of what may leave an account on one day.
func (dailyAmount) Schema(huma.Registry) *huma.Schema {
	return stringSchema("^(unlimited|"+amountPattern+")$", "The sum that may leave the account on one day (UTC). Or \"unlimited\".", "500.00")
}

// Schema describes how many debits an account may have on one day.
func (dailyCount) Schema(huma.Registry) *huma.Schema {
	return stringSchema("^(unlimited|[1-9][0-9]{0,9})$", "How many transfers and holds may leave the account on one day (UTC). Or \"unlimited\".", "20")
}

// Schema describes a yes or no.
func (flag) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeBoolean, Examples: []any{false}}
}

// limitSchema describes how many of a list are asked for.
func limitSchema(most, usual int) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Minimum: new(1.0), Maximum: new(float64(most)), Default: usual}
}

// documents are the forms of the API's description. Each is made when it is
// asked for first, as that takes milliseconds, and depends on nothing but the
// program: that it can be made is tested.
type documents struct {
	json, yaml, html func() []byte
}

func newDocuments(version string, beside []*huma.Operation) documents {
	api := sync.OnceValue(func() *huma.OpenAPI { return describeAPI(version, beside) })
	return documents{
		json: sync.OnceValue(func() []byte { return must(json.Marshal(api())) }),
		yaml: sync.OnceValue(func() []byte { return must(api().YAML()) }),
		html: sync.OnceValue(func() []byte { return page(describeAPI(version, beside), beside) }),
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func describeAPI(version string, beside []*huma.Operation) *huma.OpenAPI {
	api := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Maru wallet", Version: version,
			Description: "Moves money between accounts, durably and exactly once. Refusals are problem details (RFC 9457) with a code.",
		},
		Components: &huma.Components{
			Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			SecuritySchemes: map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An API key. Servers on loopback may do without."}},
		},
		Security: []map[string][]string{{"key": {}}, {}},
	}
	for _, op := range operations() {
		api.AddOperation(op.describe(api.Components.Schemas))
	}
	for _, op := range beside {
		api.AddOperation(op)
	}
	return api
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// describe returns an operation in the form of the document.
func (op *operation) describe(schemas huma.Registry) *huma.Operation {
	o := &huma.Operation{
		OperationID: op.id, Method: op.method, Path: op.path, Summary: op.summary,
		Description: strings.TrimSpace(op.description + " Needs the scope " + string(op.scope) + "."),
		Responses:   op.problems(schemas),
	}
	o.Parameters = op.describeParameters(schemas)
	if op.request != nil {
		o.RequestBody = &huma.RequestBody{Required: !op.bodyless, Content: content("application/json", schemas, op.request)}
		o.RequestBody.Content["application/json"].Example = op.example
	}
	kind := "application/json"
	if op.stream != nil {
		kind = "text/event-stream"
	}
	answer := &huma.Response{Description: "Done.", Content: content(kind, schemas, op.answer)}
	o.Responses[strconv.Itoa(op.status)] = answer
	location := map[string]*huma.Param{"Location": {Schema: &huma.Schema{Type: huma.TypeString}}}
	if op.created {
		o.Responses["201"] = &huma.Response{Description: "Created.", Content: answer.Content, Headers: location}
	}
	if op.pending {
		o.Responses["202"] = &huma.Response{Description: "Under way: Location tells what was decided.", Content: answer.Content, Headers: location}
	}
	answer.Headers = map[string]*huma.Param{}
	if op.status == http.StatusCreated {
		answer.Headers = location
	}
	if op.past || op.method != http.MethodGet {
		answer.Headers[PositionHeader] = &huma.Param{
			Description: "What the answer reflects; of a write, where it was committed: partition:index, or several joined by commas.",
			Schema:      position("").Schema(schemas),
		}
	}
	if op.account {
		answer.Headers[LeaderHeader] = &huma.Param{
			Description: "Another node leads the account's partition (the paying one's), and can be asked directly: partition/partitions, the cluster's id, the tenant, " +
				"and its URL, between spaces. It is on refusals too.",
			Schema: &huma.Schema{Type: huma.TypeString},
		}
	}
	if op.found || op.matches && op.request != nil {
		answer.Headers["ETag"] = &huma.Param{Description: "The version of what is shown, for If-Match.", Schema: &huma.Schema{Type: huma.TypeString}}
	}
	if op.replays {
		replayed := &huma.Param{
			Description: "The transfer had been decided before; nothing moved this time.",
			Schema:      &huma.Schema{Type: huma.TypeString, Enum: []any{"true"}},
		}
		for _, status := range []string{"200", "404", "409", "410", "422"} { // those of decisions
			if o.Responses[status] == nil {
				continue
			}
			if o.Responses[status].Headers == nil {
				o.Responses[status].Headers = map[string]*huma.Param{}
			}
			o.Responses[status].Headers[ReplayedHeader] = replayed
		}
	}
	return o
}

// describeParameters returns an operation's parameters: of the path, headers, and of the query.
func (op *operation) describeParameters(schemas huma.Registry) (all []*huma.Param) {
	for _, match := range pathParameter.FindAllStringSubmatch(op.path, -1) {
		of := map[string]huma.SchemaProvider{
			"id": accountID(""), "transaction_id": transactionID(""), "hold_id": transactionID(""), "currency": currency(""),
			"webhook_id": webhookID(""), "message_id": messageID(""),
		}[match[1]]
		all = append(all, &huma.Param{Name: match[1], In: "path", Required: true, Schema: of.Schema(schemas)})
	}
	all = append(all, &huma.Param{
		Name: TenantHeader, In: "header", Schema: tenantName("").Schema(schemas),
		Description: "The tenant to act for: by default the key's, or the one named default. Another needs the scope " + string(AdminScope) + ".",
	})
	all = append(all, &huma.Param{
		Name: ClusterHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "The id of the cluster that the request is for, if it goes to an address that " + LeaderHeader + " named: another refuses it.",
	})
	if op.matches {
		all = append(all, &huma.Param{
			Name: "If-Match", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "The ETag of an answer: nothing is done if it was changed since; or *: if there is nothing.",
		})
	}
	for _, p := range op.parameters {
		all = append(all, &huma.Param{Name: p.name, In: "query", Required: p.name == op.needs, Description: p.description, Schema: p.schema})
	}
	return all
}

func content(kind string, schemas huma.Registry, of any) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{kind: {Schema: schemas.Schema(reflect.TypeOf(of), true, "")}}
}

// problemCodes returns the codes of an operation's problems by status.
func (op *operation) problemCodes() map[int][]string {
	codes := map[int][]string{
		http.StatusUnauthorized:        {codeUnauthenticated},
		http.StatusForbidden:           {codeForbidden},
		http.StatusMisdirectedRequest:  {"wrong_host", codeWrongCluster},
		http.StatusUnprocessableEntity: {codeInvalidRequest},
		http.StatusTooManyRequests:     {codeBusy},
		http.StatusInternalServerError: {codeInternal},
		http.StatusServiceUnavailable:  {codeLogFailed, codeClosing, codeNoLeader},
		http.StatusGatewayTimeout:      {codeDeadlineExceeded},
	}
	add := func(status int, more ...string) { codes[status] = append(codes[status], more...) }
	if op.stream != nil {
		add(http.StatusTooManyRequests, codeTooManyReaders)
	}
	if op.past {
		add(http.StatusGone, codeHistoryUnavailable)
		add(http.StatusGatewayTimeout, codeHistoryBehind)
	}
	if op.personal {
		add(http.StatusServiceUnavailable, codeStoreUnavailable)
		add(http.StatusNotImplemented, codeStoreNotShared)
	}
	if op.found {
		add(http.StatusNotFound, codePersonalNotFound)
		add(http.StatusInternalServerError, codePersonalDamaged)
	}
	if op.matches {
		add(http.StatusPreconditionFailed, codePersonalChanged)
	}
	if op.found || op.matches {
		add(http.StatusGone, codeErased)
	}
	if op.request != nil {
		add(http.StatusBadRequest, codeMalformedJSON, codeBodyIncomplete)
		add(http.StatusRequestTimeout, codeBodyTimeout)
		add(http.StatusRequestEntityTooLarge, codeBodyTooLarge)
		add(http.StatusUnsupportedMediaType, codeUnsupportedType)
	}
	if op.method != http.MethodGet {
		add(http.StatusForbidden, "cross_origin")
		add(http.StatusInsufficientStorage, codeDiskFull)
		add(http.StatusServiceUnavailable, codeOutcomeUnknown)
	}
	if op.webhooks {
		op.webhookCodes(add)
	}
	if op.absent {
		add(http.StatusNotFound, codeTransactionNotFound)
	}
	for _, c := range op.codes {
		status, _ := describe(c)
		add(status, c.String())
	}
	return codes
}

// webhookCodes adds those of operations about webhooks.
func (op *operation) webhookCodes(add func(status int, more ...string)) {
	add(http.StatusNotImplemented, codeWebhooksUnavailable)
	add(http.StatusServiceUnavailable, codeStoreUnavailable)
	if strings.Contains(op.path, "{webhook_id}") {
		add(http.StatusNotFound, codeWebhookNotFound)
	}
	if strings.Contains(op.path, "{message_id}") {
		add(http.StatusNotFound, codeDeadLetterNotFound)
	}
	if op.method != http.MethodGet {
		add(http.StatusConflict, codeWebhookConflict)
	}
	if op.status == http.StatusCreated {
		add(http.StatusConflict, codeTooManyWebhooks)
	}
}

// problems describes an operation's problems: each status, with its codes.
func (op *operation) problems(schemas huma.Registry) map[string]*huma.Response {
	responses := make(map[string]*huma.Response)
	problem := schemas.Schema(reflect.TypeFor[Problem](), true, "")
	for status, codes := range op.problemCodes() {
		enum := make([]any, len(codes))
		for i, c := range codes {
			enum[i] = c
		}
		schema := &huma.Schema{AllOf: []*huma.Schema{problem, {
			Type:       huma.TypeObject,
			Properties: map[string]*huma.Schema{"code": {Type: huma.TypeString, Enum: enum}},
			// Without this the document would say that there is nothing but the code.
			AdditionalProperties: true,
		}}}
		r := &huma.Response{
			Description: http.StatusText(status) + ": " + strings.Join(codes, ", ") + ".",
			Content:     map[string]*huma.MediaType{httpd.ProblemType: {Schema: schema}},
		}
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout && op.past {
			r.Headers = map[string]*huma.Param{"Retry-After": {Description: "Seconds.", Schema: &huma.Schema{Type: huma.TypeInteger}}}
		}
		responses[strconv.Itoa(status)] = r
	}
	return responses
}
