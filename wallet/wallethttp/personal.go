package wallethttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/internal/auth"
	"maru.example/wallet"
)

// Limits of bodies with personal data: text of the largest size, each byte of which may be
// written as an escape of six.
const (
	MaxProfileBodyBytes = 128 << 10
	MaxNoteBodyBytes    = 32 << 10
)

// Personal is what the handler needs of personal data: [wallet.Personal] is one, and describes the methods.
type Personal interface {
	Personal(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem) (d wallet.PersonalData, version uint64, err error)
	PutPersonal(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem, d wallet.PersonalData, at uint64) (version uint64, code wallet.Code, err error)
	PatchPersonal(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem, c wallet.PersonalChange, at uint64) (d wallet.PersonalData, version uint64, code wallet.Code, err error)
	DeletePersonal(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem, at uint64) error
	ErasePersonal(ctx context.Context, o wallet.PersonalOwner, by string) (e wallet.Erasure, code wallet.Code, err error)
}

// noPersonal is the personal data of a server that keeps none.
type noPersonal struct{}

var errNoPersonal = fmt.Errorf("%w: the server keeps no personal data", wallet.ErrStoreUnavailable)

func (noPersonal) Personal(context.Context, wallet.PersonalOwner, wallet.PersonalItem) (wallet.PersonalData, uint64, error) {
	return wallet.PersonalData{}, 0, errNoPersonal
}

func (noPersonal) PutPersonal(context.Context, wallet.PersonalOwner, wallet.PersonalItem, wallet.PersonalData, uint64) (uint64, wallet.Code, error) {
	return 0, 0, errNoPersonal
}

func (noPersonal) PatchPersonal(context.Context, wallet.PersonalOwner, wallet.PersonalItem, wallet.PersonalChange, uint64) (wallet.PersonalData, uint64, wallet.Code, error) {
	return wallet.PersonalData{}, 0, 0, errNoPersonal
}

func (noPersonal) DeletePersonal(context.Context, wallet.PersonalOwner, wallet.PersonalItem, uint64) error {
	return errNoPersonal
}

func (noPersonal) ErasePersonal(context.Context, wallet.PersonalOwner, string) (wallet.Erasure, wallet.Code, error) {
	return wallet.Erasure{}, 0, errNoPersonal
}

// The bodies and answers of personal data.
type (
	profileBody struct {
		Name     personalName     `json:"name,omitempty"`
		Metadata personalMetadata `json:"metadata,omitempty"`
	}
	noteBody struct {
		Text     noteText         `json:"text,omitempty"`
		Metadata personalMetadata `json:"metadata,omitempty"`
	}
	removedAnswer struct {
		Status string `json:"status" enum:"success" example:"success"`
	}
	erasureAnswer struct {
		Account  accountID `json:"account"`
		ErasedAt string    `json:"erased_at" format:"date-time" example:"2026-01-31T12:00:00.000000001Z"`
		ErasedBy string    `json:"erased_by,omitempty" doc:"The id of the API key with which it was asked for." example:"4f1c8a03b7d29e56"`
	}
	personalName     string
	noteText         string
	personalMetadata map[string]string
)

// Schema describes a name.
func (personalName) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Examples: []any{"Alice Liddell"}, Description: "Who the account belongs to: up to 1,024 bytes."}
}

// Schema describes what a note says.
func (noteText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Examples: []any{"for the bike"}, Description: "What the note says: up to 4,096 bytes, with the metadata."}
}

// Schema describes personal metadata.
func (personalMetadata) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true, Examples: []any{map[string]any{"mail": "alice@example.com"}},
		Description: "What else there is to say, in strings: up to 64 keys of 1 to 64 bytes, values of up to 1,024 bytes; a profile has up to 16,384 bytes in all, a note 4,096.",
	}
}

const (
	profilePath = "/v1/wallet/accounts/{id}/profile"
	notePath    = "/v1/wallet/accounts/{id}/transfers/{transaction_id}/note"
)

