package wallet

import (
	"encoding/binary"

	"maru.example/money"
)

// A cut is a state of all partitions that could have been: where one has taken a message or
// an answer of another, that one has come so far as to send it. Entries of one moment alone are
// no cut where clocks differ. Presumes and Explains let who decides several partitions again find one; so do NamedAssets and
// HasAsset, for assets, which the first partition makes and others name by number.

// Presumes returns the partition without whose decisions a batch would not have come into the log of
// another one; false if there is none.
func Presumes(partition uint16, data []byte) (other uint16, ok bool) {
	h, body, err := ParseHeader(data)
	switch {
	case err != nil || h.Tenant != 0:
		return 0, false
	case h.Kind == KindParticipate && len(body) >= messagesPrefix && binary.LittleEndian.Uint16(body[2:]) == partition:
		other = binary.LittleEndian.Uint16(body)
	case h.Kind == KindPhases && len(body) >= answersPrefix && binary.LittleEndian.Uint16(body) == partition:
		other = binary.LittleEndian.Uint16(body[2:])
	case h.Kind == KindCreateTenants: // the first partition gives them their numbers
		other = 0
	default:
		return 0, false
	}
	if _, err := Validate(data); err != nil {
		return 0, false // it changed nothing
	}
	return other, other != partition
}

// Explains says whether a batch in the log of another partition, which presumes this one (see
// [Presumes]), follows from what is decided here: nothing is in it that this partition has yet to send.
func (m *Machine) Explains(partition uint16, data []byte) bool {
	h, body, err := ParseHeader(data)
	if err != nil || int(partition) >= len(m.crossing.peers) {
		return true
	}
	switch h.Kind { //nolint:exhaustive // the others presume nothing
	case KindParticipate:
		return m.explainsMessages(partition, binary.LittleEndian.Uint64(body[4:]), body[messagesPrefix:])
	case KindPhases:
		return m.explainsAnswers(partition, body[answersPrefix:])
	case KindCreateTenants:
		for len(body) > 0 {
			n := 1 + int(body[0])
			if m.tenantNumber(string(body[1:n])) < 0 {
				return false
			}
			body = body[n:]
		}
	}
	return true
}

func (m *Machine) explainsMessages(peer uint16, low uint64, records []byte) bool {
	out := &m.crossing.peers[peer].out
	if low > out.low {
		return false
	}
	for len(records) > 0 {
		v := parseMessage(records)
		if v.seq >= out.next || v.seq >= out.low && !m.sent(out.at(v.seq), v.action) {
			return false
		}
		records = records[messageSize(records):]
	}
	return true
}

// sent says that a message of a transfer was due, now or before.
func (m *Machine) sent(f *flight, a action) bool {
	switch a {
	case actConfirm:
		return f.phase == Confirming || f.phase == Finished
	case actCancel:
		return f.phase == Canceling || f.phase == Finished
	case noAction, actTry, actPrepare, actCredit, actGiveUp, actTryLegs, actCreditLegs, endAction:
	}
	if f.phase == Waiting && f.isPart() { // for its turn, or for the others since it has agreed
		t := m.crossing.transactions[transactionKey{f.key, f.tenant}]
		return t.stage != stageAsking || t.parts[f.participant()].agreed
	}
	return true
}

func (m *Machine) explainsAnswers(peer uint16, records []byte) bool {
	in := &m.crossing.peers[peer].in
	for ; len(records) >= answerBytes; records = records[answerBytes:] {
		a := parseAnswer(records)
		if a.action == actGiveUp || !a.valid() || a.seq < in.low {
			continue // no answer of this partition, or one that changes nothing; or it is finished on both sides
		}
		if a.seq >= in.next {
			return false
		}
		switch s := in.at(a.seq).state; a.action {
		case actConfirm:
			if s != stateCredited {
				return false
			}
		case actCancel:
			if s != stateRefused {
				return false
			}
		case noAction, actTry, actPrepare, actCredit, actGiveUp, actTryLegs, actCreditLegs, endAction:
			if s == stateUnseen {
				return false
			}
		}
	}
	return true
}

// NamedAssets returns the assets that a batch in the log of a partition takes for made: those of accounts that it opens, and
// currencies that it adds. Whatever else names one has such an account before it. They should be among those that the first
// partition has made by then ([Machine.HasAsset]), but need not be: a partition does not look.
func NamedAssets(data []byte) (tenant uint16, all []money.Currency) {
	h, body, err := ParseHeader(data)
	if err != nil || h.Kind != KindOpenAccounts && h.Kind != KindAddCurrency {
		return 0, nil
	}
	if _, err := Validate(data); err != nil {
		return 0, nil // it changed nothing
	}
	size := commandSize(h.Kind)
	for len(body) > 0 {
		n := size(body)
		if _, c, _ := parseAccount(body[:n]); isAsset(c) {
			all = append(all, c)
		}
		body = body[n:]
	}
	return h.Tenant, all
}

func isAsset(c money.Currency) bool {
	_, ok := c.Asset()
	return ok
}

// HasAsset says whether a tenant has an asset. The first partition knows.
func (m *Machine) HasAsset(tenant uint16, c money.Currency) bool {
	number, ok := c.Asset()
	return ok && int(tenant) < len(m.tenants) && number < len(m.tenants[tenant].assets) && m.tenants[tenant].assets[number].Currency == c
}

// MadeAssets returns the assets that a batch in the log of the first partition made, or found made, by its results; sure is false
// if these are not known, and it may have made any of the tenant's.
func MadeAssets(data, results []byte) (tenant uint16, all []money.Currency, sure bool) {
	h, err := Validate(data)
	if err != nil || h.Kind != KindCreateAssets {
		return 0, nil, true
	}
	size := resultSize(KindCreateAssets)
	if len(results) != h.Count*size {
		return h.Tenant, nil, false
	}
	for ; len(results) > 0; results = results[size:] {
		if c := money.Currency(binary.LittleEndian.Uint16(results[1:])); Code(results[0]) == Applied {
			all = append(all, c)
		}
	}
	return h.Tenant, all, true
}
