package examples_test

import (
	"os"
	"strings"
	"testing"
)

// The document shows the example as it is compiled.
func TestTheDocumentShowsTheExample(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../suites.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("shop/shop_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(example), "\n") // its first line is the package's comment
	if !strings.Contains(string(document), "```go\n"+code+"```\n") {
		t.Error("docs/suites.md shows another suite than docs/examples/shop/shop_test.go")
	}
}
