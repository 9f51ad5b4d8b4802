// Package auth keeps API keys: who may act for which tenant, and do what.
//
// A key is shown once, when it is created, and looks like
//
//	maru_4f1c8a03b7d29e56_<64 hexadecimal digits>
//
// The keys file holds its id and the SHA-256 of its secret. A slow, salted hash
// is for passwords, which can be guessed; the secret is 256 random bits, which
// cannot, whatever the hash costs. A fast one keeps the check out of the way of
// every request.
//
// The file is read again when it changed, so that keys are created and revoked
// while servers run.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"maru.example/internal/reload"
)

// Limits of keys.
const (
	MaxKeys       = 10_000 // in one file
	MaxScopes     = 32     // of one key
	MaxTextBytes  = 256    // of a note or a tenant's name
	idBytes       = 8
	secretBytes   = 32
	prefix        = "maru_"
	maxTokenBytes = 256
)

// Errors of an authentication. Their texts may be shown to clients.
var (
	// ErrUnauthenticated says that there is no valid key in the request. That a
	// key is unknown, wrong, expired or revoked looks the same from outside.
	ErrUnauthenticated = errors.New("no valid API key: send the header Authorization: Bearer maru_…")
	// ErrForbidden says that the key is valid and does not allow this.
	ErrForbidden = errors.New("the API key does not allow this")
)

// Errors of the functions that change a keys file.
var (
	ErrKey   = errors.New("auth: no such key")
	ErrScope = errors.New("auth: a scope is a system and read, write, personal, erase, webhooks or admin, such as wallet:read")
	ErrNew   = errors.New("auth: a new key needs a tenant and at least one scope, and an expiry, if any, in the future")
)

// Scope is one permission of a key: a system, a colon, and read, write, personal, erase, webhooks
// or admin. None includes another. With admin a key acts for any tenant in that system.
type Scope string

var scopeForm = regexp.MustCompile(`^[a-z]{1,32}:(read|write|personal|erase|webhooks|admin)$`)

// Validate returns an error that wraps ErrScope if s is not a scope.
func (s Scope) Validate() error {
	if !scopeForm.MatchString(string(s)) {
		return fmt.Errorf("%w: got %q", ErrScope, string(s))
	}
	return nil
}

// admin returns the scope that lets keys act for any tenant in s's system.
func (s Scope) admin() Scope {
	system, _, _ := strings.Cut(string(s), ":")
	return Scope(system + ":admin")
}

// A Key is what the file knows of a key.
type Key struct {
	ID      string    `json:"id"`
	Hash    string    `json:"sha256"` // of the secret, hexadecimal
	Tenant  string    `json:"tenant"`
	Scopes  []Scope   `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Note    string    `json:"note,omitempty"`
}

// Identity is who sent a request.
type Identity struct {
	KeyID  string
	Tenant string
	Scopes []Scope
}

// Has says whether the key has a scope.
func (i Identity) Has(s Scope) bool { return slices.Contains(i.Scopes, s) }

// TenantFor returns the tenant for which a request acts that needs a scope and
// names a tenant ("" if it names none): the key's own, or, for a key with the
// admin scope of that system, the one named. Otherwise the error wraps
// [ErrForbidden].
func (i Identity) TenantFor(named string, need Scope) (string, error) {
	switch {
	case !i.Has(need):
		return "", fmt.Errorf("%w: it has no scope %s", ErrForbidden, need)
	case named == "" || named == i.Tenant:
		return i.Tenant, nil
	case i.Has(need.admin()):
		return named, nil
	}
	return "", fmt.Errorf("%w: it belongs to another tenant", ErrForbidden)
}

// Keys checks requests against a keys file. It is safe for concurrent use.
type Keys struct {
	file *reload.Value[map[string]entry]
}

// entry is a Key with its hash as bytes.
type entry struct {
	key  Key
	hash [sha256.Size]byte
}

// Open reads a keys file. When a changed file cannot be read later on, the keys
// read before stay valid and the logger is told.
func Open(name string, logger *slog.Logger) (*Keys, error) {
	file, err := reload.New(
		func() (map[string]entry, error) { return index(name) },
		func(err error) { logger.Error("keys file is not readable; the last keys stay valid", "error", err) },
		name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; create a key with: maru key create", err)
	}
	if err != nil {
		return nil, err
	}
	return &Keys{file}, nil
}

// index reads a keys file into a table by id.
func index(name string) (map[string]entry, error) {
	keys, err := List(name)
	if err != nil {
		return nil, err
	}
	table := make(map[string]entry, len(keys))
	for _, k := range keys {
		e := entry{key: k}
		if _, err := hex.Decode(e.hash[:], []byte(k.Hash)); err != nil {
			return nil, fmt.Errorf("keys file %s: hash of key %s: %w", name, k.ID, err)
		}
		table[k.ID] = e
	}
	return table, nil
}

// Authenticate returns who sent a request with this Authorization header, which
// is "Bearer" and a key, or an error that wraps [ErrUnauthenticated].
func (k *Keys) Authenticate(header string) (Identity, error) {
	id, secret, ok := parse(header)
	if !ok {
		return Identity{}, ErrUnauthenticated
	}
	e, known := k.file.Get()[id]
	hash := sha256.Sum256(secret[:])
	if subtle.ConstantTimeCompare(hash[:], e.hash[:]) != 1 || !known {
		return Identity{}, ErrUnauthenticated
	}
	if !e.key.Expires.IsZero() && !time.Now().Before(e.key.Expires) {
		return Identity{}, ErrUnauthenticated
	}
	return Identity{KeyID: id, Tenant: e.key.Tenant, Scopes: e.key.Scopes}, nil
}

// Authorize is [Keys.Authenticate] and [Identity.TenantFor] in one.
func (k *Keys) Authorize(header, tenant string, need Scope) (string, error) {
	who, err := k.Authenticate(header)
	if err != nil {
		return "", err
	}
	return who.TenantFor(tenant, need)
}

// KeyID returns the id of the key in an Authorization header that was authorized, "" if there is none.
func KeyID(header string) string {
	id, _, _ := parse(header)
	return id
}

// parse splits an Authorization header. The scheme's name is of either case, as
// RFC 9110 section 11.1 wants it.
func parse(header string) (id string, secret [secretBytes]byte, ok bool) {
	scheme, token, _ := strings.Cut(header, " ")
	if len(header) > maxTokenBytes || !strings.EqualFold(scheme, "Bearer") {
		return "", secret, false
	}
	token, ok = strings.CutPrefix(strings.TrimLeft(token, " "), prefix)
	id, digits, found := strings.Cut(token, "_")
	if !ok || !found || len(digits) != 2*secretBytes {
		return "", secret, false
	}
	_, err := hex.Decode(secret[:], []byte(digits))
	return id, secret, err == nil
}

// generate returns a new key's id, the text to show, and the hash to keep.
func generate() (id, text, hash string) {
	var random [idBytes + secretBytes]byte
	rand.Read(random[:]) // never fails: it ends the process instead
	id = hex.EncodeToString(random[:idBytes])
	sum := sha256.Sum256(random[idBytes:])
	return id, prefix + id + "_" + hex.EncodeToString(random[idBytes:]), hex.EncodeToString(sum[:])
}
