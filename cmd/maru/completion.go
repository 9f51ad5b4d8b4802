package main

import (
	"github.com/spf13/cobra"
)

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