func personalOperations() []operation {
	account := []wallet.Code{wallet.UnknownTenant, wallet.UnknownAccount}
	ops := []operation{{
		id: "get-profile", method: "GET", path: profilePath, summary: "Show who an account belongs to",
		answer: profileBody{}, do: (*server).profile, found: true,
	}, {
		id: "put-profile", method: "PUT", path: profilePath, summary: "Write who an account belongs to",
		description: "Names and metadata are kept outside of the log, sealed under a key of the account's own. What is left out is removed. " +
			"This is the one metadata of an account, for what is not personal as well.",
		request: profileBody{}, answer: profileBody{}, do: (*server).putProfile, codes: account, matches: true,
	}, {
		id: "patch-profile", method: "PATCH", path: profilePath, summary: "Change parts of who an account belongs to",
		description: "What is left out stays as it is. An empty name removes the name; null as the value of a key of the metadata removes the key.",
		request:     profileBody{}, answer: profileBody{}, do: (*server).patchProfile, codes: account, matches: true,
	}, {
		id: "delete-profile", method: "DELETE", path: profilePath, summary: "Remove who an account belongs to",
		description: "It can be written again. To remove everything for ever, in all copies, erase the personal data.",
		answer:      removedAnswer{}, do: (*server).deleteProfile, matches: true,
	}, {
		id: "get-note", method: "GET", path: notePath, summary: "Show an account's note on a transfer",
		answer: noteBody{}, do: (*server).note, found: true,
	}, {
		id: "put-note", method: "PUT", path: notePath, summary: "Write an account's note on a transfer or transaction",
		description: "It is seen by who asks for this account's note, not on the other account. The wallet must have decided the transfer.",
		request:     noteBody{}, answer: noteBody{}, do: (*server).putNote, codes: account, absent: true, matches: true,
	}, {
		id: "delete-note", method: "DELETE", path: notePath, summary: "Remove an account's note on a transfer",
		answer: removedAnswer{}, do: (*server).deleteNote, matches: true,
	}, {
		id: "erase-personal-data", method: "POST", path: "/v1/wallet/accounts/{id}/erasure", scope: EraseScope,
		summary: "Destroy the personal data of an account for ever",
		description: "The account's key is destroyed, its profile and notes are deleted, and it takes none any more. Accounts, balances, transfers and their proof " +
			"stay as they are. Repeated, it answers when it was done.",
		answer: erasureAnswer{}, do: (*server).erase, codes: account,
	}}
	for i := range ops {
		ops[i].status, ops[i].personal = 200, true
		if ops[i].scope == "" {
			ops[i].scope = PersonalScope
		}
	}
	return ops
}

// personalItem returns the account that a request is about, and what of it.
func (q query) personalItem() (wallet.PersonalOwner, wallet.PersonalItem, error) {
	id, err := q.account()
	if err != nil {
		return wallet.PersonalOwner{}, "", err
	}
	item := wallet.ProfileItem
	if text := q.PathValue("transaction_id"); text != "" {
		on, err := wallet.ParseTransactionID(text)
		if err != nil {
			return wallet.PersonalOwner{}, "", invalidParameter("transaction_id", err)
		}
		item = wallet.NoteItem(on)
	}
	return wallet.PersonalOwner{Tenant: q.tenant, Account: id}, item, nil
}

// matching returns the version that the header If-Match asks for.
func (q query) matching() (uint64, error) {
	values := q.Header["If-Match"]
	switch {
	case len(values) == 0:
		return wallet.AnyVersion, nil
	case len(values) == 1 && values[0] == "*":
		return wallet.SomeVersion, nil
	case len(values) == 1 && len(values[0]) > 2:
		text := values[0]
		n, err := strconv.ParseUint(text[1:len(text)-1], 10, 63)
		if err == nil && n > 0 && n < wallet.SomeVersion && text == formatETag(n) {
			return n, nil
		}
	}
	return 0, invalidParameter("If-Match", errors.New("must be * or the ETag of an answer, once"))
}

func formatETag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// personalReply answers with what only this client is to see.
func personalReply(v any, version uint64) *reply {
	r := jsonReply(v)
	r.private = true
	if version != 0 {
		r.etag = formatETag(version)
	}
	return r
}

func (s *server) profile(q query) (*reply, error) {
	d, version, err := s.readPersonal(q)
	if err != nil {
		return nil, err
	}
	return personalReply(profileBody{personalName(d.Text), d.Metadata}, version), nil
}

func (s *server) note(q query) (*reply, error) {
	d, version, err := s.readPersonal(q)
	if err != nil {
		return nil, err
	}
	return personalReply(noteBody{noteText(d.Text), d.Metadata}, version), nil
}

func (s *server) readPersonal(q query) (wallet.PersonalData, uint64, error) {
	o, item, err := q.personalItem()
	if err != nil {
		return wallet.PersonalData{}, 0, err
	}
	return s.o.Personal.Personal(q.Context(), o, item)
}

func (s *server) putProfile(q query) (*reply, error) {
	d, version, err := s.putPersonal(q, MaxProfileBodyBytes, "name")
	if err != nil {
		return nil, err
	}
	return personalReply(profileBody{personalName(d.Text), d.Metadata}, version), nil
}

func (s *server) putNote(q query) (*reply, error) {
	d, version, err := s.putPersonal(q, MaxNoteBodyBytes, "text")
	if err != nil {
		return nil, err
	}
	return personalReply(noteBody{noteText(d.Text), d.Metadata}, version), nil
}

// putPersonal writes an item whose text is the member with a name.
func (s *server) putPersonal(q query, limit int64, text string) (d wallet.PersonalData, version uint64, err error) {
	o, item, err := q.personalItem()
	if err != nil {
		return d, 0, err
	}
	at, err := q.matching()
	if err != nil {
		return d, 0, err
	}
	if err := readBody(q.Request, limit, func(dec *decoder) { d = dec.personal(item, text) }); err != nil {
		return d, 0, err
	}
	version, code, err := s.o.Personal.PutPersonal(q.Context(), o, item, d, at)
	return d, version, personalDecision(code, err)
}

