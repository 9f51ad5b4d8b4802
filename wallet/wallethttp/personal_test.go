package wallethttp_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
	"maru.example/wallet/wallettest"
)

// What scripted says of personal data.
var aPerson = wallet.PersonalData{Text: "Alice", Metadata: map[string]string{"mail": "alice@example.com"}}

func (s scripted) Personal(context.Context, wallet.PersonalOwner, wallet.PersonalItem) (wallet.PersonalData, uint64, error) {
	return aPerson, 7, s.err
}

func (s scripted) PutPersonal(_ context.Context, _ wallet.PersonalOwner, _ wallet.PersonalItem, _ wallet.PersonalData, _ uint64) (uint64, wallet.Code, error) {
	return 7, s.code, s.err
}

func (s scripted) PatchPersonal(context.Context, wallet.PersonalOwner, wallet.PersonalItem, wallet.PersonalChange, uint64) (wallet.PersonalData, uint64, wallet.Code, error) {
	return aPerson, 7, s.code, s.err
}

func (s scripted) DeletePersonal(context.Context, wallet.PersonalOwner, wallet.PersonalItem, uint64) error {
	return s.err
}

func (s scripted) ErasePersonal(context.Context, wallet.PersonalOwner, string) (wallet.Erasure, wallet.Code, error) {
	return wallet.Erasure{At: 1e18, By: "4f1c8a03b7d29e56"}, s.code, s.err
}

// personalCauses returns what leads to the codes of problems with personal data.
func personalCauses() map[string]cause {
	all := map[string]cause{}
	for code, err := range map[string]error{
		"personal_not_found": wallet.ErrPersonalNotFound, "personal_changed": wallet.ErrPersonalChanged,
		"personal_damaged": fmt.Errorf("%w: secret", wallet.ErrPersonalDamaged), "erased": wallet.ErrErased,
		"store_unavailable": fmt.Errorf("%w: secret", wallet.ErrStoreUnavailable), "store_not_shared": wallet.ErrStoreNotShared,
	} {
		all[code] = cause{wallet: &scripted{err: err}}
	}
	return all
}

