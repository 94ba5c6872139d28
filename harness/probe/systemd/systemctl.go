package systemd

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Systemctl asks the same through the systemctl program, for a guest whose private socket does not answer.
type Systemctl struct{}

// Units returns the loaded units whose names match one of the patterns.
func (Systemctl) Units(ctx context.Context, patterns ...string) ([]Unit, error) {
	arguments := append([]string{"list-units", "--all", "--plain", "--full", "--no-legend", "--no-pager", "--"}, patterns...)
	output, err := exec.CommandContext(ctx, "systemctl", arguments...).Output()
	if err != nil {
		return nil, fmt.Errorf("listing units with systemctl: %w", err)
	}
	return parseUnits(string(output)), nil
}

func parseUnits(output string) []Unit {
	var units []Unit
	for line := range strings.Lines(output) {
		if w := strings.Fields(line); len(w) >= 4 {
			units = append(units, Unit{Name: w[0], Load: w[1], Active: w[2], Sub: w[3]})
		}
	}
	return units
}

// Result asks for a unit's result property, "" where it has none.
func (Systemctl) Result(ctx context.Context, unit string) (string, error) {
	output, err := exec.CommandContext(ctx, "systemctl", "show", "--property=Result", "--value", "--", unit).Output()
	if err != nil {
		return "", fmt.Errorf("asking systemctl for the result of %s: %w", unit, err)
	}
	return strings.TrimSpace(string(output)), nil
}
