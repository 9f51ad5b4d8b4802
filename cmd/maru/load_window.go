package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"maru.example/wallet"
)

// window is a run of lines of a load file that travels together. Its accounts
// are opened before its transfers are made, and a transfer that stands before
// the line that opens its account does not profit from that.
type window struct {
	accounts      []wallet.NewAccount
	accountLines  []int64
	opened        int64 // of the accounts
	alreadyOpened int64 // of them, before and with the same content
	transfers     []wallet.Transfer
	transferLines []int64
	notes         []wallet.Notes // of each transfer; nil: they are plain

	sides    []sides                 // of each transfer
	resolved []wallet.HandleTransfer // the plain transfers whose accounts are known
	noted    []*wallet.Transaction   // or those with notes
	payers   []wallet.Handle         // of these
	source   []int                   // for each of them, its place in transfers
	pending  pendingBatch            // of the resolved transfers, nil if there are none
	results  []wallet.Result         // for each of them

	problems []problem
	lastLine int64 // of the file
	bytes    int64 // of the file, up to the window's end
}

// sides are the accounts of a transfer, 0 where one is not known.
type sides struct{ from, to wallet.Handle }

// problem is a line that did not do what it says.
type problem struct {
	line   int64
	kind   string // account, transfer, or "" for a malformed line
	id     string // the account's or the transfer's, if known
	code   wallet.Code
	reason string
}

// maxNoted is how many transfers with notes are in a window: a message holds them.
const maxNoted = 1000

// full says whether the window takes no further record.
func (w *window) full() bool {
	if len(w.notes) >= maxNoted {
		return true
	}
	return max(len(w.accounts), len(w.transfers), len(w.problems)) >= wallet.MaxBatch
}

// takes says whether a record can be in the window: transfers with notes and those without
// are different commands, and so in different batches.
func (w *window) takes(r *record) bool {
	return r.kind != transferRecord || len(w.transfers) == 0 || (w.notes == nil) == r.notes.Empty()
}

// add puts a record that the window takes into it.
func (w *window) add(r *record) {
	switch r.kind {
	case accountRecord:
		w.accounts = append(w.accounts, r.account)
		w.accountLines = append(w.accountLines, r.line)
	case transferRecord:
		w.transfers = append(w.transfers, r.transfer)
		w.transferLines = append(w.transferLines, r.line)
		if !r.notes.Empty() {
			w.notes = append(w.notes, r.notes)
		}
	}
	w.lastLine = r.line
}

// addMalformed notes a line that could not be read.
func (w *window) addMalformed(e *lineError) {
	w.problems = append(w.problems, problem{line: e.line, code: wallet.Malformed, reason: e.reason})
	w.lastLine = e.line
}

// refuseAccount notes that an account of the window was not opened.
func (w *window) refuseAccount(i int, code wallet.Code) {
	w.problems = append(w.problems, problem{
		line: w.accountLines[i], kind: "account", id: string(w.accounts[i].ID), code: code, reason: explain(code).text,
	})
}

// refuseTransfer notes that a transfer of the window was not made.
func (w *window) refuseTransfer(i int, code wallet.Code, reason string) {
	w.problems = append(w.problems, problem{
		line: w.transferLines[i], kind: "transfer", id: w.transfers[i].ID.String(), code: code, reason: reason,
	})
}

