package walletgrpc

import (
	"context"
	"fmt"

	"maru.example/wallet"
)

// Transact makes up to wallet.MaxBatch transactions, of MaxMessageBytes in all, one
// after the other, each by itself, and returns one result each. When it returns an
// error the outcome is unknown, unless it says that one is malformed: make the same
// transactions again.
func (c *Client) Transact(ctx context.Context, ts []wallet.Transaction) ([]wallet.Result, error) {
	if len(ts) == 0 || len(ts) > wallet.MaxBatch {
		return nil, wallet.ErrBatchSize
	}
	message := request(nil, wallet.KindTransactions, len(ts))
	for i := range ts {
		if err := ts[i].Validate(); err != nil {
			return nil, fmt.Errorf("transaction %d: %w", i, err)
		}
		message = wallet.AppendTransaction(message, &ts[i])
	}
	if len(message) > MaxMessageBytes {
		return nil, fmt.Errorf("%w: they have %d bytes, at most %d in one batch", wallet.ErrBatchSize, len(message), MaxMessageBytes)
	}
	answers, err := c.call(ctx, message)
	if err != nil {
		return nil, err
	}
	if len(answers) != len(ts) {
		return nil, fmt.Errorf("%w: %d results for %d transactions", errMessage, len(answers), len(ts))
	}
	results := make([]wallet.Result, len(ts))
	for i, a := range answers {
		results[i] = wallet.Result(a)
	}
	return results, nil
}
