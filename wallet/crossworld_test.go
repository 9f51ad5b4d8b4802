package wallet

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/rsm"
)

// world is some machines, one a partition, each with a log from which it is
// restored when it crashes; what is on its way between them; and the model.
type world struct {
	parts   []*worldPart
	packets []packet
	recent  uint64 // RecentIDs of the machines
	model   *crossModel
	names   [][]AccountID // of each tenant
	now     int64
	ids     int // given to commands about holds
}

type worldPart struct {
	disk     *handDisk
	m        *Machine
	books    *eventBooks
	image    []byte // the newest snapshot
	log      []rsm.Batch
	open     rsm.Snapshot
	opened   int // length of the log
	partial  []byte
	finished map[string]Code
	time     int64 // of the last batch
}

// packet is a batch on its way: messages to a payee's partition, or answers back.
type packet struct {
	from, to uint16
	low      uint64
	messages []message
	answers  []answer
}

func newWorld(t *rapid.T, partitions uint16) *world {
	w := &world{recent: rapid.SampledFrom([]uint64{0, 20}).Draw(t, "recent ids"), model: &crossModel{
		partitions: partitions, tenants: []Tenant{DefaultTenant, "acme"}, accounts: map[string]*modelAccount{},
		decided: map[string]*modelDecision{}, announced: map[[2]uint16]uint64{}, limits: map[*Balance]*modelLimit{},
	}}
	for p := range partitions {
		part := &worldPart{finished: map[string]Code{}, books: newEventBooks(), disk: &handDisk{}}
		w.parts = append(w.parts, part)
		part.m = w.machine(t, p, partitions)
		w.apply(p, KindCreateTenants, 0, 2, AppendName(AppendName(nil, "default"), "acme"))
	}
	for tenant := range w.model.tenants {
		w.names = append(w.names, nil)
		for i, have := 0, make([]int, partitions); len(w.names[tenant]) < int(partitions)*(3-tenant); i++ {
			id := AccountID(fmt.Sprintf("a%d", i))
			p := PartitionOf(w.model.tenants[tenant], id, partitions)
			if have[p] == 3-tenant {
				continue
			}
			smallest := []money.Amount{Unlimited, 0, -20}[have[p]]
			have[p]++
			w.openAccount(t, p, uint16(tenant), NewAccount{id, usd, smallest}, i%2 == 0)
		}
	}
	return w
}

func (w *world) machine(t *rapid.T, number, of uint16) *Machine {
	p := w.parts[number]
	return p.disk.machine(t, &MachineOptions{Partition: number, Partitions: of, expired: 1, RecentIDs: w.recent, Finished: func(tenant uint16, id TransactionID, c Code) {
		p.finished[fmt.Sprint(number, tenant, id)] = c
	}})
}

// disks lets a machine's disk work on.
func (w *world) disks(t *rapid.T) { w.parts[w.partition(t, "partition")].disk.work(t) }

func (w *world) openAccount(t *rapid.T, p, tenant uint16, a NewAccount, yen bool) {
	for q := range w.parts {
		got := ParseOpened(w.apply(uint16(q), KindOpenAccounts, tenant, 1, AppendAccount(nil, &a)))
		if uint16(q) != p {
			if got.Code != WrongPartition {
				t.Fatalf("open %s in partition %d: %v", a.ID, q, got.Code)
			}
			continue
		}
		v := &modelAccount{Partition: p, Tenant: tenant, Handle: got.Handle, Balances: []Balance{{Currency: a.Currency, Min: a.Min}}}
		if yen {
			w.apply(p, KindAddCurrency, tenant, 1, AppendAccount(nil, &NewAccount{a.ID, jpy, Unlimited}))
			v.Balances = append(v.Balances, Balance{Currency: jpy, Min: Unlimited})
		}
		w.model.accounts[fmt.Sprint(tenant, "/", a.ID)] = v
		w.names[tenant] = append(w.names[tenant], a.ID)
	}
}

// apply commits a batch in a partition.
func (w *world) apply(p uint16, kind Kind, tenant uint16, count int, body []byte) []byte {
	w.now++
	w.model.now = w.now + 1
	part := w.parts[p]
	part.time = w.now
	b := rsm.Batch{Time: w.now, Data: append(AppendHeader(nil, Header{kind, tenant, count}), body...)}
	part.log = append(part.log, b)
	if other, ok := Presumes(p, b.Data); ok && int(other) < len(w.parts) && !w.parts[other].m.Explains(p, b.Data) {
		panic(fmt.Sprintf("a batch of %v in partition %d does not follow from what partition %d has decided", kind, p, other))
	}
	return part.books.take(part.m, b)
}

