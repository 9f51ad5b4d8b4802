package leaders_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/leaders"
)

func TestNotice(t *testing.T) {
	for text, want := range map[string]*leaders.Notice{
		"2/4 c0ffee acme http://10.0.0.7:7480": {Partitions: []uint16{2}, Of: 4, Cluster: "c0ffee", Tenant: "acme", Address: "http://10.0.0.7:7480"},
		"0,1023/1024 c a h:1":                  {Partitions: []uint16{0, 1023}, Of: 1024, Cluster: "c", Tenant: "a", Address: "h:1"},
		"":                                     nil,
		"2/4":                                  nil,
		"4/4 c a h:1":                          nil,
		"/4 c a h:1":                           nil,
		"1,/4 c a h:1":                         nil,
		"1 c a h:1":                            nil,
		"1/65536 c a h:1":                      nil,
		"-1/4 c a h:1":                         nil,
		"1/4 c  h:1":                           nil,
		"1/4 c a h:1 x":                        nil,
	} {
		got, err := leaders.Parse(text)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
		if want != nil && want.String() != text {
			t.Errorf("got %q, want %q", want, text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("2/4 c0ffee acme http://10.0.0.7:7480")
	f.Add("0,1/2 c a h:1")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := leaders.Parse(text)
		if err != nil {
			return
		}
		if again, err := leaders.Parse(n.String()); err != nil || !cmp.Equal(n, again) {
			t.Errorf("%q: got %v, %v after %v", text, again, err, n)
		}
	})
}

func TestLocal(t *testing.T) {
	for hostport, want := range map[string]bool{
		"127.0.0.1:1": true, "localhost:1": true, "[::1]:1": true, "0.0.0.0:1": true, "[::]:1": true, "127.0.0.1": true, "[::1]": true,
		"10.0.0.1:1": false, "node1:1": false, "[2001:db8::1]:1": false, "": false,
	} {
		if got := leaders.Local(hostport); got != want {
			t.Errorf("%q: got %v", hostport, got)
		}
	}
}

func TestTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table leaders.Table
		wants := func(when string, partition uint16, want leaders.Leader) {
			t.Helper()
			got, ok := table.Find(func(string, uint16) uint16 { return partition })
			if !ok {
				got = leaders.Leader{}
			}
			if got != want {
				t.Errorf("%s: partition %d: got %+v, want %+v", when, partition, got, want)
			}
		}
		notice := func(address, cluster string, partitions ...uint16) *leaders.Notice {
			return &leaders.Notice{Partitions: partitions, Of: 3, Cluster: cluster, Tenant: "acme", Address: address}
		}
		wants("nothing known", 0, leaders.Leader{})
		table.Learn(notice("a", "c", 0, 1))
		table.Learn(notice("b", "c", 1))
		wants("learned", 0, leaders.Leader{Address: "a", Cluster: "c"})
		wants("learned", 1, leaders.Leader{Address: "b", Cluster: "c"})
		wants("learned", 2, leaders.Leader{})
		table.Find(func(tenant string, of uint16) uint16 {
			if tenant != "acme" || of != 3 {
				t.Errorf("asked for the partition of %q of %d", tenant, of)
			}
			return 0
		})
		for _, pause := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
			table.Failed("a")
			table.Failed("a") // at the same time
			wants("failed", 0, leaders.Leader{})
			time.Sleep(pause - time.Nanosecond)
			wants("almost rested", 0, leaders.Leader{})
			time.Sleep(time.Nanosecond)
			wants("rested", 0, leaders.Leader{Address: "a", Cluster: "c"})
		}
		table.Reached("a")
		table.Failed("a")
		time.Sleep(10 * time.Second)
		wants("reached in between", 0, leaders.Leader{Address: "a", Cluster: "c"})
		table.Replace([]*leaders.Notice{notice("b", "c", 2)})
		if diff := cmp.Diff([]leaders.Leader{{}, {}, {Address: "b", Cluster: "c"}}, table.All()); diff != "" {
			t.Errorf("replaced (-want +got):\n%s", diff)
		}
		table.Learn(notice("b", "another", 1))
		wants("another cluster", 2, leaders.Leader{})
		wants("another cluster", 1, leaders.Leader{Address: "b", Cluster: "another"})
		table.Replace(nil)
		if got := table.All(); got != nil {
			t.Errorf("nobody leads: got %+v", got)
		}
	})
}
