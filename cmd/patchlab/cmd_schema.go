package main

import (
	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/docs/schema"
)

func newSchemaCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "schema scenario|image",
		Short: "Print the JSON Schema of scenario files or image manifests, for an editor",
		Long: `Print the JSON Schema of scenario files or of image manifests. Editors that know YAML complete keys and mark mistakes with
it; patchlab itself checks more (patchlab run --dry-run). Whatever --output says, it is JSON.`,
		Example: `  patchlab schema scenario > scenario.schema.json
  # and as the first line of a scenario file, for editors with the YAML language server:
  # yaml-language-server: $schema=scenario.schema.json`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: schema.Names(),
		RunE: func(_ *cobra.Command, args []string) error {
			content, err := schema.Get(args[0])
			if err != nil {
				return usage(err)
			}
			_, err = env.Stdout.Write(content)
			return err
		},
	}
}