func (w *world) partition(t *rapid.T, label string) uint16 {
	return uint16(rapid.IntRange(0, len(w.parts)-1).Draw(t, label))
}

// transfers begins a batch of transfers, of which some go to the wrong
// partition, name accounts that there are not, or repeat an id.
func (w *world) transfers(t *rapid.T) {
	tenant := uint16(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "tenant"))
	at := w.partition(t, "at")
	kind := rapid.SampledFrom([]Kind{KindTransfersByName, KindCrossTransfers, KindCrossTransfers, KindCrossTransfersByName}).Draw(t, "kind")
	pick := func(label string, here bool) AccountID {
		var fit []AccountID
		anywhere := rapid.IntRange(0, 9).Draw(t, "anywhere") == 0
		for _, id := range w.names[tenant] {
			if anywhere || (w.model.account(tenant, id).Partition == at) == here {
				fit = append(fit, id)
			}
		}
		return rapid.SampledFrom(append(fit, "nobody")).Draw(t, label)
	}
	n := rapid.IntRange(1, 10).Draw(t, "n")
	var body, want []byte
	for range n {
		v := modelTransfer{at: at, tenant: tenant, t: Transfer{
			ID: txid(uint64(rapid.IntRange(1, 200).Draw(t, "id"))), From: pick("from", true), To: pick("to", kind == KindTransfersByName),
			Amount:   money.Amount(rapid.SampledFrom([]int64{1, 2, 3, 5, 8, 20, 100, 0, math.MaxInt64, math.MaxInt64 - 30}).Draw(t, "amount")),
			Currency: rapid.SampledFrom([]money.Currency{usd, usd, usd, jpy}).Draw(t, "currency"),
		}}
		if kind != KindTransfersByName {
			v.protocol = rapid.SampledFrom([]Protocol{TCC, TCC, Saga, TwoPhase}).Draw(t, "protocol")
			if a := w.model.account(tenant, v.t.To); a != nil {
				v.handle = a.Handle
			}
			if rapid.IntRange(0, 9).Draw(t, "odd handle") == 0 {
				v.handle = Handle(rapid.IntRange(0, len(w.parts)).Draw(t, "of"))<<partitionShift | Handle(rapid.IntRange(0, 9).Draw(t, "row"))
				if v.handle<<16 == 0 {
					v.handle = 0
				}
			}
		}
		body = w.encode(body, kind, &v)
		want = append(want, byte(w.model.transfer(v)))
	}
	same(t, w.apply(at, kind, tenant, n, body), want)
}

// encode appends a transfer, and gives the model what the encoding says of it.
func (w *world) encode(body []byte, kind Kind, v *modelTransfer) []byte {
	switch kind { //nolint:exhaustive // those of transfers between partitions
	case KindTransfersByName:
		return AppendTransfer(body, &v.t)
	case KindCrossTransfersByName:
		return appendCrossTransfer(body, &crossTransfer{v.t, v.handle, v.protocol})
	}
	r := crossHandleTransfer{HandleTransfer{v.t.ID, 0, v.handle, v.t.Amount, v.t.Currency}, unknownHash(v.handle), v.protocol}
	if a := w.model.account(v.tenant, v.t.From); a != nil {
		r.From = a.Handle
	}
	if r.From == 0 {
		r.From = Handle(v.at)<<partitionShift | 99
		v.t.From = AccountID(fmt.Sprintf("#%d", r.From))
	}
	v.byHandle = true
	v.t.To = AccountID(fmt.Sprintf("#%d", v.handle))
	for _, id := range w.names[v.tenant] {
		if w.model.account(v.tenant, id).Handle == v.handle {
			v.t.To, r.toHash = id, nameHash(id)
		}
	}
	return appendCrossHandleTransfer(body, &r)
}

func (w *world) setStatus(t *rapid.T) {
	tenant := uint16(rapid.IntRange(0, 1).Draw(t, "tenant"))
	id := rapid.SampledFrom(w.names[tenant]).Draw(t, "id")
	a := w.model.account(tenant, id)
	to := rapid.SampledFrom([]Status{Open, Open, Open, Frozen, Closed}).Draw(t, "status")
	want := w.model.setStatus(a, to)
	same(t, w.apply(a.Partition, KindSetStatus, tenant, 1, AppendStatus(nil, id, to)), []byte{byte(want)})
	elsewhere := (a.Partition + 1) % uint16(len(w.parts))
	same(t, w.apply(elsewhere, KindSetStatus, tenant, 1, AppendStatus(nil, id, to)), []byte{byte(WrongPartition)})
}