// newPersonal returns the API of a funded wallet with personal data in memory.
func newPersonal(t *testing.T, o wallethttp.Options) http.Handler {
	t.Helper()
	s := newFunded(t)
	p, err := wallet.NewPersonal(t.Context(), new(wallettest.PersonalMemory), s, wallet.MasterKey{1},
		wallet.PersonalOptions{Now: func() time.Time { return time.Unix(1e9, 0) }, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	o.Personal = p
	return truthful(t, wallethttp.NewHandler(s, &o))
}

const (
	profilePath = "/v1/wallet/accounts/a/profile"
	erasurePath = "/v1/wallet/accounts/a/erasure"
)

func notePath(n string) string {
	return "/v1/wallet/accounts/a/transfers/" + n + "/note"
}

func TestProfile(t *testing.T) {
	h := newPersonal(t, wallethttp.Options{})
	funding := wallet.TransactionID{0: 0xff}.String()
	for _, e := range []struct {
		name, method, path, body, match string
		status                          int
		want                            string // in the answer
		etag                            string
	}{
		{"nothing yet", "GET", profilePath, "", "", 404, `"code":"personal_not_found"`, ""},
		{"of nobody", "PUT", "/v1/wallet/accounts/nobody/profile", `{}`, "", 404, `"code":"unknown_account"`, ""},
		{"must be there", "PUT", profilePath, `{"name":"Alice"}`, "*", 412, `"code":"personal_changed"`, ""},
		{"written", "PUT", profilePath, `{"name":"Alice \"A\" 阿","metadata":{"mail":"a@example.com","note":""}}`, "", 200, `{"name":"Alice \"A\" 阿","metadata":{"mail":"a@example.com","note":""}}`, `"1"`},
		{"read", "GET", profilePath, "", "", 200, `{"name":"Alice \"A\" 阿","metadata":{"mail":"a@example.com","note":""}}`, `"1"`},
		{"changed", "PATCH", profilePath, `{"metadata":{"mail":null,"phone":"1"}}`, `"1"`, 200, `{"name":"Alice \"A\" 阿","metadata":{"note":"","phone":"1"}}`, `"2"`},
		{"changed meanwhile", "PATCH", profilePath, `{"name":"Bob"}`, `"1"`, 412, `"code":"personal_changed"`, ""},
		{"no name", "PATCH", profilePath, `{"name":""}`, "*", 200, `{"metadata":{"note":"","phone":"1"}}`, `"3"`},
		{"a note", "PUT", notePath(funding), `{"text":"for the bike"}`, "", 200, `{"text":"for the bike"}`, `"4"`},
		{"the note", "GET", notePath(funding), "", "", 200, `{"text":"for the bike"}`, `"4"`},
		{"a note on nothing", "PUT", notePath(id("9")), `{}`, "", 404, `"code":"transaction_not_found"`, ""},
		{"no note there", "GET", notePath(id("9")), "", "", 404, `"code":"personal_not_found"`, ""},
		{"a note removed", "DELETE", notePath(funding), "", `"4"`, 200, `{"status":"success"}`, ""},
		{"removed", "DELETE", profilePath, "", "", 200, `{"status":"success"}`, ""},
		{"removed again", "DELETE", profilePath, "", "", 200, `{"status":"success"}`, ""},
		{"read after", "GET", profilePath, "", "", 404, `"code":"personal_not_found"`, ""},
		{"written again", "PUT", profilePath, `{"name":"Alice"}`, "", 200, `{"name":"Alice"}`, `"5"`},
		{"erased", "POST", erasurePath, "", "", 200, `{"account":"a","erased_at":"2001-09-09T01:46:40Z"}`, ""},
		{"erased again", "POST", erasurePath, "", "", 200, `{"account":"a","erased_at":"2001-09-09T01:46:40Z"}`, ""},
		{"of nobody erased", "POST", "/v1/wallet/accounts/nobody/erasure", "", "", 404, `"code":"unknown_account"`, ""},
		{"read when erased", "GET", profilePath, "", "", 410, `"code":"erased"`, ""},
		{"note when erased", "GET", notePath(funding), "", "", 410, `"code":"erased"`, ""},
		{"written when erased", "PUT", profilePath, `{"name":"Alice"}`, "", 410, `"code":"erased"`, ""},
		{"changed when erased", "PATCH", profilePath, `{"name":"Alice"}`, "", 410, `"code":"erased"`, ""},
		{"removed when erased", "DELETE", profilePath, "", "", 410, `"code":"erased"`, ""},
	} {
		var headers []string
		if e.match != "" {
			headers = []string{"If-Match", e.match}
		}
		got := ask(t, h, e.method, e.path, e.body, headers...)
		if got.status != e.status || !strings.Contains(got.body, e.want) || got.header.Get("ETag") != e.etag {
			t.Errorf("%s: got %d %s, %s, want %d %s, %s", e.name, got.status, got.body, got.header.Get("ETag"), e.status, e.want, e.etag)
		}
		if e.status == 200 && got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control is %q", e.name, got.header.Get("Cache-Control"))
		}
	}
}

func TestMalformedPersonal(t *testing.T) {
	h := newPersonal(t, wallethttp.Options{})
	long := strings.Repeat("a", 1025)
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf(`"%d":""`, i))
	}
	const form = "personal data has up to 64 keys"
	for _, e := range []refused{
		{name: "no object", body: `[]`, places: map[string]string{"#": "must be an object"}},
		{name: "unknown member", body: `{"nam":"Alice"}`, places: map[string]string{"#/nam": "is not known here"}},
		{name: "name is a number", body: `{"name":1}`, places: map[string]string{"#/name": "must be a string"}},
		{name: "name is empty", body: `{"name":""}`, places: map[string]string{"#/name": "leave it out"}},
		{name: "name is too long", body: `{"name":"` + long + `"}`, places: map[string]string{"#": form}},
		{name: "a value that is too long", body: `{"metadata":{"k":"` + long + `"}}`, places: map[string]string{"#": form}},
		{name: "too many keys", body: `{"metadata":{` + strings.Join(many, ",") + `}}`, places: map[string]string{"#": form}},
		{name: "an empty key", body: `{"metadata":{"":"v"}}`, places: map[string]string{"#": form}},
		{name: "a key twice", body: `{"metadata":{"k":"v","k":"v"}}`, places: map[string]string{"#/metadata/k": "is there twice"}},
		{name: "a value that is null", body: `{"metadata":{"k":null}}`, places: map[string]string{"#/metadata/k": "must be a string, not null"}},
		{name: "metadata is a list", body: `{"metadata":[]}`, places: map[string]string{"#/metadata": "must be an object"}},
		{name: "a change of too much", method: "PATCH", body: `{"metadata":{"k":"` + long + `"}}`, places: map[string]string{"#": form}},
		{name: "a change to a number", method: "PATCH", body: `{"name":1,"metadata":{"k":2}}`, places: map[string]string{"#/name": "must be a string", "#/metadata/k": "must be a string"}},
		{name: "a note on no id", path: notePath("7"), body: `{}`, places: map[string]string{"transaction_id": "is a UUID"}},
		{name: "a note that is too long", path: notePath(id("1")), body: `{"text":"` + strings.Repeat(long, 4) + `"}`, places: map[string]string{"#": form}},
	} {
		t.Run(e.name, func(t *testing.T) {
			if e.status, e.code = 422, "invalid_request"; e.method == "" {
				e.method = "PUT"
			}
			if e.path == "" {
				e.path = profilePath
			}
			e.run(t, h)
		})
	}
	for _, match := range []string{"1", `"0"`, `"01"`, `W/"1"`, `"1", "2"`, `"`, `""`, `"9223372036854775807"`, "", `"x"`} {
		if got := ask(t, h, "PUT", profilePath, `{}`, "If-Match", match); got.status != 422 || !strings.Contains(got.body, `"parameter":"If-Match"`) {
			t.Errorf("If-Match %q: got %d %s", match, got.status, got.body)
		}
	}
	if got := ask(t, h, "PUT", profilePath, `{"name":"`+strings.Repeat(" ", 128<<10)+`"}`); got.status != 413 {
		t.Errorf("a body that is too large: got %d %.100s", got.status, got.body)
	}
}

