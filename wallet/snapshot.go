package wallet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"maru.example/money"
	"maru.example/rsm"
)

// A snapshot of the machine is a header, blocks in any order, and an end block:
// see docs/format/wallet.md.
const (
	snapshotMagic   = "MARUWLT1"
	blockTenants    = 1
	blockAccounts   = 2
	blockBalances   = 3
	blockIDs        = 4
	blockEnd        = 5
	blockPartition  = 6 // and the rest in crosssnap.go, holdsnap.go and transactionsnap.go
	blockAssets     = 18
	blockHeadBytes  = 16
	accountRowBytes = 38 // and the name
	balanceRowBytes = 22
	idRowBytes      = 24
)

// ErrSnapshot says that bytes are not a snapshot of a wallet.
var ErrSnapshot = errors.New("wallet: malformed snapshot")

// snapshot gives the machine's state as it was when it was opened.
type snapshot struct {
	m       *Machine
	started bool
	ended   bool
	cross   crossImage
	used    uint64 // rows of holds and limits
	time    int64  // the machine's
	tenants int    // how many there were
	tables  []imageTable
	old     oldImage
	table   int // where the walk over ids stands
	segment int
	entry   uint32
}

// Snapshot fixes the state; its time does not depend on the number of accounts
// but for one bit each. What is in flight is copied: up to MaxInFlight transfers
// to and from each other partition.
func (m *Machine) Snapshot() rsm.Snapshot {
	if m.open != nil {
		panic("wallet: a snapshot is open")
	}
	s := &snapshot{m: m, cross: m.image(), tenants: len(m.tenants), tables: m.imageTables(), old: m.oldImage()}
	m.imageAssets(&s.cross)
	m.accounts.freeze()
	m.balances.freeze()
	m.holds.rows.freeze()
	m.spends.rows.freeze()
	s.used, s.time = m.holds.rows.used()+m.spends.rows.used(), m.holds.now
	m.reversals.freeze()
	m.open = s
	return s
}

// Close gives up what is kept for the snapshot.
func (s *snapshot) Close() {
	if s.m.open == s {
		s.m.accounts.thaw()
		s.m.balances.thaw()
		s.m.holds.rows.thaw()
		s.m.spends.rows.thaw()
		s.m.reversals.thaw()
		s.m.open = nil
	}
	s.ended = true
}

// Next appends about budget bytes of the snapshot to dst.
func (s *snapshot) Next(dst []byte, budget int) (out []byte, more bool) {
	if s.ended {
		return dst, false
	}
	if !s.started {
		s.started = true
		dst = s.head(dst)
	}
	for end := len(dst) + budget; len(dst) < end; {
		var more bool
		if dst, more = s.block(dst); !more {
			s.ended = true
			return appendBlock(dst, blockEnd, 0, 0, s.count()), false
		}
	}
	return dst, true
}

// count is the number of all rows, which the end block repeats.
func (s *snapshot) count() uint64 {
	n := s.m.accounts.frozen + s.m.balances.frozen + s.m.reversals.frozen + s.cross.rows + s.used
	for i := range s.tables {
		n += s.tables[i].rows()
	}
	return n
}

func (s *snapshot) head(dst []byte) []byte {
	dst = append(dst, snapshotMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, s.m.accounts.frozen)
	dst = binary.LittleEndian.AppendUint64(dst, s.m.balances.frozen)
	dst = s.old.appendRuns(dst)
	dst = appendBlock(dst, blockTenants, 0, s.tenants, 0)
	for _, t := range s.m.tenants[:s.tenants] {
		dst = AppendName(dst, t.name)
	}
	dst = s.old.appendCounts(dst)
	if n := s.m.options.Partitions; n > 1 {
		dst = appendBlock(dst, blockPartition, int(s.m.options.Partition), 0, uint64(n))
	}
	if s.used > 0 {
		dst = appendBlock(dst, blockTime, 0, 0, uint64(s.time))
	}
	if n := s.m.reversals.frozen; n > 0 {
		dst = appendBlock(dst, blockReversed, 0, 0, n)
	}
	return dst
}

func appendBlock(dst []byte, kind byte, tenant, rows int, first uint64) []byte {
	dst = append(dst, kind, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(tenant))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(rows))
	return binary.LittleEndian.AppendUint64(dst, first)
}

// block appends one block of rows, if there is one.
func (s *snapshot) block(dst []byte) ([]byte, bool) {
	if out, more := s.cross.block(dst); more {
		return out, true
	}
	if s.m.accounts.next(func(first uint64, rows []account) {
		dst = appendBlock(dst, blockAccounts, 0, len(rows), first)
		for i := range rows {
			dst = s.m.appendAccount(dst, &rows[i])
		}
	}) {
		return dst, true
	}
	if s.m.balances.next(func(first uint64, rows []balance) {
		dst = appendBlock(dst, blockBalances, 0, len(rows), first)
		for i := range rows {
			dst = appendBalance(dst, &rows[i])
		}
	}) {
		return dst, true
	}
	if out, more := s.holdBlock(dst); more {
		return out, true
	}
	if s.m.reversals.next(func(first uint64, rows []reversal) {
		dst = appendBlock(dst, blockReversals, 0, len(rows), first)
		for i := range rows {
			dst = appendReversal(dst, &rows[i])
		}
	}) {
		return dst, true
	}
	return s.idBlock(dst)
}

