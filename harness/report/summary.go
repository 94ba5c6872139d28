package report

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/verdict"
)

// View is how a summary is shown.
type View struct {
	Width  int  // columns; lines that people read are wrapped to it
	Colour bool // for a terminal; false leaves plain text
}

// Bounds of what a guest can put into a summary.
const (
	maxText     = 500
	maxFindings = 40
	maxPackages = 60
	maxQuoted   = 4 // lines of evidence per file; the rest is in the run directory
)

// Summary renders a result for a person: the verdict first, then what moved, what was found and where the evidence is.
func Summary(result Result, view View) string {
	if view.Width < 40 {
		view.Width = 80
	}
	s := &summary{view: view}
	s.headline(result)
	s.findings(result.Findings)
	s.packages(result.Packages)
	s.restarts(result.Advice)
	s.boots(result.Boots)
	s.rescue(result.Rescue)
	s.suites(result.Suites)
	s.phases(result.Phases)
	s.end(result)
	return s.b.String()
}

type summary struct {
	b    strings.Builder
	view View
}

func (s *summary) headline(result Result) {
	style := lipgloss.NewStyle().Bold(true)
	switch result.Outcome {
	case verdict.Pass:
		style = style.Foreground(lipgloss.Green)
	case verdict.Testbed, verdict.Interrupted:
		style = style.Foreground(lipgloss.Yellow)
	default:
		style = style.Foreground(lipgloss.Red)
	}
	word, rest, _ := strings.Cut(printable.Line(Headline(result), 2*maxText), ": ")
	s.paragraph(s.paint(style, word+":")+" ", "  ", rest)
	s.truth(result)
}

// truth compares with what the scenario says must come out, where anything came out.
func (s *summary) truth(result Result) {
	switch {
	case result.Truth == nil, result.Outcome == verdict.Testbed, result.Outcome == verdict.Interrupted:
	case !result.Truth.Holds:
		s.paragraph("  ", "  ", "The scenario says that it must end otherwise: "+strings.Join(result.Truth.Mismatch, "; "))
	case result.Outcome != verdict.Pass:
		s.paragraph("  ", "  ", "That is what the scenario is there to show.")
	}
}

func (s *summary) findings(findings []verdict.Finding) {
	s.section("Findings", len(findings))
	for i, f := range findings {
		if i == maxFindings {
			s.paragraph("  ", "  ", fmt.Sprintf("... and %d more, see result.json", len(findings)-i))
			return
		}
		label, style := strings.ToUpper(string(f.Severity)), lipgloss.NewStyle().Foreground(lipgloss.Yellow)
		switch {
		case f.OldRot:
			label = "OLD ROT"
		case f.Severity == verdict.Error:
			style = lipgloss.NewStyle().Foreground(lipgloss.Red)
		case f.Severity == verdict.Info:
			style = lipgloss.NewStyle().Faint(true)
		}
		label = fmt.Sprintf("%-7s", label)
		s.paragraph("  "+s.paint(style, label)+" "+f.ID+"  ", strings.Repeat(" ", 17), f.Title)
		const indent = "          "
		for _, d := range details(f) {
			if d.key == "" {
				s.line("%s  > %s", indent, printable.Line(d.value, max(20, s.view.Width-len(indent)-4)))
				continue
			}
			s.paragraph(fmt.Sprintf("%s%-9s ", indent, d.key+":"), indent+"          ", d.value)
		}
	}
}

// detail is a line about a finding; a quoted line of evidence has no key.
type detail struct{ key, value string }

func (d detail) String() string {
	if d.key == "" {
		return "  > " + d.value
	}
	return d.key + ": " + d.value
}

// details tells what a finding rests on, clean and bounded.
func details(f verdict.Finding) []detail {
	var all []detail
	add := func(key, value string) {
		if value = printable.Line(value, maxText); value != "" {
			all = append(all, detail{key, value})
		}
	}
	where := f.Phase
	if f.Mode != "" {
		where += " (" + f.Mode + ")"
	}
	if f.Increment != "" {
		where += ", increment " + f.Increment
	}
	if f.Package != "" {
		where += ", package " + f.Package
	}
	add("seen", where)
	if f.Was != "" || f.Is != "" {
		add("was", cmp.Or(f.Was, "not there"))
		add("is", cmp.Or(f.Is, "not there"))
	}
	add("cause", f.Cause)
	add("remedy", f.Remedy)
	for _, e := range f.Evidence {
		add("evidence", e.File)
		for _, line := range e.Lines[:min(len(e.Lines), maxQuoted)] {
			add("", line)
		}
	}
	return all
}

func (s *summary) packages(packages []PackageChange) {
	s.section("Packages", len(packages))
	name, from := 0, 0
	for _, p := range packages {
		name, from = max(name, len(p.Name)), max(from, len(p.From))
	}
	for i, p := range packages {
		if i == maxPackages {
			s.line("  ... and %d more, see result.json", len(packages)-i)
			return
		}
		change := fmt.Sprintf("%-*s -> %s", from, p.From, p.To)
		switch {
		case p.From == "":
			change = fmt.Sprintf("%-*s    %s", from, "new", p.To)
		case p.To == "":
			change = fmt.Sprintf("%-*s    removed", from, p.From)
		}
		text := fmt.Sprintf("%-*s  %s", name, p.Name, change)
		if p.Increment != "" {
			text += "  (" + p.Increment + ")"
		}
		s.line("  %s", printable.Line(text, maxText))
	}
}

