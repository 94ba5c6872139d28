package bench

import (
	"math"
	"slices"
)

// Schema is the version of what a bench prints as JSON. Fields are added within a version, never changed or removed.
const Schema = 1

// Figures sum up what several runs measured.
type Figures struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Seconds are [Figures] of times; their names in JSON say so.
type Seconds struct {
	Min    float64 `json:"min_s"`
	Median float64 `json:"median_s"`
	Max    float64 `json:"max_s"`
}

// MiB are [Figures] of memory; their names in JSON say so.
type MiB struct {
	Min    float64 `json:"min_mib"`
	Median float64 `json:"median_mib"`
	Max    float64 `json:"max_mib"`
}

// figures returns nil for no values.
func figures(values []float64) *Figures {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (sorted[len(sorted)/2-1] + middle) / 2
	}
	return &Figures{Min: hundredths(sorted[0]), Median: hundredths(middle), Max: hundredths(sorted[len(sorted)-1])}
}

// seconds returns nil for no values.
func seconds(values []float64) *Seconds { return (*Seconds)(figures(values)) }

// mebibytes returns nil for no values.
func mebibytes(values []float64) *MiB { return (*MiB)(figures(values)) }

func hundredths(value float64) float64 { return math.Round(value*100) / 100 }

// mostBusy is how many CPUs other work may keep busy before figures say little: a quarter of one.
const mostBusy = 0.25

// Quiet tells whether other work took so little of the host, by what [Busy] has found, that figures mean something.
func Quiet(busyCPUs []float64) bool {
	return !slices.ContainsFunc(busyCPUs, func(busy float64) bool { return busy > mostBusy })
}
