package queue

import "fmt"

// Code is the queue's answer to a command. The numbers are part of the format and are
// never given anew.
type Code uint8

// The codes. All but the first two are refusals, after which nothing has changed.
const (
	NoCode                       Code = iota // none yet
	Appended                                 // it is in the log
	DuplicateBatch                           // it was in the log before, at the offset that is answered
	OutOfOrderSequence                       // batches of the producer before it are missing, or it is an old one again
	InvalidProducerEpoch                     // a later producer has taken over from this one
	InvalidTransactionState                  // a batch outside of the transaction that its producer has open here
	TransactionCoordinatorFenced             // a later coordinator has ended transactions of the producer
)

// String returns the code's name in the documentation of the format.
func (c Code) String() string {
	switch c {
	case NoCode:
		return "none"
	case Appended:
		return "appended"
	case DuplicateBatch:
		return "duplicate_batch"
	case OutOfOrderSequence:
		return "out_of_order_sequence"
	case InvalidProducerEpoch:
		return "invalid_producer_epoch"
	case InvalidTransactionState:
		return "invalid_transaction_state"
	case TransactionCoordinatorFenced:
		return "transaction_coordinator_fenced"
	}
	return fmt.Sprintf("code %d", uint8(c))
}
