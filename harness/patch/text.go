package patch

import (
	"fmt"
	"os"
	"strings"
)

// quote makes a word that the shell takes literally.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

func quoteAll(words []string) string {
	var quoted strings.Builder
	for _, w := range words {
		quoted.WriteString(" " + quote(w))
	}
	return quoted.String()
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// lastLines returns the end of an output, where package managers say what was wrong.
func lastLines(output string, n int) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " / ")
}

func openPayload(name string) (*os.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading the payload: %w", err)
	}
	return file, nil
}
