package manifest

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is an amount of memory or disk in MiB, written as "768MiB" or "3GiB".
type Size int

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	for unit, factor := range map[string]int{"MiB": 1, "GiB": 1 << 10} {
		digits, ok := strings.CutSuffix(string(text), unit)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(digits))
		const most = 1 << 24 // MiB, 16 TiB: far below what would overflow
		if err != nil || n <= 0 || n > most/factor {
			break
		}
		*s = Size(n * factor)
		return nil
	}
	return fmt.Errorf("want a size such as 768MiB or 3GiB, not %q", text)
}

// String renders the size as UnmarshalText reads it.
func (s Size) String() string {
	if s%1024 == 0 {
		return fmt.Sprintf("%dGiB", int(s)/1024)
	}
	return fmt.Sprintf("%dMiB", int(s))
}

// MiB returns the number.
func (s Size) MiB() int { return int(s) }

// Bytes returns the size in bytes.
func (s Size) Bytes() int64 { return int64(s) << 20 }
