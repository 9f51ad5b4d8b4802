package auth_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/auth"
	"maru.example/internal/reload"
)

var moneyMover = auth.NewKey{Tenant: "acme", Scopes: []auth.Scope{"wallet:read", "wallet:write"}, Note: "checkout"}

func create(t testing.TB, name string, n auth.NewKey) (text string, k auth.Key) {
	t.Helper()
	text, k, err := auth.Create(name, n)
	if err != nil {
		t.Fatal(err)
	}
	return text, k
}

func open(t testing.TB, name string) *auth.Keys {
	t.Helper()
	keys, err := auth.Open(name, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestAuthenticate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.json")
	text, k := create(t, name, moneyMover)
	other, _ := create(t, name, moneyMover)
	keys := open(t, name)

	who, err := keys.Authenticate("Bearer " + text)
	if err != nil {
		t.Fatal(err)
	}
	want := auth.Identity{KeyID: k.ID, Tenant: "acme", Scopes: moneyMover.Scopes}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	if _, err := keys.Authenticate("bEARER  " + text); err != nil {
		t.Errorf("scheme of other case: %v", err)
	}

	flipped := []byte(text)
	if flipped[len(flipped)-1] ^= 1; flipped[len(flipped)-1] > 'f' {
		flipped[len(flipped)-1] = '0'
	}
	for name, header := range map[string]string{
		"none":                "",
		"scheme only":         "Bearer",
		"scheme and space":    "Bearer ",
		"other scheme":        "Basic " + text,
		"no scheme":           text,
		"no prefix":           "Bearer " + strings.TrimPrefix(text, "maru_"),
		"no secret":           "Bearer maru_" + k.ID,
		"empty secret":        "Bearer maru_" + k.ID + "_",
		"short secret":        "Bearer " + text[:len(text)-2],
		"long secret":         "Bearer " + text + "00",
		"wrong secret":        "Bearer " + string(flipped),
		"another's secret":    "Bearer maru_" + k.ID + other[strings.LastIndexByte(other, '_'):],
		"unknown id":          "Bearer maru_0000000000000000" + text[strings.LastIndexByte(text, '_'):],
		"hash of the file":    "Bearer maru_" + k.ID + "_" + k.Hash,
		"unknown, zeros":      "Bearer maru_x_" + strings.Repeat("0", 64),
		"not hexadecimal":     "Bearer maru_" + k.ID + "_" + strings.Repeat("z", 64),
		"a space at the end":  "Bearer " + text + " ",
		"far too long":        "Bearer " + strings.Repeat("m", 1<<20),
		"newline before":      "Bearer \n" + text,
		"two keys":            "Bearer " + text + ", Bearer " + text,
		"id with underscores": "Bearer maru_" + k.ID + "_" + text,
	} {
		t.Run(name, func(t *testing.T) {
			if who, err := keys.Authenticate(header); !errors.Is(err, auth.ErrUnauthenticated) {
				t.Errorf("got %+v, %v", who, err)
			}
		})
	}
}

func TestAuthorize(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.json")
	plain, _ := create(t, name, auth.NewKey{Tenant: "acme", Scopes: []auth.Scope{"wallet:write"}})
	admin, _ := create(t, name, auth.NewKey{Tenant: "acme", Scopes: []auth.Scope{"wallet:write", "wallet:admin"}})
	elsewhere, _ := create(t, name, auth.NewKey{Tenant: "acme", Scopes: []auth.Scope{"wallet:write", "queue:admin"}})
	keys := open(t, name)
	for _, test := range []struct {
		name, key, tenant string
		need              auth.Scope
		want              string
		err               error
	}{
		{"own tenant", plain, "", "wallet:write", "acme", nil},
		{"own tenant, named", plain, "acme", "wallet:write", "acme", nil},
		{"other tenant", plain, "globex", "wallet:write", "", auth.ErrForbidden},
		{"write does not include read", plain, "", "wallet:read", "", auth.ErrForbidden},
		{"admin for its own", admin, "", "wallet:write", "acme", nil},
		{"admin for another", admin, "globex", "wallet:write", "globex", nil},
		{"admin does not include read", admin, "globex", "wallet:read", "", auth.ErrForbidden},
		{"admin of another system", elsewhere, "globex", "wallet:write", "", auth.ErrForbidden},
		{"no key", "maru_x_y", "", "wallet:write", "", auth.ErrUnauthenticated},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := keys.Authorize("Bearer "+test.key, test.tenant, test.need)
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, test.want, test.err)
			}
		})
	}
}

func TestExpiryCreationAndRevocationWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "keys.json")
		expiring := moneyMover
		expiring.Expires = time.Now().Add(time.Minute)
		short, _ := create(t, name, expiring)
		keys := open(t, name)
		valid := func(text string) bool {
			_, err := keys.Authenticate("Bearer " + text)
			return err == nil
		}

		time.Sleep(time.Minute - time.Nanosecond)
		if !valid(short) {
			t.Error("refused before it expired")
		}
		time.Sleep(time.Nanosecond)
		if valid(short) {
			t.Error("taken when it expired")
		}

		added, k := create(t, name, moneyMover)
		time.Sleep(reload.CheckEvery)
		if !valid(added) {
			t.Error("a key created while running is not taken")
		}
		if err := auth.Revoke(name, k.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(reload.CheckEvery)
		if valid(added) {
			t.Error("a revoked key is taken")
		}
	})
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.json")
	text, first := create(t, name, moneyMover)
	_, second := create(t, name, auth.NewKey{Tenant: "globex", Scopes: []auth.Scope{"wallet:admin"}})
	got, err := auth.List(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]auth.Key{first, second}, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if perm := info.Mode().Perm(); perm != 0o600 {
		t.Errorf("got mode %o, want 600", perm)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if secret := text[strings.LastIndexByte(text, '_')+1:]; bytes.Contains(content, []byte(secret)) {
		t.Error("the secret is in the file")
	}

	if err := auth.Revoke(name, "0123"); !errors.Is(err, auth.ErrKey) {
		t.Errorf("revoke an unknown key: got %v", err)
	}
	if err := auth.Revoke(name, first.ID); err != nil {
		t.Fatal(err)
	}
	if got, err = auth.List(name); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]auth.Key{second}, got); diff != "" {
		t.Errorf("keys after the revocation (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(name + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file made aside is left: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	good := []auth.Scope{"wallet:read"}
	for _, test := range []struct {
		name string
		key  auth.NewKey
		want error
	}{
		{"no tenant", auth.NewKey{Scopes: good}, auth.ErrNew},
		{"no scope", auth.NewKey{Tenant: "t"}, auth.ErrNew},
		{"too many scopes", auth.NewKey{Tenant: "t", Scopes: make([]auth.Scope, 33)}, auth.ErrNew},
		{"long note", auth.NewKey{Tenant: "t", Scopes: good, Note: strings.Repeat("n", 257)}, auth.ErrNew},
		{"long tenant", auth.NewKey{Tenant: strings.Repeat("n", 257), Scopes: good}, auth.ErrNew},
		{"expired", auth.NewKey{Tenant: "t", Scopes: good, Expires: time.Unix(1, 0)}, auth.ErrNew},
		{"unknown permission", auth.NewKey{Tenant: "t", Scopes: []auth.Scope{"wallet:delete"}}, auth.ErrScope},
		{"no system", auth.NewKey{Tenant: "t", Scopes: []auth.Scope{":read"}}, auth.ErrScope},
		{"star", auth.NewKey{Tenant: "t", Scopes: []auth.Scope{"*"}}, auth.ErrScope},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "keys.json")
			if _, _, err := auth.Create(name, test.key); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a file was made: %v", err)
			}
		})
	}
}

