package lab

import (
	"errors"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/handoff"
)

// Blame ties the running spec, should it fail, to the facts that it is about, so that it is told together with
// their findings. The matchers of this package do it by themselves.
func Blame(subjects ...fact.Key) {
	if len(subjects) > 0 && running() {
		ginkgo.AddReportEntry(handoff.EntrySubjects, keys(subjects), ginkgo.ReportEntryVisibilityNever)
	}
}

// keys is a list whose JSON goes into the report.
type keys []fact.Key

func (k keys) String() string { return fmt.Sprint([]fact.Key(k)) }

// noteLost records that the guest could not be asked, which is no fault of the guest.
func noteLost(err error) {
	if errors.Is(err, guest.ErrLost) && running() {
		ginkgo.AddReportEntry(handoff.EntryLost, err.Error(), ginkgo.ReportEntryVisibilityNever)
	}
}

// running tells whether a spec is: report entries need one.
func running() bool {
	return ginkgo.CurrentSpecReport().LeafNodeType != types.NodeTypeInvalid
}