// TestPersonalScopes compares what each operation asks for.
func TestPersonalScopes(t *testing.T) {
	var asked wallethttp.Scope
	key := "Bearer maru_4f1c8a03b7d29e56_" + strings.Repeat("00", 32)
	h := newPersonal(t, wallethttp.Options{Authorize: func(_ context.Context, _, _ string, need wallethttp.Scope) (wallet.Tenant, error) {
		asked = need
		return wallet.DefaultTenant, nil
	}})
	for _, e := range []struct {
		method, path, body string
		want               wallethttp.Scope
	}{
		{"GET", profilePath, "", wallethttp.PersonalScope},
		{"PUT", profilePath, "{}", wallethttp.PersonalScope},
		{"PATCH", profilePath, "{}", wallethttp.PersonalScope},
		{"DELETE", profilePath, "", wallethttp.PersonalScope},
		{"GET", notePath(id("1")), "", wallethttp.PersonalScope},
		{"PUT", notePath(id("1")), "{}", wallethttp.PersonalScope},
		{"DELETE", notePath(id("1")), "", wallethttp.PersonalScope},
		{"POST", erasurePath, "", wallethttp.EraseScope},
	} {
		got := ask(t, h, e.method, e.path, e.body, "Authorization", key)
		if asked != e.want {
			t.Errorf("%s %s needs %s, want %s", e.method, e.path, asked, e.want)
		}
		if e.path == erasurePath && !strings.Contains(got.body, `"erased_by":"4f1c8a03b7d29e56"`) {
			t.Errorf("erased: got %d %s", got.status, got.body)
		}
	}
}

// TestErasedByNobody asks a server without keys, which believes no header.
func TestErasedByNobody(t *testing.T) {
	h := newPersonal(t, wallethttp.Options{})
	got := ask(t, h, "POST", erasurePath, "", "Authorization", "Bearer maru_4f1c8a03b7d29e56_"+strings.Repeat("00", 32))
	if got.status != 200 || strings.Contains(got.body, "erased_by") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestNoPersonal(t *testing.T) {
	h := truthful(t, wallethttp.NewHandler(newFunded(t), nil))
	for _, e := range [][3]string{{"GET", profilePath, ""}, {"PUT", profilePath, "{}"}, {"PATCH", profilePath, "{}"}, {"DELETE", profilePath, ""}, {"POST", erasurePath, ""}} {
		got := ask(t, h, e[0], e[1], e[2])
		if got.status != 503 || !strings.Contains(got.body, `"code":"store_unavailable"`) || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s %s: got %d %s", e[0], e[1], got.status, got.body)
		}
	}
}

func TestPersonalClient(t *testing.T) {
	server := httptest.NewServer(newPersonal(t, wallethttp.Options{}))
	defer server.Close()
	c, err := wallethttp.NewClient(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	change := wallet.PersonalChange{Text: new("Alice"), Metadata: map[string]*string{"mail": new("a@example.com"), "gone": nil}}
	if d, code, err := c.PatchProfile(t.Context(), "a", change); err != nil || code != wallet.Applied || d.Text != "Alice" || d.Metadata["mail"] != "a@example.com" {
		t.Errorf("got %+v, %v, %v", d, code, err)
	}
	if d, err := c.Profile(t.Context(), "a"); err != nil || d.Text != "Alice" {
		t.Errorf("got %+v, %v", d, err)
	}
	if e, code, err := c.ErasePersonal(t.Context(), "a"); err != nil || code != wallet.Applied || e != (wallet.Erasure{At: 1e18}) {
		t.Errorf("got %+v, %v, %v", e, code, err)
	}
	_, err = c.Profile(t.Context(), "a")
	if p, ok := errors.AsType[*wallethttp.Problem](err); !ok || p.Code != "erased" {
		t.Errorf("got %v, want erased", err)
	}
	if _, code, err := c.PatchProfile(t.Context(), "nobody", change); code != wallet.UnknownAccount || err != nil {
		t.Errorf("got %v, %v", code, err)
	}
}
