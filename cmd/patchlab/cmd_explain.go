package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/strictyaml"
	"github.com/patchlab/patchlab/harness/verdict"
)

func newExplainCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:     "explain PLnnn...",
		Short:   "Say what a finding means and what to do about it",
		Long:    "Say what a finding means and what to do about it. Without an id, all findings are listed.",
		Example: "  patchlab explain PL103",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, e := range verdict.Catalogue() {
				ids = append(ids, e.ID+"\t"+e.Title)
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return explain(env, args) },
	}
}

func explain(env *environment, ids []string) error {
	if len(ids) == 0 {
		var b strings.Builder
		for _, e := range verdict.Catalogue() {
			fmt.Fprintf(&b, "%s  %-8s %s\n", e.ID, e.Severity, e.Title)
		}
		return env.render(verdict.Catalogue(), text(b.String()))
	}
	entries := make([]verdict.Entry, 0, len(ids))
	for _, id := range ids {
		entry, known := verdict.Lookup(id)
		if !known {
			return usage(fmt.Errorf("unknown finding %q%s; `patchlab explain` lists all", id, meant(id)))
		}
		entries = append(entries, entry)
	}
	texts := make([]string, 0, len(entries))
	for _, e := range entries {
		texts = append(texts, fmt.Sprintf("%s %s (%s, %s)\n\n%s\n\nWhat to do: %s\n",
			e.ID, e.Title, e.Severity, e.Group(), e.Meaning, e.Remedy))
	}
	return env.render(entries, text(strings.Join(texts, "\n")))
}

// meant suggests the id that was meant: 103 and PL0103 are PL103.
func meant(id string) string {
	if entry, known := verdict.Lookup("PL" + id); known {
		return fmt.Sprintf(" (did you mean %s?)", entry.ID)
	}
	var ids []string
	for _, e := range verdict.Catalogue() {
		ids = append(ids, "pl"+e.ID[2:])
	}
	if near, ok := strictyaml.Nearest(id, ids); ok {
		return fmt.Sprintf(" (did you mean PL%s?)", near[2:])
	}
	return ""
}
