package hypervisor

import "fmt"

// More keys, by which a person finds the way through a boot menu.
const (
	KeyEsc   Key = 1
	KeyE     Key = 18
	KeyEnter Key = 28
	KeyCtrl  Key = 29
	KeyShift Key = 42
	KeyX     Key = 45
	KeyUp    Key = 103
	KeyEnd   Key = 107
	KeyDown  Key = 108
)

// The keys of an American keyboard, without and with shift, row by row from the number of its first key on. Firmware and boot loader
// know no other, whatever is in front of them.
var keyboardRows = []struct {
	first          Key
	plain, shifted string
}{
	{2, "1234567890-=", "!@#$%^&*()_+"},
	{16, "qwertyuiop[]", "QWERTYUIOP{}"},
	{30, "asdfghjkl;'`", `ASDFGHJKL:"~`},
	{43, `\zxcvbnm,./`, "|ZXCVBNM<>?"},
	{57, " ", " "},
}

// KeysFor returns the presses that type a text: each of them some keys together.
func KeysFor(text string) ([][]Key, error) {
	var presses [][]Key
	for _, char := range []byte(text) {
		press := keysOf(char)
		if press == nil {
			return nil, fmt.Errorf("typing %q: there is no key for %q", text, char)
		}
		presses = append(presses, press)
	}
	return presses, nil
}

func keysOf(char byte) []Key {
	for _, row := range keyboardRows {
		for i := range len(row.plain) {
			switch char {
			case row.plain[i]:
				return []Key{row.first + Key(i)}
			case row.shifted[i]:
				return []Key{KeyShift, row.first + Key(i)}
			}
		}
	}
	return nil
}
