package judge

import (
	"maps"
	"slices"
	"strings"
)

// render writes attributes in a fixed order, "active failed, result exit-code", bounded: file texts stay out.
func render(attributes map[string]string) string {
	const most = 200 // bytes of one value that still read as a line
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if name == "text" {
			continue
		}
		value := attributes[name]
		if name == "sha256" && len(value) > 12 {
			value = value[:12]
		}
		if len(value) > most {
			value = value[:most] + "..."
		}
		parts = append(parts, name+" "+value)
	}
	return strings.Join(parts, ", ")
}
