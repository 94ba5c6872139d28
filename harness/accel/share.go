package accel

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Share tells which part of a processor a guest can have just now, above 0 and at most 1, by this host's load of the last minute:
// as many tasks as there are processors leave each a whole one. A host that does not tell its load counts as idle.
func Share() float64 {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 1
	}
	return share(string(content), runtime.NumCPU())
}

func share(loadavg string, processors int) float64 {
	word, _, _ := strings.Cut(loadavg, " ")
	load, err := strconv.ParseFloat(word, 64)
	if err != nil || load <= float64(processors) {
		return 1
	}
	return float64(processors) / load
}
