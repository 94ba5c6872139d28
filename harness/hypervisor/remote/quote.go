package remote

import "strings"

// Quote makes one word of a shell out of any text.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