func (s *server) patchProfile(q query) (*reply, error) {
	o, item, err := q.personalItem()
	if err != nil {
		return nil, err
	}
	at, err := q.matching()
	if err != nil {
		return nil, err
	}
	var change wallet.PersonalChange
	if err := readBody(q.Request, MaxProfileBodyBytes, func(d *decoder) { change = d.personalChange() }); err != nil {
		return nil, err
	}
	d, version, code, err := s.o.Personal.PatchPersonal(q.Context(), o, item, change, at)
	if err := personalDecision(code, err); err != nil {
		return nil, err
	}
	return personalReply(profileBody{personalName(d.Text), d.Metadata}, version), nil
}

// personalDecision returns the problem of a write that was not applied.
func personalDecision(code wallet.Code, err error) error {
	switch {
	case errors.Is(err, wallet.ErrPersonalData):
		return invalid([]FieldError{{Pointer: "#", Detail: reason(err)}})
	case err == nil && code == wallet.Undecided:
		return newProblem(http.StatusNotFound, codeTransactionNotFound, "no transfer or transaction with this transaction_id was decided; nothing was written")
	}
	return decidedAs(code, err)
}

func (s *server) deleteProfile(q query) (*reply, error) { return s.deletePersonal(q) }

func (s *server) deleteNote(q query) (*reply, error) { return s.deletePersonal(q) }

func (s *server) deletePersonal(q query) (*reply, error) {
	o, item, err := q.personalItem()
	if err != nil {
		return nil, err
	}
	at, err := q.matching()
	if err == nil {
		err = s.o.Personal.DeletePersonal(q.Context(), o, item, at)
	}
	if err != nil {
		return nil, err
	}
	return personalReply(removedAnswer{"success"}, 0), nil
}

// erase destroys an account's personal data, in the name of the key that asks.
func (s *server) erase(q query) (*reply, error) {
	o, _, err := q.personalItem()
	if err != nil {
		return nil, err
	}
	by := ""
	if s.keyed {
		by = auth.KeyID(q.Header.Get("Authorization"))
	}
	e, code, err := s.o.Personal.ErasePersonal(q.Context(), o, by)
	if err := personalDecision(code, err); err != nil {
		return nil, err
	}
	return personalReply(erasureAnswer{accountID(o.Account), formatTime(e.At), e.By}, 0), nil
}

// personalFailure returns the problem of an error of personal data, nil if it is none.
func personalFailure(err error) (p *Problem) {
	switch {
	case errors.Is(err, wallet.ErrErased):
		p = newProblem(http.StatusGone, codeErased, reason(wallet.ErrErased))
	case errors.Is(err, wallet.ErrPersonalNotFound):
		p = newProblem(http.StatusNotFound, codePersonalNotFound, reason(wallet.ErrPersonalNotFound))
	case errors.Is(err, wallet.ErrPersonalChanged):
		p = newProblem(http.StatusPreconditionFailed, codePersonalChanged, reason(wallet.ErrPersonalChanged)+": read it again; nothing was done")
	case errors.Is(err, wallet.ErrPersonalDamaged):
		p = newProblem(http.StatusInternalServerError, codePersonalDamaged, reason(wallet.ErrPersonalDamaged))
		p.cause = err
	case errors.Is(err, wallet.ErrMasterKey):
		p = newProblem(http.StatusServiceUnavailable, codeStoreUnusable,
			"the personal data is sealed with another master key than this server has: after a rotation each node needs the new file; nothing was done")
		p.cause = err
	case errors.Is(err, wallet.ErrStoreOfAnother), errors.Is(err, wallet.ErrStoreOfPast):
		p = newProblem(http.StatusServiceUnavailable, codeStoreUnusable, "the store of webhooks and personal data belongs to another wallet; nothing was done")
		p.cause = err
	case errors.Is(err, wallet.ErrStoreEmpty):
		p = newProblem(http.StatusServiceUnavailable, codeStoreUnusable, "the store of webhooks and personal data is another one than this wallet had; nothing was done")
		p.cause = err
	case errors.Is(err, wallet.ErrStoreUnavailable):
		p = newProblem(http.StatusServiceUnavailable, codeStoreUnavailable, "the store of webhooks and personal data is not available; whether a write was done is then unknown: repeat it")
		p.RetryAfter, p.cause = retryStore, err
	case errors.Is(err, wallet.ErrStoreNotShared):
		p = newProblem(http.StatusNotImplemented, codeStoreNotShared,
			"this cluster has several nodes, whose personal data needs a store that they share: start each with --store postgres://… and the same --personal-key")
	}
	return p
}
