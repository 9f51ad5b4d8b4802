package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"maru.example/cluster"
	"maru.example/internal/sqldb"
	"maru.example/wallet"
	"maru.example/wallet/wallethttp"
)

// masterKeyName is the file of the master key, unless --personal-key names one.
const masterKeyName = "personal.key"

// masterKeyPrefix begins the line with the master key (docs/format/personal.md).
const masterKeyPrefix = "maru_personal_"

// hintMasterKey is what to do without the right master key.
const hintMasterKey = "bring the file back from its copy, or from another node of the cluster; --personal-key names it; a rotation that was interrupted is to be repeated. Without it nobody can read the personal data; " +
	"the wallet itself can run with --personal=false"

// personal is a node's personal data of accounts. It is there for requests from its start on, and
// finds its database when that is there.
type personal struct {
	side    *side
	node    *node
	keyFile string

	mu   sync.Mutex
	data *wallet.Personal // nil until the database was found, and marked with the master key
}

var _ wallethttp.Personal = (*personal)(nil)

// openPersonal opens the personal data of a node. A database that is away is no error, one that is
// sealed with another master key is.
func openPersonal(ctx context.Context, o *serveOptions, n *node) (*personal, error) {
	p := &personal{side: n.side, node: n, keyFile: o.masterKeyFile()}
	if !n.side.written() {
		return p, nil
	}
	if !n.side.shared && n.network != nil && !n.alone() {
		n.logger.ErrorContext(ctx, "personal data and webhooks of before are out of reach, and nothing in them can be erased: this cluster has several nodes, which need a store that they share",
			"file", n.side.file, "hint", "stop this node, and move it with `maru wallet move-store`; then start all nodes with --store")
		return p, nil
	}
	_, err := p.ready(ctx)
	switch {
	case errors.Is(err, wallet.ErrStoreUnavailable):
		n.logger.WarnContext(ctx, "the store of personal data is away: the wallet does without until it is back", "error", err, "hint", sqldb.Hint(err))
		return p, nil
	case errors.Is(err, wallet.ErrMasterKey):
		return nil, failed(err, hintMasterKey)
	case err != nil:
		hint := "the wallet itself can run with --personal=false"
		if more := sqldb.Hint(err); more != "" {
			hint = more + "; " + hint
		}
		return nil, failed(fmt.Errorf("open the store of personal data: %w", err), hint)
	}
	return p, nil
}

// masterKeyFile returns the name of the file of the master key.
func (o *serveOptions) masterKeyFile() string {
	if o.personalKey != "" {
		return o.personalKey
	}
	return filepath.Join(o.data, masterKeyName)
}

// alone says whether this node is the only one of its cluster.
func (n *node) alone() bool {
	s := n.machine.State()
	for i := range s.Nodes {
		if s.Nodes[i].ID != n.identity.Node && s.Nodes[i].Status != cluster.Removed {
			return false
		}
	}
	return s.Cluster != "" || len(n.identity.Peers) == 0
}

// ready returns the personal data, if it can be used now.
func (p *personal) ready(ctx context.Context) (*wallet.Personal, error) {
	if !p.side.shared && !p.node.alone() {
		return nil, wallet.ErrStoreNotShared
	}
	store, err := p.side.ready(ctx)
	if errors.Is(err, sqldb.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", wallet.ErrStoreUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.data == nil {
		p.data, err = p.attach(ctx, store)
	}
	return p.data, err
}