func (w *world) setLimit(t *rapid.T) {
	id := rapid.SampledFrom(w.names[0]).Draw(t, "id")
	a := w.model.account(0, id)
	smallest := rapid.SampledFrom([]money.Amount{0, -20, Unlimited}).Draw(t, "min")
	want := AccountClosed
	if a.Status != Closed {
		a.hold(usd).Min, want = smallest, Applied
	}
	same(t, w.apply(a.Partition, KindSetLimit, 0, 1, AppendAccount(nil, &NewAccount{id, usd, smallest})), []byte{byte(want)})
}

// send puts messages that are due on their way.
func (w *world) send(t *rapid.T) {
	from, to := w.partition(t, "from"), w.partition(t, "to")
	if from == to {
		return
	}
	m := w.parts[from].m
	cursor := m.low(to) + uint64(rapid.IntRange(0, 10).Draw(t, "cursor"))
	messages, _ := m.due(nil, to, cursor, rapid.IntRange(1, 10).Draw(t, "limit"))
	if len(messages) > 0 {
		w.packets = append(w.packets, packet{from: from, to: to, low: m.low(to), messages: messages})
	}
}

// deliver brings any packet to its partition, which may come again, and puts
// the answers on their way.
func (w *world) deliver(t *rapid.T) {
	if len(w.packets) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.packets)-1).Draw(t, "packet")
	v := w.packets[i]
	if rapid.IntRange(0, 2).Draw(t, "again") > 0 {
		w.packets = append(w.packets[:i], w.packets[i+1:]...)
	}
	if v.messages != nil {
		w.packets = append(w.packets, w.exchange(t, v))
		return
	}
	w.answer(t, v)
}

// flow brings all that is due between two partitions there and the answers back,
// of which copies come late.
func (w *world) flow(t *rapid.T) {
	from, to := w.partition(t, "from"), w.partition(t, "to")
	m := w.parts[from].m
	messages, _ := m.due(nil, to, 0, rapid.IntRange(1, 20).Draw(t, "limit"))
	if from == to || len(messages) == 0 {
		return
	}
	there := packet{from: from, to: to, low: m.low(to), messages: messages}
	back := w.exchange(t, there)
	w.packets = append(w.packets, there, back)
	w.answer(t, back)
}

// exchange applies messages and returns their answers.
func (w *world) exchange(t *rapid.T, v packet) packet {
	body := appendMessages(nil, v.from, v.to, v.low)
	var want []byte
	for i := range v.messages {
		body = appendMessage(body, &v.messages[i])
		want = append(want, byte(w.model.request(v.from, v.to, v.low, v.messages[i])))
	}
	got := w.apply(v.to, KindParticipate, 0, len(v.messages), body)
	same(t, got, want)
	out := packet{from: v.from, to: v.to}
	for i, code := range got {
		out.answers = append(out.answers, answer{v.messages[i].action, Code(code), v.messages[i].seq})
	}
	return out
}

func (w *world) answer(t *rapid.T, v packet) {
	body := appendAnswers(nil, v.from, v.to)
	var want []byte
	for _, a := range v.answers {
		body = appendAnswer(body, a)
		want = append(want, byte(w.model.answer(v.from, v.to, a)))
	}
	same(t, w.apply(v.from, KindPhases, 0, len(v.answers), body), want)
}

func (w *world) drop(t *rapid.T) {
	if len(w.packets) > 0 {
		i := rapid.IntRange(0, len(w.packets)-1).Draw(t, "packet")
		w.packets = append(w.packets[:i], w.packets[i+1:]...)
	}
}

// giveUp cancels a transfer in any phase.
func (w *world) giveUp(t *rapid.T) {
	if n := len(w.model.flights); n > 0 {
		f := w.model.flights[rapid.IntRange(max(0, n-10), n-1).Draw(t, "flight")]
		w.answer(t, packet{from: f.from, to: f.to, answers: []answer{{action: actGiveUp, seq: f.seq}}})
	}
}

// snapshot begins a snapshot of a partition, or goes on with it.
func (w *world) snapshot(t *rapid.T) {
	p := w.parts[w.partition(t, "partition")]
	if p.open == nil {
		p.open, p.opened, p.partial = p.m.Snapshot(), len(p.log), nil
	}
	var more bool
	if p.partial, more = p.open.Next(p.partial, rapid.IntRange(1, 2000).Draw(t, "budget")); !more {
		p.open.Close()
		p.image, p.log, p.open = p.partial, p.log[p.opened:], nil
	}
}

