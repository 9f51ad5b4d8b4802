package wallethttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"maru.example/wallet"
)

// Profile returns who an account belongs to. The error is a *Problem with the code personal_not_found if that
// was not written, and erased if it was destroyed.
func (c *Client) Profile(ctx context.Context, id wallet.AccountID) (wallet.PersonalData, error) {
	if err := id.Validate(); err != nil {
		return wallet.PersonalData{}, err
	}
	var answer profileBody
	err := c.do(ctx, &call{http.MethodGet, accountPath(id) + "/profile", nil, &answer})
	return wallet.PersonalData{Text: string(answer.Name), Metadata: answer.Metadata}, err
}

// PatchProfile changes who an account belongs to, and returns it.
func (c *Client) PatchProfile(ctx context.Context, id wallet.AccountID, change wallet.PersonalChange) (wallet.PersonalData, wallet.Code, error) {
	if err := id.Validate(); err != nil {
		return wallet.PersonalData{}, wallet.Undecided, err
	}
	body, err := json.Marshal(struct {
		Name     *string            `json:"name,omitempty"`
		Metadata map[string]*string `json:"metadata,omitempty"`
	}{change.Text, change.Metadata})
	if err != nil {
		return wallet.PersonalData{}, wallet.Undecided, err
	}
	var answer profileBody
	code, err := decided(c.do(ctx, &call{http.MethodPatch, accountPath(id) + "/profile", body, &answer}))
	return wallet.PersonalData{Text: string(answer.Name), Metadata: answer.Metadata}, code, err
}

// ErasePersonal destroys an account's personal data for ever: see [wallet.Personal.ErasePersonal].
func (c *Client) ErasePersonal(ctx context.Context, id wallet.AccountID) (wallet.Erasure, wallet.Code, error) {
	if err := id.Validate(); err != nil {
		return wallet.Erasure{}, wallet.Undecided, err
	}
	var answer erasureAnswer
	code, err := decided(c.do(ctx, &call{http.MethodPost, accountPath(id) + "/erasure", nil, &answer}))
	if err != nil || code != wallet.Applied {
		return wallet.Erasure{}, code, err
	}
	at, err := time.Parse(time.RFC3339Nano, answer.ErasedAt)
	if err != nil {
		return wallet.Erasure{}, code, fmt.Errorf("the server's answer: %w", err)
	}
	return wallet.Erasure{At: at.UnixNano(), By: answer.ErasedBy}, code, nil
}
