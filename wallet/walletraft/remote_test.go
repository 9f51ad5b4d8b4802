package walletraft_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet/walletraft"
)

// TestAsk asks four nodes, of which each does what its case says, from a fifth.
func TestAsk(t *testing.T) {
	type behaviour string
	const (
		serves, silent, dead, without, full behaviour = "serves", "silent", "dead", "without", "full"
	)
	for _, tt := range []struct {
		name  string
		nodes []behaviour // 2, 3, ...
		first []rsmraft.NodeID
		again []rsmraft.NodeID // a second request goes to
		err   error
		once  bool // the request may not be repeated
	}{
		{"the first", []behaviour{serves, serves}, []rsmraft.NodeID{2}, []rsmraft.NodeID{2}, nil, false},
		{"the next", []behaviour{without, serves}, []rsmraft.NodeID{2, 3}, []rsmraft.NodeID{3}, nil, false},
		{"one that is silent", []behaviour{silent, without, serves}, []rsmraft.NodeID{2, 3, 4}, []rsmraft.NodeID{4}, nil, false},
		{"one that is dead", []behaviour{dead, serves}, []rsmraft.NodeID{3}, []rsmraft.NodeID{3}, nil, false},
		{"nobody has it", []behaviour{without, without}, []rsmraft.NodeID{2, 3}, []rsmraft.NodeID{2, 3}, rsm.ErrNoLeader, false},
		{"nobody answers", []behaviour{silent, without}, []rsmraft.NodeID{2, 3}, []rsmraft.NodeID{2, 3}, rsm.ErrUnknown, false},
		{"one that is full", []behaviour{full, serves}, []rsmraft.NodeID{2, 3}, []rsmraft.NodeID{3}, nil, false},
		{"one is full, and others have nothing", []behaviour{without, full, without}, []rsmraft.NodeID{2, 3, 4}, []rsmraft.NodeID{2, 3, 4}, rsm.ErrDiskFull, false},
		{"one that is silent, once only", []behaviour{silent, serves}, []rsmraft.NodeID{2}, []rsmraft.NodeID{2}, rsm.ErrUnknown, true},
		{"nobody is known", nil, nil, nil, rsm.ErrNoLeader, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := sim.New(1)
			net := sim.NewNetwork(w)
			var asked, members []rsmraft.NodeID
			start := func(id rsmraft.NodeID, b behaviour) *rsmraft.Host {
				p := w.Start()
				host, err := rsmraft.Open("data", id, &rsmraft.Options{
					FS: vfs.NewMem(), ReserveBytes: -1, Runtime: p, Network: net.Port(id, p),
					Serve: func(_ rsmraft.NodeID, group rsmraft.GroupID, request []byte, reply func([]byte, error)) {
						asked = append(asked, id)
						switch b {
						case serves:
							reply(append(request, byte(group)), nil)
						case without:
							reply(nil, rsm.ErrNoLeader)
						case full:
							reply(nil, rsm.ErrDiskFull)
						case silent, dead:
						}
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				net.Join(id, p, host.Receive)
				if b == dead {
					p.Kill()
				}
				return host
			}
			var host *rsmraft.Host
			r := walletraft.NewRemote(func() *rsmraft.Host { return host }, func(uint16) []rsmraft.NodeID { return members })
			ask := func(want []rsmraft.NodeID) {
				t.Helper()
				asked = nil
				var got string
				done := 0
				r.Ask(6, []byte("x"), !tt.once, func(answer []byte, _ time.Duration, err error) {
					done++
					got = fmt.Sprint(string(answer))
					if !errors.Is(err, tt.err) || tt.err == nil && err != nil {
						t.Errorf("got the error %v, want %v", err, tt.err)
					}
				})
				w.Run(time.Minute, func() bool { return done > 0 })
				if diff := cmp.Diff(want, asked); diff != "" || done != 1 || tt.err == nil && got != "x\x07" {
					t.Errorf("answered %d times with %q; nodes asked (-want +got):\n%s", done, got, diff)
				}
			}
			r.Ask(6, nil, true, func(_ []byte, _ time.Duration, err error) {
				if !errors.Is(err, rsm.ErrNoLeader) || r.Here(6) {
					t.Errorf("without a host: %v", err)
				}
			})
			host = start(1, without)
			members = append(members, 1)
			for i, b := range tt.nodes {
				start(rsmraft.NodeID(i+2), b)
				members = append(members, rsmraft.NodeID(i+2))
			}
			ask(tt.first)
			ask(tt.again)
		})
	}
}
