package grub

import (
	"bytes"
	"regexp"
	"strings"
)

// Showing is what GRUB shows on its screen.
type Showing int

// What it may show. Nothing is a screen on which GRUB does not wait for anybody.
const (
	Nothing      Showing = iota
	Choice               // a menu
	Editor               // of an entry's commands
	Prompt               // for commands
	RescuePrompt         // for the few commands that are left when GRUB's own files are not found
)

// Screen is a text screen as somebody who sits in front of it reads it.
type Screen struct {
	Showing Showing
	// Counting says that the menu starts what is highlighted by itself before long.
	Counting bool
	// Rows are the menu's entries that fit, as they are shown: long ones are cut off; or the lines that are edited, put together where
	// they do not fit. Those of a prompt are all lines.
	Rows   []string
	Chosen int // the highlighted row; -1 where none is
}

// firstRow is the line in which a menu's box begins, below the title and the upper edge. Its column 2 has the mark of what is highlighted.
const (
	firstRow   = 4
	markColumn = 2
)

// ReadScreen reads lines of text.
func ReadScreen(text []byte) Screen {
	lines := strings.Split(string(text), "\n")
	all := string(text)
	screen := Screen{Chosen: -1}
	switch {
	case strings.Contains(all, "screen editing is supported"):
		screen.Showing = Editor
		screen.readEditor(lines)
	case strings.Contains(all, "which entry is highlighted"):
		screen.Showing = Choice
		screen.Counting = strings.Contains(all, "executed automatically in")
		screen.readMenu(lines)
	case strings.Contains(all, "grub rescue>"):
		screen.Showing, screen.Rows = RescuePrompt, lines
	case strings.Contains(all, "grub>"):
		screen.Showing, screen.Rows = Prompt, lines
	}
	return screen
}

// Asks tells whether a prompt waits for a command, of which nothing is typed yet.
func (s *Screen) Asks() bool {
	return s.Showing == Prompt && strings.HasSuffix(strings.TrimSpace(strings.Join(s.Rows, "\n")), "grub>")
}

// box returns the lines inside the box above the line that begins with the words after it, from its column 1 on.
func box(lines []string, after string) []string {
	width := boxWidth(lines)
	var inside []string
	for i := firstRow - 1; i < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[i]), after); i++ {
		line := strings.TrimRight(lines[i], " ")
		if strings.Trim(line, " -+") == "" && (line != "" || i < firstRow) {
			continue // its edge
		}
		if line = line[min(len(line), markColumn):]; len(line) > width {
			line = line[:width]
		}
		inside = append(inside, line)
	}
	return inside
}

// boxWidth is how many characters fit into a line of the box: as its upper edge says, where that is drawn with characters.
func boxWidth(lines []string) int {
	const usual = 76 // of 80
	for _, line := range lines[:min(len(lines), firstRow)] {
		if edge := strings.Trim(line, " +"); len(edge) > usual/2 && strings.Trim(edge, "-") == "" {
			return len(edge)
		}
	}
	return usual
}

func (s *Screen) readMenu(lines []string) {
	for _, line := range box(lines, "Use the ") {
		row := strings.TrimRight(strings.TrimPrefix(strings.TrimPrefix(line, "*"), " "), " |")
		if row == "" {
			continue
		}
		if line[0] == '*' {
			s.Chosen = len(s.Rows)
		}
		s.Rows = append(s.Rows, row)
	}
}

// readEditor puts lines together that are longer than the box: GRUB goes from one line to the next, whatever they look like.
func (s *Screen) readEditor(lines []string) {
	whole := ""
	for _, line := range box(lines, "Minimum Emacs-like") {
		line = strings.TrimRight(line, " |")
		if head, goesOn := strings.CutSuffix(line, "\\"); goesOn {
			whole += head
			continue
		}
		s.Rows = append(s.Rows, whole+line)
		whole = ""
	}
	if whole != "" {
		s.Rows = append(s.Rows, whole)
	}
}

// The size of the screen that GRUB takes a serial console for, and the most that an EFI firmware's is taken for.
const (
	columns, rows         = 80, 24
	mostColumns, mostRows = 240, 100
)

