package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// pastView is an account at a moment, as --json prints it.
type pastView struct {
	accountView
	At        time.Time `json:"at"`        // the moment that was asked for
	Partition uint16    `json:"partition"` // of the account
	Entry     uint64    `json:"entry"`     // of the partition's log, the last one before that moment
	// Undecided is how many entries follow at the log's end that are not known to be
	// committed, and were left out.
	Undecided int `json:"undecided,omitempty"`
}

// warn says that the balance may lack something.
func (v *pastView) warn(w io.Writer) {
	if v.Undecided > 0 {
		fmt.Fprintf(w, "the last %d entries of partition %d's log are not known to be committed, and were left out: the log of another node may know\n", v.Undecided, v.Partition)
	}
}

func newBalanceCommand() *cobra.Command {
	var at, data string
	cmd, o := newAccountCommand("balance", "Show what an account holds, or held", `  maru wallet balance alice
  maru wallet balance alice --at 2026-11-30T12:00:00Z
  maru wallet balance alice --at 2026-11-30T12:00:00Z --data ./data`,
		func(cmd *cobra.Command, v accountView) error { return v.table().print(cmd.OutOrStdout()) })
	cmd.Long = `Show what an account holds. With --at, what it held at a moment: what had been decided
until then, by the time of the log's entries. The server answers from its history. With
--data all that came before is decided again, from the log in the directory of a server
that does not run, or a copy of it. Of a node that had others beside it, the newest entries
may not be known to be committed: it says so.`
	cmd.Flags().StringVar(&at, "at", "", "`moment` in the form of RFC 3339, such as 2026-11-30T12:00:00Z")
	cmd.Flags().StringVar(&data, "data", "", "with --at, `directory` of a server that does not run (default: the server is asked)")
	now := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if at == "" {
			if data != "" {
				return usageError("say of which moment with --at; what it holds now, its server says", "--data without --at")
			}
			return now(cmd, args)
		}
		if data == "" {
			return balanceOfPast(cmd, o, args[0], at)
		}
		return balanceAt(cmd, args[0], at, data)
	}
	return cmd
}

// balanceAt shows what an account held at a moment.
func balanceAt(cmd *cobra.Command, account, moment, data string) error {
	at, err := time.Parse(time.RFC3339Nano, moment)
	if err != nil {
		return usageError("such as 2026-11-30T12:00:00Z, or 2026-11-30T13:00:00.25+01:00", "--at %s is no moment in the form of RFC 3339", quoted(moment))
	}
	name, err := cmd.Flags().GetString("tenant")
	asJSON, err2 := cmd.Flags().GetBool("json")
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	id, tenant := wallet.AccountID(account), wallet.Tenant(cmp.Or(name, string(wallet.DefaultTenant)))
	if err := errors.Join(id.Validate(), tenant.Validate()); err != nil {
		return usageError("see `maru wallet open --help`", "%w", err)
	}
	past, err := openPast(cmd, data)
	if err != nil {
		return err
	}
	v, err := past.account(cmd, tenant, id, at)
	if err := errors.Join(err, past.Close()); err != nil {
		return err
	}
	v.warn(cmd.ErrOrStderr())
	if asJSON {
		return printJSON(cmd.OutOrStdout(), v)
	}
	return v.table().print(cmd.OutOrStdout())
}

// account returns an account as it was at a moment.
func (n *pastNode) account(cmd *cobra.Command, tenant wallet.Tenant, id wallet.AccountID, at time.Time) (*pastView, error) {
	partition := wallet.PartitionOf(tenant, id, uint16(n.identity.Partitions))
	g, err := n.group(partition)
	if err != nil {
		return nil, err
	}
	m := n.machine(partition)
	defer m.Release()
	from, err := n.before(g, at, m)
	if err != nil {
		return nil, err
	}
	limit := at.UnixNano()
	defer follow(cmd, func() string { return "deciding again" })()
	end, err := n.history.Replay(g.ID, from, g.Last, m, &rsmraft.ReplayOptions{Before: func(_ rsm.Index, t int64) error {
		if t > limit {
			return rsmraft.ErrStop
		}
		return cmd.Context().Err()
	}})
	if err != nil {
		return nil, openError(n.data, err)
	}
	a, ok := m.Find(tenant, id)
	if !ok {
		return nil, &failure{fmt.Errorf("%s was not open at %s", id, at.Format(time.RFC3339Nano)), "`maru wallet show " + string(id) + "` says when it was opened; tenants have accounts of their own: --tenant", exitRefused}
	}
	v := &pastView{accountView: viewAccount(a, money.Currency.String), At: at.UTC(), Partition: partition, Entry: uint64(end.Index)}
	if end.Index == g.Last {
		v.Undecided = g.Undecided
	}
	return v, nil
}

// before brings a machine to a state from which a moment can be reached: of a log that is
// whole, the beginning; else the oldest snapshot, if it is not too new.
func (n *pastNode) before(g rsmraft.GroupHistory, at time.Time, m *wallet.Machine) (rsm.State, error) {
	if g.Whole {
		return rsm.State{}, nil
	}
	from, _, err := n.begin(g, m)
	if err == nil && from.Time > at.UnixNano() {
		err = failed(fmt.Errorf("the log here begins at %s, with a snapshot: what was before was cut, or is on another node", time.Unix(0, from.Time).UTC().Format(time.RFC3339Nano)),
			"ask for a later moment, or use the directory, or a copy, that has the whole log")
	}
	return from, err
}

// group returns what is here of a partition.
func (n *pastNode) group(partition uint16) (rsmraft.GroupHistory, error) {
	for _, g := range n.groups {
		if g.ID == walletraft.Group(partition) {
			return g, nil
		}
	}
	return rsmraft.GroupHistory{}, failed(fmt.Errorf("this node has no replica of partition %d, to which the account belongs", partition), "use the directory of a node that has: see `maru cluster status`")
}
