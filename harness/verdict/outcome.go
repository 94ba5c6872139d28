package verdict

// End is how a run came to its end, as far as the outcome depends on it.
type End struct {
	Interrupted bool      // a person stopped it
	ApplyFailed bool      // an increment did not install, and the guest said so
	BootFailed  bool      // a requested boot never settled, and the guest's console said so
	LabError    bool      // the lab failed
	Findings    []Finding // all of them
}

// Outcome applies the one rule, first match: interrupted; damage proven before a lab error (apply-failed, then
// boot-failed, then regression); testbed; pass.
func (e End) Outcome() Outcome {
	switch {
	case e.Interrupted:
		return Interrupted
	case e.ApplyFailed:
		return ApplyFailed
	case e.BootFailed:
		return BootFailed
	case e.regression():
		return Regression
	case e.LabError:
		return Testbed
	default:
		return Pass
	}
}

func (e End) regression() bool {
	for _, f := range e.Findings {
		if f.Blamed() {
			return true
		}
	}
	return false
}

// Exit codes besides those of the outcomes.
const (
	ExitInternal = 1
	ExitUsage    = 2
)

// ExitCode is one line of the table of exit codes.
type ExitCode struct {
	Code    int
	Meaning string
	Outcome Outcome // "" where no run has ended
}

// ExitCodes is the table that --help and the README print.
func ExitCodes() []ExitCode {
	return []ExitCode{
		{0, "pass", Pass},
		{ExitInternal, "internal error", ""},
		{ExitUsage, "usage, scenario error or nothing to test", ""},
		{10, "regression", Regression},
		{11, "apply-failed", ApplyFailed},
		{12, "boot-failed", BootFailed},
		{20, "testbed: the lab failed, nothing is said about the patch", Testbed},
		{130, "interrupted", Interrupted},
	}
}

// ExitCode returns the outcome's exit code.
func (o Outcome) ExitCode() int {
	for _, c := range ExitCodes() {
		if c.Outcome == o && o != "" {
			return c.Code
		}
	}
	return ExitInternal
}