var (
	// heading is GRUB's name in the middle of the first lines.
	heading = regexp.MustCompile(`\x1b\[[0-9]{1,3};([0-9]{1,3})H(GNU GRUB +version [!-~]+)`)
	placing = regexp.MustCompile(`\x1b\[([0-9]{1,3});[0-?]{1,3}H`)
)

// sizeFor tells for what size of a screen the bytes were written. An EFI firmware does not say how wide its console is, but GRUB's
// name stands in the middle of it; lines that are too long for the screen go on in the next one, so that all others move.
func sizeFor(received []byte) (height, width int) {
	height, width = rows, columns
	if all := heading.FindAllSubmatch(received, -1); len(all) > 0 {
		last := all[len(all)-1]
		width = 2*position(string(last[1])) + len(last[2])
		width = min(max(columns, width+width%2), mostColumns) // all sizes are even
	}
	for _, place := range placing.FindAllSubmatch(received, -1) {
		height = max(height, position(string(place[1]))+1)
	}
	return min(height, mostRows), width
}

// Render shows what somebody at a serial terminal (a VT100) sees after it has received the bytes: as far as GRUB makes use of one.
func Render(received []byte) []byte {
	t := newTerminal(sizeFor(received))
	for len(received) > 0 {
		received = received[t.take(received):]
	}
	var text bytes.Buffer
	for _, line := range t.cells {
		text.Write(append(bytes.TrimRight(line, " "), '\n'))
	}
	return bytes.TrimRight(text.Bytes(), "\n")
}

// terminal is a screen and the place where the next character goes.
type terminal struct {
	cells    [][]byte
	width    int
	row, col int
}

func newTerminal(height, width int) *terminal {
	t := &terminal{width: width}
	for range height {
		t.cells = append(t.cells, bytes.Repeat([]byte{' '}, width))
	}
	return t
}

func (t *terminal) clearLine(row, from int) {
	for col := from; col < t.width; col++ {
		t.cells[row][col] = ' '
	}
}

// take acts on what comes first, and returns how many bytes that were.
func (t *terminal) take(received []byte) int {
	switch char := received[0]; {
	case char == 0x1b && len(received) > 1 && received[1] == '[':
		end := 2 + bytes.IndexFunc(received[2:], func(c rune) bool { return c >= '@' && c <= '~' })
		if end < 2 {
			return len(received) // cut off
		}
		t.command(received[end], string(received[2:end]))
		return end + 1
	case char == '\r':
		t.col = 0
	case char == '\n':
		t.feed()
	case char == '\b':
		t.col = max(0, t.col-1)
	case char >= ' ' && char <= '~':
		if t.col == t.width {
			t.col = 0
			t.feed()
		}
		t.cells[t.row][t.col] = char
		t.col++
	}
	return 1
}

func (t *terminal) feed() {
	last := len(t.cells) - 1
	if t.row < last {
		t.row++
		return
	}
	t.cells = append(t.cells[1:], t.cells[0])
	t.clearLine(last, 0)
}

// command is a sequence that begins with CSI. Those that only colour are of no interest.
func (t *terminal) command(final byte, parameters string) {
	switch final {
	case 'H', 'f':
		row, col, _ := strings.Cut(parameters, ";")
		t.row, t.col = min(position(row), len(t.cells)-1), min(position(col), t.width-1)
	case 'J':
		from := t.row + 1
		if parameters == "2" { // all of it
			from = 0
		}
		t.clearLine(t.row, t.col)
		for row := from; row < len(t.cells); row++ {
			t.clearLine(row, 0)
		}
	case 'K':
		t.clearLine(t.row, t.col)
	}
}

// position counts from 0; nothing is the first. EFI's firmware writes tens and ones with one character each, so that 100 is ":0".
func position(parameter string) int {
	n := 0
	for _, digit := range []byte(parameter) {
		if digit < '0' || digit > '?' || n > mostColumns {
			break
		}
		n = 10*n + int(digit-'0')
	}
	return max(0, n-1)
}