func (s *summary) restarts(advice Advice) {
	s.section("Restarts", len(advice.Restart))
	for _, r := range advice.Restart {
		state := "not restarted"
		if r.Done {
			state = "restarted"
		}
		s.paragraph("  ", "    ", fmt.Sprintf("%s: %s, %s", r.Unit, state, r.Reason))
	}
	if advice.Reboot.Needed {
		s.section("Needs a reboot", 1)
		for _, reason := range advice.Reboot.Reasons {
			s.paragraph("  ", "    ", reason)
		}
	}
}

func (s *summary) boots(boots []Boot) {
	s.section("Boots", len(boots))
	for _, b := range boots {
		text := fmt.Sprintf("%-9s %6.1f s  %-10s %s  %s", b.Mode, b.Seconds, b.Stage, b.Entry, b.Cause)
		s.line("  %s", printable.Line(text, maxText))
		if c := b.Canary; c != nil {
			s.paragraph("            ", "            ", cmp.Or(c.Why, "what was flushed before the cut is there, what was written just before it is gone"))
		}
	}
}

// rescue tells the way out step by step, for a person at the console.
func (s *summary) rescue(rescue *Rescue) {
	if rescue == nil {
		return
	}
	s.section("Way out, as it was tried", len(rescue.Tried))
	for _, way := range rescue.Tried {
		if !way.Worked {
			s.paragraph("  "+way.Way+": ", "    ", "no: "+way.Why)
			continue
		}
		text := fmt.Sprintf("the guest came up in %.0f s", way.Seconds)
		if way.Kernel != "" {
			text += " with kernel " + way.Kernel
		}
		if len(way.Lacks) > 0 {
			text += ", but not as before the patch: " + strings.Join(way.Lacks, "; ")
		}
		s.paragraph("  "+way.Way+": ", "    ", text)
		for i, step := range way.Steps {
			s.paragraph(fmt.Sprintf("    %d. ", i+1), "       ", step)
		}
	}
}

func (s *summary) suites(suites []SuiteRun) {
	s.section("Checks", len(suites))
	for _, r := range suites {
		s.line("  %-24s %3d passed, %d failed, %d skipped", printable.Line(r.Phase, maxText), r.Passed, r.Failed, r.Skipped)
	}
}

// usualReboot is the way to reboot that need not be named.
const usualReboot = "clean"

func (s *summary) phases(phases []Phase) {
	s.section("Phases", len(phases))
	total := 0.0
	for _, p := range phases {
		name := p.Name
		if p.Increment != "" {
			name += " " + p.Increment
		}
		if p.Mode != "" && p.Mode != usualReboot {
			name += " " + p.Mode
		}
		var steps []string
		for step, seconds := range p.Steps {
			steps = append(steps, fmt.Sprintf("%s %.1f s", step, seconds))
		}
		slices.Sort(steps)
		s.line("  %s", strings.TrimRight(printable.Line(
			fmt.Sprintf("%-24s %7.1f s  %-8s %s", name, p.Seconds, p.Status, strings.Join(steps, ", ")), s.view.Width-2), " "))
		total += p.Seconds
	}
	if len(phases) > 1 {
		s.line("  %-24s %7.1f s", "together", total)
	}
}

func (s *summary) end(result Result) {
	s.line("")
	switch {
	case result.Rollback.Proven:
		s.paragraph("Rollback: ", "  ", "proven by "+strings.Join(result.Rollback.Routes, ", ")+".")
	case result.Outcome == verdict.Pass && !result.Vacation:
		s.paragraph("Rollback: ", "  ", "not proven. Have a snapshot or a backup before you patch the real server.")
	}
	for _, f := range append(slices.Clone(result.Fallbacks), result.Fallback) {
		s.fallback(f)
	}
	if result.Host.Accelerator != "" {
		s.paragraph("Measured: ", "  ", "on "+cmp.Or(result.Host.Hypervisor, "an unnamed hypervisor")+" with "+result.Host.Accelerator+".")
	}
	if why := result.Clones.Why; why != "" && !result.Clones.Asked {
		s.paragraph("Clones:   ", "  ", "booted, as none could go on from a template: "+printable.Line(why, maxText))
	}
	if result.RunDir != "" {
		s.line("Evidence: %s", filepath.Clean(result.RunDir)) // unbroken, to be copied
	}
	if len(result.Findings) > 0 {
		s.line("Meaning:  patchlab explain %s", result.Findings[0].ID)
	}
}

func (s *summary) fallback(f *Fallback) {
	if f == nil {
		return
	}
	text := "not proven"
	if f.Proven {
		text = "proven"
	}
	if f.Increment != "" {
		text += " after " + f.Increment
	}
	if f.Proven {
		text += fmt.Sprintf(": booted %s by its menu entry \"%s\".", f.Kernel, f.Entry)
	} else {
		text += ": " + f.Why
	}
	s.paragraph("Fallback: ", "  ", text)
}

// section starts a part of the summary, unless it is empty.
func (s *summary) section(title string, entries int) {
	if entries == 0 {
		return
	}
	s.line("")
	s.line("%s", s.paint(lipgloss.NewStyle().Bold(true), title))
}

// paragraph writes clean text between words, wrapped to the view; the first line starts with first, the others with rest.
func (s *summary) paragraph(first, rest, text string) {
	line, empty := first, true
	for word := range strings.FieldsSeq(printable.Line(text, maxText)) {
		if !empty && lipgloss.Width(line)+1+lipgloss.Width(word) > s.view.Width {
			s.line("%s", line)
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	s.line("%s", line)
}

func (s *summary) line(format string, arguments ...any) {
	fmt.Fprintf(&s.b, format+"\n", arguments...)
}

func (s *summary) paint(style lipgloss.Style, text string) string {
	if !s.view.Colour {
		return text
	}
	return style.Render(text)
}
