package walletgrpc_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"maru.example/rsm"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// answeringLog is a log on which all batches have one end.
type answeringLog struct {
	wallet.PartitionLog
	code wallet.Code
	err  error
}

func (l answeringLog) Propose(context.Context, []byte) ([]byte, rsm.Position, error) {
	return []byte{byte(l.code)}, rsm.Position{}, l.err
}

func (l answeringLog) Submit(_ context.Context, p *rsm.Proposal) error {
	p.Done([]byte{byte(l.code)}, rsm.Position{}, l.err)
	return nil
}

func (l answeringLog) StartRead(fn func(error)) { fn(nil) }

func (l answeringLog) TrySubmit(ctx context.Context, p *rsm.Proposal) error { return l.Submit(ctx, p) }

func (answeringLog) ApplyLoop() rsm.Loop  { return atOnce{} }
func (answeringLog) OnLeading(func(bool)) {}

// atOnce is a loop that runs everything at once.
type atOnce struct{}

func (atOnce) Post(f func()) { f() }
func (atOnce) After(_ time.Duration, f func()) (cancel func()) {
	f()
	return func() {}
}

// TestOutcomes shows what a client is told of a transfer that is under way, and
// of what a log without a leader does.
func TestOutcomes(t *testing.T) {
	for name, tt := range map[string]struct {
		log  answeringLog
		want wallet.Code
		text string // of an error with the status UNAVAILABLE
	}{
		"pending":   {answeringLog{code: wallet.Pending}, wallet.Pending, ""},
		"no leader": {answeringLog{err: fmt.Errorf("%w: group 1", rsm.ErrNoLeader)}, 0, "nothing was done, try again: rsm: no leader: group 1"},
		"no majority": {
			answeringLog{err: fmt.Errorf("%w: group 1", rsm.ErrNoMajority)},
			0,
			"nothing was done, `maru cluster status` shows which nodes are away: rsm: no leader for long: a majority of the replicas is away: group 1",
		},
		"unknown": {
			answeringLog{err: fmt.Errorf("%w: not all was decided: %w", rsm.ErrUnknown, rsm.ErrDiskFull)},
			0,
			"the outcome is unknown, repeat what was not answered: rsm: outcome unknown: not all was decided: rsm: disk nearly full",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := serveLog(t, tt.log)
			results, err := client.Transfers(t.Context(), nil, []wallet.HandleTransfer{{ID: txid(1), From: 1, To: 1<<48 + 1, Amount: 1, Currency: usd}})
			if tt.text != "" {
				if status.Code(err) != codes.Unavailable || !strings.HasSuffix(err.Error(), tt.text) {
					t.Errorf("got %v, want %s", err, tt.text)
				}
				return
			}
			if err != nil || len(results) != 1 || results[0].Code() != tt.want {
				t.Errorf("got %v, %v, want %v", results, err, tt.want)
			}
		})
	}
}

// serveLog returns a client of a wallet on a log.
func serveLog(t *testing.T, log wallet.PartitionLog) *walletgrpc.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := walletgrpc.NewServer(wallet.NewService(log, wallet.NewMachine(nil)), nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client, err := walletgrpc.Dial(t.Context(), l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}
