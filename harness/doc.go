// Package harness runs a scenario: it clones a guest, applies the candidate one increment at a time, restarts, reboots,
// compares with the baseline, and says the verdict.
//
// It holds the order of the phases and nothing else: the packages below it do the work. Whatever happens, the clone is
// gone when Run returns, and the run directory holds the evidence.
package harness
