package report_test

import (
	"fmt"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/report"
)

func compare(before, after fact.Set) report.Comparison {
	return report.Comparison{
		Was: "baseline", Is: "reboot-clean", Before: before, After: after, Drifts: drift.Compare(before, after),
	}
}

func unit(name string, attributes ...string) fact.Fact {
	return of(fact.KindUnit, name, attributes...)
}

func of(kind fact.Kind, name string, attributes ...string) fact.Fact {
	f := fact.Fact{Kind: kind, Name: name, Attributes: map[string]string{}}
	for i := 0; i < len(attributes); i += 2 {
		f.Attributes[attributes[i]] = attributes[i+1]
	}
	return f
}

func patchedServer() report.Comparison {
	const was = "listen 80;\nroot /srv;\n# a\n# b\n# c\n# d\n# e\n# f\nindex index.html;\nlast line without an end"
	is := strings.Replace(strings.Replace(was, "80;", "8080;\nlisten 8443;", 1), "index index.html;\n", "", 1)
	return compare(
		fact.NewSet(
			unit("nginx.service", "active", "active", "result", "success"), unit("gone.service", "active", "active", "enabled", "enabled"),
			of(fact.KindFile, "/etc/nginx/site", "sha256", strings.Repeat("a1", 32), "text", was, "size", "1"),
			of(fact.KindPort, "tcp/*:80", "unit", "nginx.service"),
		),
		fact.NewSet(
			unit("nginx.service", "active", "failed", "result", "exit-code"),
			of(fact.KindFile, "/etc/nginx/site", "sha256", strings.Repeat("b2", 32), "text", is, "size", "2"),
			of(fact.KindPort, "tcp/*:8080", "unit", "nginx.service", "executable", "/usr/lib/a/rather/long/path/to/some/program/nginx"),
		))
}

func TestSideBySide(t *testing.T) {
	t.Parallel()
	wide := report.SideBySide(patchedServer(), report.View{Width: 80})
	golden(t, "diff.txt", wide)
	golden(t, "diff-narrow.txt", report.SideBySide(patchedServer(), report.View{Width: 40}))
	colour := report.SideBySide(patchedServer(), report.View{Width: 80, Colour: true})
	golden(t, "diff-colour.txt", colour)
	if !strings.Contains(colour, "\x1b[") || strings.Contains(wide, "\x1b") {
		t.Error("colours are where none were asked for, or none where they were")
	}
}

func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	t.Parallel()
	for _, width := range []int{30, 40, 63, 64, 65, 80, 200} {
		for line := range strings.Lines(report.SideBySide(patchedServer(), report.View{Width: width})) {
			if got := lipgloss.Width(strings.TrimRight(line, "\n")); got > width {
				t.Errorf("at %d columns a line has %d: %q", width, got, line)
			}
		}
	}
}

func TestNoDifferenceIsSaid(t *testing.T) {
	t.Parallel()
	same := fact.NewSet(unit("a.service", "active", "active"))
	got := report.SideBySide(compare(same, same), report.View{Width: 80})
	if got != "No difference between baseline and reboot-clean.\n" {
		t.Errorf("it says %q", got)
	}
}

func TestAHostileGuestNeitherFloodsNorFormatsTheTerminal(t *testing.T) {
	t.Parallel()
	var many []fact.Fact
	for i := range 5000 {
		many = append(many, unit(fmt.Sprintf("u%04d.service", i), "active", "active"))
	}
	text := strings.Repeat("x\n", 30000)
	many = append(many,
		of(fact.KindFile, "/etc/a", "sha256", "1", "text", "y\n"),
		unit("a\x1b[2J\u202e.service", "active\x1b[31m", strings.Repeat("\x1b]0;t\a long", 10000)))
	c := compare(fact.NewSet(of(fact.KindFile, "/etc/a", "sha256", "2", "text", text)), fact.NewSet(many...))
	for _, got := range []string{
		report.SideBySide(c, report.View{Width: 100}), report.SideBySide(c, report.View{Width: 40}),
		report.Facts(fact.NewSet(many...), report.View{Width: 100}),
	} {
		if i := strings.IndexAny(got, "\x1b\a\u202e"); i >= 0 {
			t.Errorf("a control character stays: %q", got[max(0, i-40):min(len(got), i+40)])
		}
		if lines := strings.Count(got, "\n"); lines > 6000 {
			t.Errorf("%d lines", lines)
		}
	}
	if got := report.SideBySide(c, report.View{Width: 100}); !strings.Contains(got, "more; --output json has them all") ||
		!strings.Contains(got, "more lines") {
		t.Error("it is not said that something was left out")
	}
}

func TestFactsAreListedByKind(t *testing.T) {
	t.Parallel()
	set := fact.NewSet(unit("nginx.service", "active", "active", "sub", "running"), unit("b.timer"),
		of(fact.KindFile, "/etc/a", "text", "secret\n", "mode", "0644"))
	want := "file: 1\n  /etc/a  mode=0644\n\nunit: 2\n  b.timer\n  nginx.service  active=active  sub=running\n"
	if got := report.Facts(set, report.View{}); got != want {
		t.Errorf("facts are\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(report.Facts(set, report.View{Width: 30})) {
		if lipgloss.Width(strings.TrimRight(line, "\n")) > 30 {
			t.Errorf("a line is wider than the terminal: %q", line)
		}
	}
}
