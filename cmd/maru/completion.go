package main

import (
	"github.com/spf13/cobra"

	"maru.example/money"
)

// completeFlag lets a shell complete the value of a flag.
func completeFlag(cmd *cobra.Command, name string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// completeCurrency lets a shell complete a currency as the argument at a place,
// counted from 0, and nothing at others.
func completeCurrency(place int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) != place {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return currencyCodes(), cobra.ShellCompDirectiveNoFileComp
	}
}

func currencyCodes() []string {
	var codes []string
	for _, c := range money.Currencies() {
		codes = append(codes, c.String())
	}
	return codes
}

// completeNoFiles keeps shells from completing names of files as arguments of
// the command and those below it, where they do not say otherwise.
func completeNoFiles(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, child := range cmd.Commands() {
		completeNoFiles(child)
	}
}

// completeFiles lets shells complete names of files as arguments.
func completeFiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func newCompletionCommand() *cobra.Command {
	shell := func(name, example string, write func(root, cmd *cobra.Command) error) *cobra.Command {
		return &cobra.Command{
			Use:     name,
			Short:   "Print the completion script for " + name,
			Example: example,
			Args:    noArgs,
			RunE:    func(cmd *cobra.Command, _ []string) error { return write(cmd.Root(), cmd) },
		}
	}
	return group(&cobra.Command{
		Use:     "completion",
		Short:   "Print a script that lets a shell complete maru's commands",
		Example: "  source <(maru completion bash)",
	},
		shell("bash", "  source <(maru completion bash)\n  maru completion bash > /etc/bash_completion.d/maru",
			func(root, cmd *cobra.Command) error { return root.GenBashCompletionV2(cmd.OutOrStdout(), true) }),
		shell("zsh", `  maru completion zsh > "${fpath[1]}/_maru"`,
			func(root, cmd *cobra.Command) error { return root.GenZshCompletion(cmd.OutOrStdout()) }),
		shell("fish", "  maru completion fish > ~/.config/fish/completions/maru.fish",
			func(root, cmd *cobra.Command) error { return root.GenFishCompletion(cmd.OutOrStdout(), true) }),
	)
}
