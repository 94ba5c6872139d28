package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/verdict"
)

func TestTheReadmeHasTheTableOfExitCodes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| exit code | meaning |\n| --- | --- |\n")
	for _, c := range verdict.ExitCodes() {
		fmt.Fprintf(&table, "| %d | %s |\n", c.Code, c.Meaning)
	}
	if !strings.Contains(string(readme), table.String()+"\n") {
		t.Errorf("README.md lacks this table:\n%s", table.String())
	}
}
