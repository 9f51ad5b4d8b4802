package rsmpeer

import "sync"

// messageOverhead is what a message counts in a queue beside its data.
const messageOverhead = 64

// message is what waits to be sent.
type message struct {
	parts [][]byte
	size  int // of the parts together
}

// A queue holds the messages for one lane of one peer, in order and bounded. It
// is filled by Send and emptied by one goroutine.
type queue struct {
	maxBytes    int64
	maxMessages int
	wake        chan struct{} // holds a token when messages wait

	mu      sync.Mutex
	waiting []message
	spare   []message // becomes waiting at the next take
	// What waits and what was taken and is not written yet.
	bytes    int64
	messages int
	shut     bool // takes nothing: the peer cannot be reached
}

func newQueue(maxBytes int64, maxMessages int) *queue {
	return &queue{maxBytes: maxBytes, maxMessages: maxMessages, wake: make(chan struct{}, 1)}
}

// push adds a message, or returns false.
func (q *queue) push(parts [][]byte) bool {
	m := message{parts: parts}
	for _, p := range parts {
		m.size += len(p)
	}
	cost := int64(m.size + messageOverhead)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shut || m.size > MaxMessageBytes || q.messages >= q.maxMessages || q.messages > 0 && q.bytes+cost > q.maxBytes {
		return false
	}
	q.waiting = append(q.waiting, m)
	q.bytes += cost
	q.messages++
	if len(q.waiting) == 1 {
		q.signal()
	}
	return true
}

// take returns all that waits. It is valid until the next call, and counted
// until the caller says that it is written.
func (q *queue) take() []message {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.waiting
	q.waiting, q.spare = q.spare[:0], taken
	return taken
}

// written gives back the room of messages that were taken.
func (q *queue) written(messages int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages -= messages
	q.bytes -= bytes + int64(messages)*messageOverhead
}

// reset drops what waits and what was taken and not written, and returns how
// many messages that were. Until the next call it takes new ones if open.
func (q *queue) reset(open bool) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped = q.messages
	clear(q.waiting)
	clear(q.spare)
	q.waiting, q.spare = q.waiting[:0], q.spare[:0]
	q.messages, q.bytes, q.shut = 0, 0, !open
	return dropped
}

// open lets new messages in.
func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut = false
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) size() (messages int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.messages, q.bytes
}
