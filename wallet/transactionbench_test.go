package wallet

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/rsm"
)

// BenchmarkTransactions takes batches of transactions of four legs, between accounts
// drawn at random of one, two and four partitions, through all phases, and reports
// what the machines of all of them take for one.
func BenchmarkTransactions(b *testing.B) {
	for _, partitions := range []uint16{1, 2, 4} {
		for _, by := range []Protocol{TCC, Saga} {
			if partitions > 1 || by == TCC {
				b.Run(fmt.Sprintf("partitions=%d/protocol=%v", partitions, by), func(b *testing.B) { benchmarkTransactions(b, partitions, by) })
			}
		}
	}
}

func benchmarkTransactions(b *testing.B, partitions uint16, by Protocol) {
	const accounts, batch = 100_000, 2048
	parts, names := make([]*Machine, partitions), make([][]AccountID, partitions)
	for p := range parts {
		parts[p] = newPartition(uint16(p), partitions)
		openLocal(b, parts[p], accounts)
		for row := range uint64(accounts) {
			names[p] = append(names[p], parts[p].account(parts[p].base+Handle(row)+1).ID)
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	spent := time.Duration(0)
	apply := func(m *Machine, data []byte) []byte {
		begin := time.Now()
		out := m.Apply(nil, rsm.Batch{Data: data})
		spent += time.Since(begin)
		return out
	}
	done := 0
	for ; done < b.N; done += batch {
		data := AppendHeader(nil, Header{Kind: KindCrossTransactions, Count: batch})
		for range batch {
			t, handles := Transaction{}, make([]Handle, 4)
			binary.LittleEndian.PutUint64(t.ID[:], r.Uint64())
			binary.LittleEndian.PutUint64(t.ID[8:], r.Uint64())
			for i := range handles {
				p, row := i%int(partitions), r.IntN(accounts)
				handles[i] = parts[p].base + Handle(row) + 1
				t.Postings = append(t.Postings, Posting{names[p][row], money.Amount(1 - 2*(i%2)), usd})
			}
			data = appendCrossTransaction(data, AppendTransaction(nil, &t), by, handles)
		}
		apply(parts[0], data)
		for quiet := false; !quiet; {
			quiet = true
			for peer := uint16(1); peer < partitions; peer++ {
				messages, _ := parts[0].due(nil, peer, 0, MaxBatch)
				if len(messages) == 0 {
					continue
				}
				quiet = false
				body := appendMessages(AppendHeader(nil, Header{Kind: KindParticipate, Count: len(messages)}), 0, peer, parts[0].low(peer))
				for i := range messages {
					body = appendMessage(body, &messages[i])
				}
				codes := apply(parts[peer], body)
				answers := appendAnswers(AppendHeader(nil, Header{Kind: KindPhases, Count: len(messages)}), 0, peer)
				for i, code := range codes {
					answers = appendAnswer(answers, answer{messages[i].action, Code(code), messages[i].seq})
				}
				apply(parts[0], answers)
			}
		}
	}
	if n := parts[0].decided[Applied]; n < uint64(done)*99/100 {
		b.Fatalf("%d of %d were applied", n, done)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(done), "ns/op")
}