func (m *Machine) appendAccount(dst []byte, a *account) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(a.amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(a.floor))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(a.opened))
	dst = binary.LittleEndian.AppendUint32(dst, a.next)
	dst = binary.LittleEndian.AppendUint32(dst, a.openSum)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(a.currency))
	dst = binary.LittleEndian.AppendUint16(dst, a.tenant)
	dst = append(dst, byte(a.status&^marks), a.nameLen)
	return append(dst, m.arena.get(a.name, a.nameLen)...)
}

func appendBalance(dst []byte, b *balance) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.amount))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.floor))
	dst = binary.LittleEndian.AppendUint32(dst, b.next)
	return binary.LittleEndian.AppendUint16(dst, uint16(b.currency))
}

// Restore replaces the state by a snapshot's.
func (m *Machine) Restore(r io.Reader) error {
	in := &restorer{m: NewMachine(&m.options), in: bufio.NewReaderSize(r, 1<<18)}
	in.m.old.files, in.m.old.page = m.old.files, m.old.page
	if _, err := in.in.Peek(1); err != io.EOF {
		if err := in.restore(); err != nil {
			in.m.old.leave()
			return err
		}
	}
	m.old.leave()
	*m = *in.m
	return nil
}

// restorer reads a snapshot into a fresh machine.
type restorer struct {
	m    *Machine
	in   *bufio.Reader
	buf  [64 + 256]byte
	rows uint64 // read so far
	// how many rows are still missing
	accounts, balances uint64
	partition          bool // was read, if there are several
	reversals          uint64
	tried              int                // transactions of others that were tried here
	pending            int                // ids whose row says Pending
	old                uint64             // ids in runs that no tenant has accounted for yet
	holds              map[holdKey]uint32 // rows
	captures           []captureRow
}

func (r *restorer) restore() error {
	head, err := r.read(len(snapshotMagic) + 16)
	if err != nil {
		return err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return fmt.Errorf("%w: no magic number", ErrSnapshot)
	}
	r.accounts = binary.LittleEndian.Uint64(head[8:])
	r.balances = binary.LittleEndian.Uint64(head[16:])
	if r.accounts > MaxAccounts || r.balances > MaxAccounts {
		return fmt.Errorf("%w: %d accounts and %d balances", ErrSnapshot, r.accounts, r.balances)
	}
	r.m.accounts.resize(r.accounts)
	r.m.balances.resize(r.balances)
	for {
		done, err := r.block()
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	if err := r.joinReversals(); err != nil {
		return err
	}
	if r.accounts != 0 || r.balances != 0 {
		return fmt.Errorf("%w: %d accounts and %d balances are missing", ErrSnapshot, r.accounts, r.balances)
	}
	if r.old != 0 {
		return fmt.Errorf("%w: %d old ids are of no tenant", ErrSnapshot, r.old)
	}
	if _, err := r.in.Peek(1); err != io.EOF {
		return fmt.Errorf("%w: bytes after the end", ErrSnapshot)
	}
	return r.joinCrossing()
}

// read returns the next n bytes, at most len(buf), valid until the next call.
func (r *restorer) read(n int) ([]byte, error) {
	if _, err := io.ReadFull(r.in, r.buf[:n]); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: cut short", ErrSnapshot)
		}
		return nil, err
	}
	return r.buf[:n], nil
}

