package wallethook

import (
	"testing"

	"maru.example/wallet"
	"maru.example/wallet/wallettest"
)

// BenchmarkLane is the cost, for each event, of a lane that wants none of them: one of a webhook for an account
// that nobody pays.
func BenchmarkLane(b *testing.B) {
	const transfers = 4096
	w := newWorld(1, 3)
	p := w[0]
	p.open(p.accounts[0])
	p.open(p.accounts[1])
	p.commit()
	h := wallet.Header{Kind: wallet.KindTransfers, Count: transfers}
	p.apply(h, func(body []byte) []byte {
		for i := range transfers {
			body = wallet.AppendHandleTransfer(body, &wallet.HandleTransfer{
				ID: wallet.TransactionID{2, byte(i >> 8), byte(i)}, From: p.handles[p.accounts[i%2]], To: p.handles[p.accounts[1-i%2]], Amount: 1, Currency: usd,
			})
		}
		return body
	})
	p.commit()
	webhook := &wallet.Webhook{ID: "wh_0000000000000000", Tenant: wallet.DefaultTenant, Kinds: wallet.WebhookKinds(), Accounts: p.accounts[2:]}
	e := &Engine{o: Options{Busy: func() bool { return false }}, store: &wallettest.WebhookMemory{}, wallet: w, partitions: w.partitions()}
	e.markers = append(e.markers, newMarker(e, 0))
	l := &lane{e: e, marker: e.markers[0], webhook: webhook, partition: &e.partitions[0]}
	if _, err := l.load(b.Context()); err != nil {
		b.Fatal(err)
	}
	d := p.entries[1]
	for b.Loop() {
		l.state.Next.Index = d.Index
		if err := l.deliverAll(b.Context(), &d); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*transfers), "ns/event")
}