// attach reads the master key, or makes it for a store that has no mark yet.
func (p *personal) attach(ctx context.Context, store wallet.PersonalStore) (*wallet.Personal, error) {
	key, err := readMasterKey(p.keyFile)
	made := errors.Is(err, fs.ErrNotExist)
	if made {
		marked, err := wallet.PersonalMarked(ctx, store)
		if err != nil {
			return nil, err
		}
		if marked {
			return nil, fmt.Errorf("%w: there is no %s", wallet.ErrMasterKey, p.keyFile)
		}
		if key, made, err = makeMasterKey(p.keyFile); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	data, err := wallet.NewPersonal(ctx, store, p.node.wallet.Load(), key, wallet.PersonalOptions{Now: time.Now, Random: rand.Reader})
	if made && errors.Is(err, wallet.ErrMasterKey) { // another node was faster
		return nil, errors.Join(fmt.Errorf("%w than that in %s", err, p.keyFile), os.Remove(p.keyFile))
	}
	if errors.Is(err, wallet.ErrMasterKey) {
		return nil, fmt.Errorf("%w than that in %s", err, p.keyFile)
	}
	return data, err
}

// readMasterKey reads the file of a master key.
func readMasterKey(name string) (key wallet.MasterKey, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return key, err
	}
	digits, ok := strings.CutPrefix(string(bytes.TrimSpace(b)), masterKeyPrefix)
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != len(key) {
		return key, fmt.Errorf("%w: %s is no file of a master key", wallet.ErrMasterKey, name)
	}
	copy(key[:], raw)
	return key, nil
}

// makeMasterKey makes the file of a new master key, durably. Where another process was faster, that one's key is
// returned, and made is false: a key that a store may be marked with is never replaced.
func makeMasterKey(name string) (key wallet.MasterKey, made bool, err error) {
	if _, err := rand.Read(key[:]); err != nil {
		panic(err) // it never fails
	}
	line := masterKeyPrefix + hex.EncodeToString(key[:]) + "\n"
	own := "." + filepath.Base(name) + "." + rand.Text()
	temporary := filepath.Join(filepath.Dir(name), own)
	if err := writeDurably(filepath.Dir(name), own, []byte(line), 0o600); err != nil {
		return key, false, err
	}
	err = os.Link(temporary, name) // which fails where the name is there
	if removed := os.Remove(temporary); err == nil {
		err = removed
	}
	if errors.Is(err, fs.ErrExist) {
		key, err = readMasterKey(name)
		return key, false, err
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	return key, err == nil, err
}

// with runs f on the personal data; after a rotation of the master key, once more with the key that is in the file then.
func (p *personal) with(ctx context.Context, f func(*wallet.Personal) error) error {
	data, err := p.ready(ctx)
	if err != nil {
		return err
	}
	if err = f(data); !errors.Is(err, wallet.ErrMasterKey) {
		return err
	}
	p.mu.Lock()
	if p.data == data {
		p.data = nil
	}
	p.mu.Unlock()
	if data, err = p.ready(ctx); err != nil {
		return err
	}
	return f(data)
}

// Personal implements wallethttp.Personal.
func (p *personal) Personal(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem) (d wallet.PersonalData, version uint64, err error) {
	err = p.with(ctx, func(data *wallet.Personal) (err error) {
		d, version, err = data.Personal(ctx, o, item)
		return err
	})
	return d, version, err
}

// PutPersonal implements wallethttp.Personal.
func (p *personal) PutPersonal(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem, d wallet.PersonalData, at uint64) (version uint64, code wallet.Code, err error) {
	err = p.with(ctx, func(data *wallet.Personal) (err error) {
		version, code, err = data.PutPersonal(ctx, o, item, d, at)
		return err
	})
	return version, code, err
}

// PatchPersonal implements wallethttp.Personal.
func (p *personal) PatchPersonal(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem, c wallet.PersonalChange, at uint64) (d wallet.PersonalData, version uint64, code wallet.Code, err error) {
	err = p.with(ctx, func(data *wallet.Personal) (err error) {
		d, version, code, err = data.PatchPersonal(ctx, o, item, c, at)
		return err
	})
	return d, version, code, err
}

// DeletePersonal implements wallethttp.Personal.
func (p *personal) DeletePersonal(ctx context.Context, o wallet.PersonalOwner, item wallet.PersonalItem, at uint64) error {
	return p.with(ctx, func(data *wallet.Personal) error { return data.DeletePersonal(ctx, o, item, at) })
}

// ErasePersonal implements wallethttp.Personal.
func (p *personal) ErasePersonal(ctx context.Context, o wallet.PersonalOwner, by string) (e wallet.Erasure, code wallet.Code, err error) {
	err = p.with(ctx, func(data *wallet.Personal) (err error) {
		e, code, err = data.ErasePersonal(ctx, o, by)
		return err
	})
	return e, code, err
}
