package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/verdict"
)

const rootLong = `patchlab tells what a patch will do to your server, by doing it to a clone: it starts a virtual
machine from an image, takes a baseline, applies the patch one increment at a time, restarts what needs it, reboots,
compares everything with the baseline, and ends in a verdict with its evidence.`

const rootExample = `  patchlab doctor                                     can this host do it, and what does it lack?
  patchlab image build debian-12-web                  make a server to try patches on
  patchlab run openssl-nginx                          is this security update safe?
  patchlab run --image debian-12-web --upgrade openssl,libssl3
  patchlab run --image debian-12-web --pending bookworm-security --output json
  patchlab vacation --image debian-12-web             will it all come back after a power cut?
  patchlab explain PL103                              what does that finding mean?`

func newRootCommand(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "patchlab",
		Short:         "Try patches on a clone of the server before the server gets them",
		Long:          rootLong,
		Example:       rootExample,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return env.settle(cmd)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetVersionTemplate("patchlab {{.Version}}\n")
	root.SetHelpTemplate(root.HelpTemplate() + "\n" + exitCodes())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w\nSee `%s --help`", err, cmd.CommandPath()))
	})

	flags := root.PersistentFlags()
	flags.StringVarP(&env.Connect, "connect", "c", "",
		"libvirt `URI` to use, else $LIBVIRT_DEFAULT_URI; with neither patchlab starts a private libvirt")
	flags.StringVarP(&env.Output, "output", "o", "table", "how results are written: "+strings.Join(outputs(), ", "))
	flags.BoolVar(&env.NoColor, "no-color", false, "no colours; NO_COLOR does the same")
	flags.BoolVarP(&env.Quiet, "quiet", "q", false, "no progress on stderr")
	complete(root, "output", outputs()...)

	root.AddCommand(subcommands(env)...)
	argumentErrorsAreUsage(root)
	return root
}

func subcommands(env *environment) []*cobra.Command {
	return []*cobra.Command{
		newDoctorCommand(env),
		newImageCommand(env),
		newRunCommand(env),
		newVacationCommand(env),
		newZooCommand(env),
		newGCCommand(env),
		newFactsCommand(env),
		newDiffCommand(env),
		newShellCommand(env),
		newRevertCommand(env),
		newSuiteCommand(env),
		newBenchCommand(env),
		newExplainCommand(env),
		newSchemaCommand(env),
		newManCommand(),
		newVersionCommand(env),
		newSuiteExecCommand(),
		newLibvirtExecCommand(),
	}
}

// knownCommand refuses what is no command, and says which one is near.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = " (did you mean " + strings.Join(near, " or ") + "?)"
	}
	return fmt.Errorf("unknown command %q%s; `patchlab --help` lists all", args[0], hint)
}

// argumentErrorsAreUsage gives every command's argument check the exit code of a usage error.
func argumentErrorsAreUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return usage(check(cmd, args)) }
	}
	for _, sub := range cmd.Commands() {
		argumentErrorsAreUsage(sub)
	}
}

// exitCodes renders the table of exit codes for --help.
func exitCodes() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, c := range verdict.ExitCodes() {
		fmt.Fprintf(&b, "  %3d  %s\n", c.Code, c.Meaning)
	}
	return b.String()
}

func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is not defined: found by every test of the command
	}
}

func newVersionCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Stdout, "patchlab", version())
			return err
		},
	}
}

// version is what the Go toolchain recorded: a tag, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "development"
}
