package queue_test

import (
	"fmt"

	"maru.example/queue"
)

// A batch is made, as a producer does, taken from what it sent, checked, given its place, and read.
func Example() {
	records := queue.AppendRecord(nil, &queue.Record{Key: []byte("alice"), Value: []byte("-12.50")}, queue.Header{Key: "currency", Value: []byte("USD")})
	records = queue.AppendRecord(records, &queue.Record{OffsetDelta: 1, TimestampDelta: 3, Key: []byte("bob"), Value: []byte("12.50")})
	sent := queue.AppendBatch(nil, &queue.BatchHead{
		LastOffsetDelta: 1, Count: 2, BaseTimestamp: 1764547200000, MaxTimestamp: 1764547200003, Producer: queue.NoProducer, Epoch: -1, BaseSequence: -1,
	}, records)

	b, _, err := queue.CutBatch(sent)
	if err != nil {
		panic(err)
	}
	if err := b.Check(); err != nil {
		panic(err)
	}
	b.Place(4711, 1)
	for r, err := range queue.Records(b.Packed(), b.Count()) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%d: %s %s", b.BaseOffset()+queue.Offset(r.OffsetDelta), r.Key, r.Value)
		for h := range r.Headers() {
			fmt.Printf(" (%s %s)", h.Key, h.Value)
		}
		fmt.Println()
	}
	// Output:
	// 4711: alice -12.50 (currency USD)
	// 4712: bob 12.50
}
