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
	"maru.example/wallet"
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
	// Ends is the time of the last entry that is here, if that is before the moment.
	Ends *time.Time `json:"ends,omitempty"`
	// Warnings say what the balance may lack.
	Warnings []string `json:"warnings,omitempty"`
}

// warn notes, and says, that the balance may lack something.
func (v *pastView) warn(w io.Writer) {
	if v.Undecided > 0 {
		v.Warnings = append(v.Warnings, fmt.Sprintf("this may not be all: %s at the end of partition %d's log not known to be committed, and what is changed there is left out, though it may have been answered; another node's directory, or this one once it has run again, may know",
			several(v.Undecided, "entry is", "entries are"), v.Partition))
	}
	if v.Ends != nil {
		v.Warnings = append(v.Warnings, fmt.Sprintf("what is here of partition %d ends at %s, before the moment that was asked for: what came later is not in it", v.Partition, v.Ends.Format(time.RFC3339Nano)))
	}
	for _, says := range v.Warnings {
		fmt.Fprintf(w, "warning: %s\n", says)
	}
}

func newBalanceCommand() *cobra.Command {
	var at string
	var past pastFlags
	cmd, o := newAccountCommand("balance", "Show what an account holds, or held", `  maru wallet balance alice
  maru wallet balance alice --at 2026-11-30T12:00:00Z
  maru wallet balance alice --at 2026-11-30T12:00:00Z --data ./data`,
		func(cmd *cobra.Command, v accountView) error { return v.table().print(cmd.OutOrStdout()) })
	cmd.Long = `Show what an account holds. With --at, what it held at a moment: what had been decided
until then, by the time of the log's entries. The server answers from its history. With
--data what came before is decided again, from the log in the directory of a server that
does not run, or a copy of it, and from its archive. Of a node that had others beside it,
the newest entries may not be known to be committed: it says so.`
	cmd.Flags().StringVar(&at, "at", "", "`moment` in the form of RFC 3339, such as 2026-11-30T12:00:00Z")
	cmd.Flags().StringVar(&past.data, "data", "", "with --at, `directory` of a server that does not run (default: the server is asked)")
	cmd.Flags().StringVar(&past.archive, "archive", "", "with --at, `place` of an archive (default: the one of --data)")
	now := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if at == "" {
			if past != (pastFlags{}) {
				return usageError("say of which moment with --at; what it holds now, its server says", "--data without --at")
			}
			return now(cmd, args)
		}
		if past == (pastFlags{}) {
			return balanceOfPast(cmd, o, args[0], at)
		}
		if past.data == "" {
			past.data = noData
		}
		return balanceAt(cmd, args[0], at, &past)
	}
	return cmd
}

// balanceAt shows what an account held at a moment.
func balanceAt(cmd *cobra.Command, account, moment string, f *pastFlags) error {
	at, err := parseMoment("--at", moment)
	if err != nil {
		return err
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
	past, err := openPast(cmd, f)
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
	p, err := n.partition(partition)
	if err != nil {
		return nil, err
	}
	m := n.machine(partition)
	defer m.Release()
	limit := at.UnixNano()
	from, err := n.nearest(p, limit, m)
	if err == nil && from.Time > limit {
		err = failed(fmt.Errorf("what is here begins at %s, with a snapshot: what was before was cut, or is on another node", time.Unix(0, from.Time).UTC().Format(time.RFC3339Nano)),
			"ask for a later moment, or use the directory, a copy or the archive that has everything")
	}
	if err != nil {
		return nil, err
	}
	defer follow(cmd, func() string { return "deciding again" })()
	d, later := newDecider(m, from, nil), false
	err = n.read(cmd.Context(), p, from.Index+1, func(e *rsm.Decided) error {
		if max(e.Time, rsm.EntryTime(e.Entry)) > limit {
			later = true
			return errStop
		}
		return errors.Join(d.decide(e), cmd.Context().Err())
	})
	if err != nil {
		return nil, pastError(n.data, err)
	}
	end := d.at()
	ends := time.Unix(0, end.Time).UTC()
	if !later && n.history == nil {
		return nil, failed(fmt.Errorf("the archive of partition %d goes to %s: what came later is not in it yet", partition, ends.Format(time.RFC3339Nano)),
			"ask for an earlier moment; or ask the server, or give the directory with --data once it is stopped")
	}
	a, ok := m.Find(tenant, id)
	if !ok {
		return nil, &failure{fmt.Errorf("%s was not open at %s", id, at.Format(time.RFC3339Nano)), "`maru wallet show " + string(id) + "` says when it was opened; tenants have accounts of their own: --tenant", exitRefused}
	}
	v := &pastView{accountView: viewAccount(a, money.Currency.String), At: at.UTC(), Partition: partition, Entry: uint64(end.Index)}
	if end.Index == p.log.Last {
		v.Undecided = p.log.Undecided
	}
	if !later {
		v.Ends = &ends
	}
	return v, nil
}

// partition returns what is here of a partition.
func (n *pastNode) partition(number uint16) (*pastPartition, error) {
	for _, p := range n.partitions {
		if p.number == number {
			return p, nil
		}
	}
	return nil, failed(fmt.Errorf("nothing is here of partition %d, to which the account belongs", number), "use the directory of a node that has a replica: see `maru cluster status`")
}