// sortProblems puts the problems into the order of the lines.
func (w *window) sortProblems() {
	slices.SortFunc(w.problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
}

// reset empties the window for further use.
func (w *window) reset() {
	*w = window{
		accounts: w.accounts[:0], accountLines: w.accountLines[:0],
		transfers: w.transfers[:0], transferLines: w.transferLines[:0],
		sides: w.sides[:0], resolved: w.resolved[:0], noted: w.noted[:0], payers: w.payers[:0], source: w.source[:0], results: w.results[:0], problems: w.problems[:0],
	}
}

// resolver opens the accounts of windows and turns the names in their transfers
// into handles. It is for one goroutine.
type resolver struct {
	stream batchStream
	cache  handleCache

	// Of the window at hand: names that the cache did not have, and the
	// accounts that the window itself opened.
	asked  map[wallet.AccountID]wallet.Handle
	opened map[wallet.AccountID]openedAt
}

// openedAt is an account and the line that opened it.
type openedAt struct {
	handle wallet.Handle
	line   int64
}

func newResolver(s batchStream) *resolver {
	return &resolver{
		stream: s,
		cache:  handleCache{size: cachedNames},
		asked:  make(map[wallet.AccountID]wallet.Handle),
		opened: make(map[wallet.AccountID]openedAt),
	}
}

// resolve opens the window's accounts and fills in its resolved transfers. Who
// is unknown is asked for before the accounts are opened, so that an answer
// cannot depend on lines that follow.
func (r *resolver) resolve(ctx context.Context, w *window) error {
	if err := r.lookup(ctx, w); err != nil {
		return err
	}
	if err := r.open(ctx, w); err != nil {
		return err
	}
	for i := range w.transfers {
		t, s := &w.transfers[i], &w.sides[i]
		if s.from == 0 {
			s.from = r.handle(t.From, w.transferLines[i])
		}
		if s.to == 0 {
			s.to = r.handle(t.To, w.transferLines[i])
		}
		switch {
		case s.from == 0:
			w.refuseTransfer(i, wallet.UnknownAccount, "no account "+string(t.From))
		case s.to == 0:
			w.refuseTransfer(i, wallet.UnknownAccount, "no account "+string(t.To))
		default:
			w.resolve(i)
		}
	}
	for name, o := range r.opened {
		r.cache.put(name, o.handle)
	}
	clear(r.asked)
	clear(r.opened)
	return nil
}

// resolve notes a transfer whose accounts are known for sending.
func (w *window) resolve(i int) {
	t, s := &w.transfers[i], &w.sides[i]
	if w.notes == nil {
		w.resolved = append(w.resolved, wallet.HandleTransfer{ID: t.ID, From: s.from, To: s.to, Amount: t.Amount, Currency: t.Currency})
		w.source = append(w.source, i)
		return
	}
	made, code := t.Noted(w.notes[i])
	if code != wallet.Applied {
		w.refuseTransfer(i, code, explain(code).text)
		return
	}
	w.noted, w.payers, w.source = append(w.noted, made), append(w.payers, s.from), append(w.source, i)
}

// handle returns the handle of an account that was not in the cache and that a
// transfer on the given line names, or 0 if there was no such account then.
func (r *resolver) handle(name wallet.AccountID, line int64) wallet.Handle {
	if h := r.asked[name]; h != 0 {
		return h
	}
	if o, ok := r.opened[name]; ok && o.line < line {
		return o.handle
	}
	return 0
}

// lookup finds the sides of the window's transfers in the cache, and asks for
// the names that it does not have.
func (r *resolver) lookup(ctx context.Context, w *window) error {
	var names []wallet.AccountID
	find := func(name wallet.AccountID) wallet.Handle {
		h := r.cache.get(name)
		if h == 0 {
			if _, ok := r.asked[name]; !ok {
				r.asked[name] = 0
				names = append(names, name)
			}
		}
		return h
	}
	for i := range w.transfers {
		w.sides = append(w.sides, sides{from: find(w.transfers[i].From), to: find(w.transfers[i].To)})
	}
	for some := range slices.Chunk(names, wallet.MaxBatch) {
		handles, err := r.stream.Lookup(ctx, some)
		if err != nil {
			return fmt.Errorf("look up accounts: %w", err)
		}
		for i, h := range handles {
			r.asked[some[i]] = h
			r.cache.put(some[i], h)
		}
	}
	return nil
}

// open opens the window's accounts.
func (r *resolver) open(ctx context.Context, w *window) error {
	if len(w.accounts) == 0 {
		return nil
	}
	answers, err := r.stream.OpenAccounts(ctx, w.accounts)
	if err != nil {
		return fmt.Errorf("open accounts: %w", err)
	}
	for i, a := range answers {
		if a.Code != wallet.Applied {
			w.refuseAccount(i, a.Code)
			continue
		}
		if a.Before {
			w.alreadyOpened++
		} else {
			w.opened++
		}
		if _, ok := r.opened[w.accounts[i].ID]; !ok {
			r.opened[w.accounts[i].ID] = openedAt{handle: a.Handle, line: w.accountLines[i]}
		}
	}
	return nil
}

// cachedNames bounds the names in memory: there are between this many and twice
// as many, at about 100 bytes each.
const cachedNames = 1 << 20

// handleCache remembers the handles of the accounts that were used last. When
// the young half is full it becomes the old half; what is used of the old half
// moves to the young one; the rest is forgotten with it.
type handleCache struct {
	size       int // of a half
	young, old map[wallet.AccountID]wallet.Handle
}

// get returns the handle of a name, or 0 if it is not known.
func (c *handleCache) get(name wallet.AccountID) wallet.Handle {
	if h, ok := c.young[name]; ok {
		return h
	}
	h, ok := c.old[name]
	if ok {
		c.put(name, h)
	}
	return h
}

// put remembers the handle of an account, which is not 0.
func (c *handleCache) put(name wallet.AccountID, h wallet.Handle) {
	if h == 0 {
		return
	}
	if c.young == nil || len(c.young) >= c.size {
		c.young, c.old = make(map[wallet.AccountID]wallet.Handle), c.young
	}
	c.young[wallet.AccountID(strings.Clone(string(name)))] = h
}
