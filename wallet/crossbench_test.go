package wallet

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"maru.example/rsm"
)

// BenchmarkCross takes full batches of transfers between accounts of two
// partitions, drawn at random, through all phases, and reports what the machine
// of either side takes for a transfer in each.
func BenchmarkCross(b *testing.B) {
	const accounts = 500_000
	for _, protocol := range []Protocol{TCC, Saga, TwoPhase} {
		b.Run(fmt.Sprintf("protocol=%v", protocol), func(b *testing.B) {
			p, q := newPartition(0, 2), newPartition(1, 2)
			openLocal(b, p, accounts)
			openLocal(b, q, accounts)
			r := rand.New(rand.NewPCG(5, 6))
			spent := map[string]time.Duration{}
			apply := func(phase string, m *Machine, data []byte) []byte {
				begin := time.Now()
				out := m.Apply(nil, rsm.Batch{Data: data})
				spent[phase] += time.Since(begin)
				return out
			}
			done := 0
			for ; done < b.N; done += MaxBatch {
				batch := AppendHeader(nil, Header{Kind: KindCrossTransfers, Count: MaxBatch})
				for range MaxBatch {
					t := crossHandleTransfer{HandleTransfer{From: Handle(1 + r.IntN(accounts)), To: inQ(Handle(1 + r.IntN(accounts))), Amount: 1, Currency: usd}, r.Uint64(), protocol}
					binary.LittleEndian.PutUint64(t.ID[:], r.Uint64())
					binary.LittleEndian.PutUint64(t.ID[8:], r.Uint64())
					batch = appendCrossHandleTransfer(batch, &t)
				}
				apply("begin", p, batch)
				var messages []message
				for round := 1; ; round++ {
					begin := time.Now()
					if messages, _ = p.due(messages[:0], 1, 0, MaxBatch); len(messages) == 0 {
						break
					}
					body := appendMessages(AppendHeader(nil, Header{Kind: KindParticipate, Count: len(messages)}), 0, 1, p.low(1))
					for i := range messages {
						body = appendMessage(body, &messages[i])
					}
					spent["collect"] += time.Since(begin)
					codes := apply(fmt.Sprintf("message%d", round), q, body)
					answers := appendAnswers(AppendHeader(nil, Header{Kind: KindPhases, Count: len(messages)}), 0, 1)
					for i, code := range codes {
						answers = appendAnswer(answers, answer{messages[i].action, Code(code), messages[i].seq})
					}
					apply(fmt.Sprintf("answer%d", round), p, answers)
				}
			}
			var sum time.Duration
			for phase, d := range spent {
				sum += d
				b.ReportMetric(float64(d.Nanoseconds())/float64(done), "ns-"+phase)
			}
			b.ReportMetric(float64(sum.Nanoseconds())/float64(done), "ns/op")
		})
	}
}

// openLocal opens n accounts, without limit, of a machine's partition.
func openLocal(tb testing.TB, m *Machine, n int) {
	tb.Helper()
	for i := 0; m.accounts.len < uint64(n); {
		batch, count := AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: MaxBatch}), 0
		for ; count < MaxBatch; i++ {
			id := AccountID(fmt.Sprintf("acct-%d", i))
			if PartitionOf(DefaultTenant, id, m.options.Partitions) == m.options.Partition {
				batch = AppendAccount(batch, &NewAccount{id, usd, Unlimited})
				count++
			}
		}
		m.Apply(nil, rsm.Batch{Data: batch})
	}
}