// crash replaces a machine by one restored from the newest snapshot, which may
// be of now, and the log after it.
func (w *world) crash(t *rapid.T) {
	number := w.partition(t, "partition")
	p := w.parts[number]
	if p.open != nil {
		p.open.Close()
		p.open = nil
	}
	if rapid.Bool().Draw(t, "new snapshot") {
		p.image, p.log = image(p.m), nil
	}
	m := w.machine(t, number, uint16(len(w.parts)))
	if err := m.Restore(bytes.NewReader(p.image)); err != nil {
		t.Fatal(err)
	}
	for _, b := range p.log {
		m.Apply(nil, b)
	}
	if diff := gocmp.Diff(describe(p.m), describe(m)); diff != "" {
		t.Fatalf("partition %d differs after a crash (-before +after):\n%s", number, diff)
	}
	if before, after := p.m.Sum(), m.Sum(); before != after {
		t.Fatalf("partition %d has the sum %x, and %x after a crash", number, before, after)
	}
	p.m = m
}

// check compares every balance, what is pending, every lock and decision with the
// model, and adds up the money of each partition.
func (w *world) check(t *rapid.T) {
	for p, part := range w.parts {
		if diff := part.books.diff(part.m); diff != "" {
			t.Fatalf("the events of partition %d do not tell its accounts (-machine +events):\n%s", p, diff)
		}
	}
	defer func() { w.model.now = w.now + 1 }()
	for _, want := range w.model.sorted() {
		m := w.parts[want.Partition].m
		w.model.now = w.parts[want.Partition].time
		w.model.show(want)
		got := m.account(want.Handle)
		if diff := gocmp.Diff(want, &modelAccount{want.Partition, want.Tenant, got.Handle, got.Status, got.Balances}); diff != "" {
			t.Fatalf("account %s (-want +got):\n%s", got.ID, diff)
		}
		a := m.get(want.Tenant, want.Handle)
		if locked := a.status&locked != 0; locked != w.model.locked(want) {
			t.Fatalf("account %s is locked: %v", got.ID, locked)
		}
		for _, b := range want.Balances {
			if h, _ := m.hold(want.Handle, a, b.Currency); fmt.Sprint(h.pending) != w.model.pending(want, b.Currency).String() {
				t.Fatalf("account %s: %d are pending, want %v", got.ID, h.pending, w.model.pending(want, b.Currency))
			}
		}
	}
	for key, d := range w.model.decided {
		var at, tenant uint16
		var s string
		if _, err := fmt.Sscan(key, &at, &tenant, &s); err != nil {
			t.Fatal(err)
		}
		id, err := ParseTransactionID(s)
		if err != nil {
			t.Fatal(err)
		}
		if e, found := w.parts[at].m.lookupID(tenant, makeKey(id[:])); !found || e.code() != d.code {
			t.Fatalf("transfer %s is not %v", key, d.code)
		}
		if c, ok := w.parts[at].finished[key]; ok && c != d.code {
			t.Fatalf("transfer %s: the hook said %v, want %v", key, c, d.code)
		}
	}
	for p := range w.parts {
		w.checkMoney(t, uint16(p))
		w.checkReversals(t, uint16(p))
	}
}

// checkMoney checks the sums of a partition, in the figures of the machine alone
// and against the model's.
func (w *world) checkMoney(t *rapid.T, p uint16) {
	m := w.parts[p].m
	for k, total := range m.crossing.totals.all {
		out, in := w.model.crossed(p, k.peer, k.tenant, k.currency)
		if total.out.big().Cmp(out) != 0 || total.in.big().Cmp(in) != 0 {
			t.Fatalf("partition %d, %v: out %v, in %v, want %v, %v", p, k, total.out.big(), total.in.big(), out, in)
		}
	}
	checkInvariant(t, m)
	for q := range w.parts {
		from, to := uint16(q), p
		in := w.parts[p].m.crossing.peers[q].in
		if announced := max(1, w.model.announced[[2]uint16{from, to}]); in.low != announced {
			t.Fatalf("partition %d keeps transfers of %d from number %d on, want %d", p, q, in.low, announced)
		}
		if low := w.model.low(p, uint16(q)); m.low(uint16(q)) != low {
			t.Fatalf("partition %d: transfers to %d are unfinished from number %d on, want %d", p, q, m.low(uint16(q)), low)
		}
	}
}

// checkInvariant checks the books of a partition by themselves.
func checkInvariant(tb interface{ Fatalf(string, ...any) }, m *Machine) {
	if _, err := m.Audit(); err != nil {
		tb.Fatalf("%v", err)
	}
}