// block reads one block and says whether it was the end.
func (r *restorer) block() (done bool, err error) {
	head, err := r.read(blockHeadBytes)
	if err != nil {
		return false, err
	}
	kind, tenant := head[0], binary.LittleEndian.Uint16(head[2:])
	n, first := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint64(head[8:])
	if kind == blockEnd {
		if first != r.rows {
			return true, fmt.Errorf("%w: %d rows, the end says %d", ErrSnapshot, r.rows, first)
		}
		return true, nil
	}
	if kind == blockTime {
		r.m.holds.now = int64(first)
		return false, nil
	}
	switch {
	case kind >= blockPartition && kind <= blockTotals:
		return false, r.crossBlock(kind, tenant, n, first)
	case kind >= blockReversed && kind <= blockLegs:
		return false, r.transactionBlock(kind, n, first)
	case kind == blockRuns:
		return false, r.runs(n)
	case kind == blockOldCounts:
		return false, r.oldCounts(n)
	}
	for i := range uint64(n) {
		switch kind {
		case blockTenants:
			err = r.tenant(i)
		case blockAccounts:
			err = r.account(first + i)
		case blockBalances:
			err = r.balance(first + i)
		case blockIDs:
			err = r.id(tenant)
		case blockHolds:
			err = r.holdRow()
		case blockCaptures:
			err = r.captureRow()
		case blockLimits:
			err = r.limitRow()
		case blockAssets:
			err = r.asset(tenant)
		default:
			err = fmt.Errorf("%w: block of kind %d", ErrSnapshot, kind)
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

func (r *restorer) name(n uint8) (string, error) {
	b, err := r.read(int(n))
	if err != nil {
		return "", err
	}
	if !validName(string(b)) {
		return "", fmt.Errorf("%w: name %q", ErrSnapshot, b)
	}
	return string(b), nil
}

func (r *restorer) tenant(i uint64) error {
	b, err := r.read(nameBytes)
	if err != nil {
		return err
	}
	name, err := r.name(b[0])
	switch {
	case err != nil:
		return err
	case i == 0 && name == string(DefaultTenant) && len(r.m.tenants) == 1:
		return nil
	case i == 0 || i >= MaxTenants || r.m.tenantNumber(name) >= 0:
		return fmt.Errorf("%w: tenant %d is %q", ErrSnapshot, i, name)
	}
	r.m.addTenant(name)
	return nil
}

func (r *restorer) account(row uint64) error {
	b, err := r.read(accountRowBytes)
	if err != nil {
		return err
	}
	a := account{
		funds:    readFunds(b),
		opened:   int64(binary.LittleEndian.Uint64(b[16:])),
		next:     binary.LittleEndian.Uint32(b[24:]),
		openSum:  binary.LittleEndian.Uint32(b[28:]),
		currency: money.Currency(binary.LittleEndian.Uint16(b[32:])),
		tenant:   binary.LittleEndian.Uint16(b[34:]),
		status:   Status(b[36]),
		nameLen:  b[37],
	}
	name, err := r.name(a.nameLen)
	if err != nil {
		return err
	}
	hash := r.m.names.hash(a.tenant, name)
	m := r.m
	switch {
	case row >= m.accounts.len, int(a.tenant) >= len(m.tenants), a.status > Closed, a.currency == 0,
		uint64(a.next) > m.balances.len, m.filled(row):
		return fmt.Errorf("%w: account %d, %q", ErrSnapshot, row, name)
	case m.find(a.tenant, name, hash) != 0:
		return fmt.Errorf("%w: two accounts are %q", ErrSnapshot, name)
	}
	a.hash, a.name = nameHash(name), m.arena.add(name)
	m.accounts.set(row, a)
	m.names.add(hash, uint32(row+1))
	r.accounts--
	r.rows++
	return nil
}

func readFunds(b []byte) funds {
	return funds{amount: money.Amount(binary.LittleEndian.Uint64(b)), floor: money.Amount(binary.LittleEndian.Uint64(b[8:]))}
}

// filled says that a row of accounts was read before.
func (m *Machine) filled(row uint64) bool {
	return m.accounts.chunks[row/chunkRows] != nil && m.accounts.at(row).nameLen != 0
}

func (r *restorer) balance(row uint64) error {
	b, err := r.read(balanceRowBytes)
	if err != nil {
		return err
	}
	m := r.m
	v := balance{
		funds:    readFunds(b),
		next:     binary.LittleEndian.Uint32(b[16:]),
		currency: money.Currency(binary.LittleEndian.Uint16(b[20:])),
	}
	// Balances are added at the end of an account's list: a later one follows
	// an earlier one, so that no list can go in a circle.
	if row >= m.balances.len || v.currency == 0 || uint64(v.next) > m.balances.len || v.next != 0 && uint64(v.next) <= row+1 ||
		m.balances.chunks[row/chunkRows] != nil && m.balances.at(row).currency != 0 {
		return fmt.Errorf("%w: balance %d", ErrSnapshot, row)
	}
	m.balances.set(row, v)
	r.balances--
	r.rows++
	return nil
}

func (r *restorer) id(tenant uint16) error {
	b, err := r.read(idRowBytes)
	if err != nil {
		return err
	}
	if int(tenant) >= len(r.m.tenants) {
		return fmt.Errorf("%w: ids of tenant %d", ErrSnapshot, tenant)
	}
	ids := &r.m.tenants[tenant].ids
	k, meta := makeKey(b), binary.LittleEndian.Uint64(b[16:])
	h := ids.hash(k)
	e, free := ids.find(k, h)
	if Code(meta) == Undecided || int(uint8(meta)) >= len(codeNames) || ids.full(h) || e != nil {
		return fmt.Errorf("%w: id %x", ErrSnapshot, b[:16])
	}
	if Code(meta) == Pending {
		r.pending++
	}
	ids.add(k, h, meta, free)
	r.m.old.recent++
	r.rows++
	return nil
}