func TestListRefusesADoubtfulFile(t *testing.T) {
	key := func(id, hash, tenant, scope string) string {
		return fmt.Sprintf(`{"id":%q,"sha256":%q,"tenant":%q,"scopes":[%q],"created":"2026-01-02T03:04:05Z"}`, id, hash, tenant, scope)
	}
	hash := strings.Repeat("ab", 32)
	good := key("a", hash, "t", "wallet:read")
	for name, test := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"not JSON":         {"keys", 0o600, "invalid character"},
		"empty":            {"", 0o600, "EOF"},
		"cut":              {`{"version":1,"keys":[` + good, 0o600, "unexpected EOF"},
		"later version":    {`{"version":2,"keys":[]}`, 0o600, "version 2"},
		"no version":       {`{"keys":[]}`, 0o600, "version 0"},
		"unknown member":   {`{"version":1,"keys":[],"salt":"x"}`, 0o600, "salt"},
		"no id":            {`{"version":1,"keys":[` + key("", hash, "t", "wallet:read") + `]}`, 0o600, "incomplete"},
		"the same twice":   {`{"version":1,"keys":[` + good + `,` + good + `]}`, 0o600, "there twice"},
		"short hash":       {`{"version":1,"keys":[` + key("a", "ab", "t", "wallet:read") + `]}`, 0o600, "incomplete"},
		"hash of no digit": {`{"version":1,"keys":[` + key("a", strings.Repeat("xy", 32), "t", "wallet:read") + `]}`, 0o600, "hash of key a"},
		"no tenant":        {`{"version":1,"keys":[` + key("a", hash, "", "wallet:read") + `]}`, 0o600, "incomplete"},
		"bad scope":        {`{"version":1,"keys":[` + key("a", hash, "t", "root") + `]}`, 0o600, "scope"},
		"group can write":  {`{"version":1,"keys":[]}`, 0o660, "chmod 600"},
		"others can write": {`{"version":1,"keys":[]}`, 0o606, "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keys.json")
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, test.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := auth.Open(file, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestOpenWithoutAFileTellsWhatToDo(t *testing.T) {
	_, err := auth.Open(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "maru key create") {
		t.Errorf("got %v", err)
	}
}

// Of changes at the same time each is either kept or refused.
func TestConcurrentChanges(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.json")
	var made sync.Map
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			switch _, k, err := auth.Create(name, moneyMover); {
			case err == nil:
				made.Store(k.ID, true)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := auth.List(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if _, ok := made.LoadAndDelete(k.ID); !ok {
			t.Errorf("key %s: in the file and not reported", k.ID)
		}
	}
	made.Range(func(id, _ any) bool {
		t.Errorf("key %s: reported and not in the file", id)
		return true
	})
}

func TestAnInterruptedChangeIsNamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(name+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := auth.Create(name, moneyMover); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "remove "+name+".new") {
		t.Errorf("got %v", err)
	}
}

func FuzzAuthenticate(f *testing.F) {
	name := filepath.Join(f.TempDir(), "keys.json")
	text, k := create(f, name, moneyMover)
	keys := open(f, name)
	f.Add("Bearer " + text)
	f.Add("Bearer maru_" + k.ID + "_")
	f.Add("Basic x")
	f.Fuzz(func(t *testing.T, header string) {
		who, err := keys.Authenticate(header)
		if err == nil && !strings.Contains(strings.ToLower(header), text[len("maru_")+17:]) {
			t.Errorf("%q is taken for %+v", header, who)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	name := filepath.Join(b.TempDir(), "keys.json")
	text, _ := create(b, name, moneyMover)
	keys := open(b, name)
	header := "Bearer " + text
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.Authenticate(header); err != nil {
			b.Fatal(err)
		}
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "auth")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "keys.json")
	text, _, err := auth.Create(name, auth.NewKey{Tenant: "acme", Scopes: []auth.Scope{"wallet:read"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := auth.Open(name, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	tenant, err := keys.Authorize("Bearer "+text, "", "wallet:read")
	fmt.Println(tenant, err)
	_, err = keys.Authorize("Bearer "+text, "", "wallet:write")
	fmt.Println(err)
	// Output:
	// acme <nil>
	// the API key does not allow this: it has no scope wallet:write
}
