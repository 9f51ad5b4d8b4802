package wallet

import "maru.example/rsm"

// IDQuery asks what was done under a transaction id in the partition that decided it.
type IDQuery struct {
	Partition uint16        `json:"partition,omitzero"`
	Tenant    uint16        `json:"tenant,omitzero"`
	ID        TransactionID `json:"id"`
}

// FoundEvents is an answer to an IDQuery: the events of the command, as they were when
// it was decided or begun; none if the history has nothing of it.
type FoundEvents struct {
	Events  []PastEvent `json:"events,omitempty"`
	Mark    HistoryMark `json:"mark"`
	Decided rsm.Index   `json:"decided,omitzero"` // what is decided on the node, and may not be taken up yet; 0: not known
}
