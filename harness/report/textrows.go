package report

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// textRow is a line of both versions of a file.
type textRow struct {
	number  string // of the line in the version that was, or in the one that is for new lines
	was, is side
}

// textRows pairs the lines of two versions of a text: changed ones with a little of what is around them.
func textRows(was, is string) []textRow {
	old := lines(was)
	starts := map[int]int{len(was): len(old)} // which line begins at a byte
	for offset, i := 0, 0; i < len(old); i++ {
		starts[offset] = i
		offset += len(old[i])
	}
	var rows []textRow
	unchanged := func(from, to int) {
		for i := from; i < to; i++ {
			rows = append(rows, textRow{fmt.Sprint(i + 1), side{old[i], true}, side{old[i], true}})
		}
	}
	shown, longer := 0, 0 // lines of the old version that were passed; by how many the new one is longer up to here
	for i, edit := range udiff.Lines(was, is) {
		start, end := starts[edit.Start], starts[edit.End]
		after, before := min(start, shown+textContext), max(shown, start-textContext)
		switch {
		case i == 0:
			unchanged(before, start)
		case after >= before:
			unchanged(shown, start)
		default:
			unchanged(shown, after)
			rows = append(rows, textRow{number: leftOut})
			unchanged(before, start)
		}
		come := lines(edit.New)
		rows = append(rows, paired(old[start:end], come, start, longer)...)
		shown, longer = end, longer+len(come)-(end-start)
	}
	unchanged(shown, min(len(old), shown+textContext))
	return rows
}

// paired sets lines that are gone beside those that came for them. The first one gone is line start of the old version.
func paired(gone, come []string, start, longer int) []textRow {
	rows := make([]textRow, max(len(gone), len(come)))
	for i := range rows {
		rows[i].number = fmt.Sprint(start + 1 + i + longer)
		if i < len(gone) {
			rows[i].number, rows[i].was = fmt.Sprint(start+1+i), side{gone[i], true}
		}
		if i < len(come) {
			rows[i].is = side{come[i], true}
		}
	}
	return rows
}

// lines splits a text, whose last line may lack its end.
func lines(text string) []string {
	all := strings.SplitAfter(text, "\n")
	if all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}
