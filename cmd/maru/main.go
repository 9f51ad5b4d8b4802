// Command maru is the back end of a super-app in one program: it serves the
// wallet, and is the command line of its clients. `maru --help` shows what there is.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// main runs one command. The first interrupt asks it to end; a second one ends
// the process at once. An error ends here: what went wrong, a hint, and a status;
// with --json it is an object on standard output too, unless a result is there.
func main() {
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		end(signaledError{<-signals})
		<-signals
		os.Exit(report(os.Stderr, errors.New("ended by a second signal")))
	}()
	root := newRootCommand()
	stdout := &countingWriter{w: os.Stdout}
	root.SetOut(stdout)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && stdout.n == 0 && wantsJSON(cmd) {
		err = errors.Join(err, printJSON(os.Stdout, viewFailure(err)))
	}
	os.Exit(report(os.Stderr, err))
}

// signaledError is the cause of a context that a signal ended.
type signaledError struct{ signal os.Signal }

// Error names the signal, such as interrupt.
func (s signaledError) Error() string { return fmt.Sprintf("ended by a signal: %v", s.signal) }

// Is says that it is a kind of context.Canceled.
func (s signaledError) Is(target error) bool { return target == context.Canceled }

// newRootCommand returns the tree of commands.
func newRootCommand() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "maru",
		Short: "A durable wallet, and the house around it",
		Long: `Maru moves money between accounts, durably and exactly once: one program that
serves the wallet over HTTP and a batch stream, and the commands to use it.

Flags marked (env NAME) can be set in the environment. The exit status is 0 if all
went well, 1 if something failed, 2 if the command line is wrong, 3 if the rules of
the wallet refused (such as insufficient funds), 4 if a transfer is under way between
two partitions: it will be done or refused, and transfer-status tells; and 5 if what was
to be checked could not be, and nothing is known to be wrong.

With --json a command prints one object on standard output: its result or, if
there is none, {status, code, error, hint, transaction_id}. That status is failed, usage,
refused, pending or unchecked, as the exit status is 1, 2, 3, 4 or 5; code is the wallet's
or the server's name for what happened, where there is one.`,
		Example: `  maru serve
  maru wallet open alice --currency USD
  maru wallet open mint --currency USD --min-balance unlimited
  maru wallet transfer mint alice 100.00 USD
  maru wallet balance alice`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return applyEnvironment(cmd.Flags()) },
	},
		newServeCommand(),
		newWalletCommand(),
		newClusterCommand(),
		newTenantCommand(),
		newKeyCommand(),
		newBenchCommand(),
		newVersionCommand(),
		newCompletionCommand(),
	)
	completeNoFiles(root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		hint := "see `" + cmd.CommandPath() + " --help`"
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
			if word := unknown.GetSpecifiedShortnames(); word != "" && '0' <= word[0] && word[0] <= '9' {
				hint = "an amount below zero stands behind two dashes: -- -" + word
			}
		}
		return usageError(hint, "%w", err)
	})
	return root
}

// group makes cmd the parent of commands. Alone it prints its help; a word that
// is none of them is an error that names the nearest.
func group(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(children...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := "see `" + cmd.CommandPath() + " --help`"
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean `" + cmd.CommandPath() + " " + near[0] + "`?"
		}
		return usageError(hint, "unknown command %q", cmd.CommandPath()+" "+args[0])
	}
	return cmd
}

// exactArgs wants one argument for each name.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return usageError("see `"+cmd.CommandPath()+" --help`", "%s takes %s: got %d arguments",
			cmd.CommandPath(), strings.Join(names, " "), len(args))
	}
}

// noArgs wants none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError("see `"+cmd.CommandPath()+" --help`", "%s takes no arguments", cmd.CommandPath())
}

// environmentPrefix begins the names of all environment variables.
const environmentPrefix = "MARU_"

// environmentKey annotates the flags that the environment may set.
const environmentKey = "maru_environment"

// fromEnvironment lets the environment set flags: --max-rows is MARU_MAX_ROWS.
// What the command line says goes first. An empty variable is as good as none.
func fromEnvironment(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		f := cmd.Flags().Lookup(name)
		variable := environmentPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		f.Annotations = map[string][]string{environmentKey: {variable}}
		f.Usage += " (env " + variable + ")"
	}
}

// applyEnvironment sets the flags that were not given from the environment.
func applyEnvironment(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		variable := f.Annotations[environmentKey]
		if err != nil || f.Changed || len(variable) == 0 {
			return
		}
		value := os.Getenv(variable[0])
		if value == "" {
			return
		}
		if setErr := flags.Set(f.Name, value); setErr != nil {
			err = usageError("correct the variable, or unset it", "%s: %w", variable[0], setErr)
		}
	})
	return err
}

// wantsJSON says whether a command was given --json, also if its flags could not
// be parsed up to it.
func wantsJSON(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("json")
	return f != nil && (f.Value.String() == "true" || slices.Contains(os.Args, "--json"))
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print one JSON object, for programs")
}