// heal lets all messages through until nothing is in flight, then those that
// were late, and compares the balances with the transfers that were applied.
func (w *world) heal(t *rapid.T) {
	for round := 0; ; round++ {
		quiet := true
		for from := range w.parts {
			for to := range w.parts {
				m := w.parts[from].m
				messages, _ := m.due(nil, uint16(to), 0, MaxInFlight)
				if len(messages) > 0 {
					quiet = false
					w.answer(t, w.exchange(t, packet{from: uint16(from), to: uint16(to), low: m.low(uint16(to)), messages: messages}))
				}
			}
		}
		w.check(t)
		if quiet {
			break
		}
		if round == 8 { // a saga goes from one participant to the next, and back
			t.Fatal("transfers are not finished after eight rounds")
		}
	}
	for _, v := range w.packets {
		if v.messages != nil {
			v = w.exchange(t, v)
		}
		w.answer(t, v)
	}
	w.check(t)
	w.checkApplied(t)
}

// checkApplied compares the balances with the transfers that were applied.
func (w *world) checkApplied(t *rapid.T) {
	want := map[string]money.Amount{} // wraps around, and back
	key := func(h Handle, c money.Currency) string { return fmt.Sprint(h, c) }
	for _, d := range w.model.decided {
		if d.code == Applied && d.tx != nil {
			for _, l := range d.tx.legs {
				want[key(l.account.Handle, l.currency)] += l.amount
			}
		} else if d.code == Applied && d.what != "hold" {
			payee := d.payee
			if payee == 0 {
				payee = w.model.account(d.tenant, d.t.To).Handle
			}
			want[key(w.model.account(d.tenant, d.t.From).Handle, d.t.Currency)] -= d.t.Amount
			want[key(payee, d.t.Currency)] += d.t.Amount
		}
	}
	for p, part := range w.parts {
		if list, _, _ := part.m.inFlight(nil, inFlightCursor{}, MaxInFlight); len(list) != 0 || part.m.crossing.phases != [endPhase]uint64{} {
			t.Fatalf("partition %d has %v in flight, phases %v", p, list, part.m.crossing.phases)
		}
		for row := range part.m.accounts.len {
			a := part.m.account(part.m.base + Handle(row) + 1)
			for _, b := range a.Balances {
				if sum := want[key(a.Handle, b.Currency)]; sum != b.Amount {
					t.Fatalf("account %s has %d, the transfers that were applied make %d", a.ID, b.Amount, sum)
				}
			}
		}
	}
}

// TestPartitionsAgainstModel runs machines and a naive coordinator, whose messages
// are lost, doubled, late and out of order, beside the model. Machines crash.
func TestPartitionsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.SampledFrom([]uint16{2, 3, 3, 4}).Draw(t, "partitions"))
		t.Repeat(map[string]func(*rapid.T){
			"":             w.check,
			"transfers":    w.transfers,
			"transfers 2":  w.transfers,
			"transactions": w.transactions,
			"send":         w.send,
			"send 2":       w.send,
			"deliver":      w.deliver,
			"deliver 2":    w.deliver,
			"deliver 3":    w.deliver,
			"flow":         w.flow,
			"flow 2":       w.flow,
			"drop":         w.drop,
			"give up":      w.giveUp,
			"set status":   w.setStatus,
			"set limit":    w.setLimit,
			"snapshot":     w.snapshot,
			"crash":        w.crash,
			"crash 2":      w.crash,
			"disk":         w.disks,
			"disk 2":       w.disks,
		})
		w.heal(t)
	})
}

// TestTransactionsAgainstModel is the same with transactions and reversals for most
// of what is done.
func TestTransactionsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.SampledFrom([]uint16{2, 3, 4}).Draw(t, "partitions"))
		t.Repeat(map[string]func(*rapid.T){
			"":               w.check,
			"transactions":   w.transactions,
			"transactions 2": w.transactions,
			"transfers":      w.transfers,
			"reversals":      w.reversals,
			"reversals 2":    w.reversals,
			"deliver":        w.deliver,
			"deliver 2":      w.deliver,
			"flow":           w.flow,
			"flow 2":         w.flow,
			"flow 3":         w.flow,
			"flow 4":         w.flow,
			"give up":        w.giveUp,
			"give up 2":      w.giveUp,
			"set status":     w.setStatus,
			"snapshot":       w.snapshot,
			"crash":          w.crash,
			"disk":           w.disks,
		})
		w.heal(t)
	})
}
