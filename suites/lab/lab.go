package lab

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/patchlab/patchlab/harness/handoff"
)

// load reads the process's one handoff, once. Specs are declared and run by package functions in all of ginkgo, so that
// there is nothing that could carry it.
var load = sync.OnceValues(func() (handoff.Handoff, error) {
	path := os.Getenv(handoff.Env)
	if path == "" {
		return handoff.Handoff{}, errNoHandoff
	}
	return handoff.Read(path)
})

var errNoHandoff = errors.New("suites are run by patchlab: name this one in a scenario's suites (" + handoff.Env + " is not set)")

// current returns the handoff, which RunSpecs and Execute have seen to be readable before any spec is declared.
func current() handoff.Handoff {
	h, err := load()
	if err != nil {
		panic(err)
	}
	return h
}

// TestingT is what [RunSpecs] needs of *testing.T.
type TestingT interface {
	Fail()
	Fatal(args ...any)
	Skip(args ...any)
}

// RunSpecs runs a suite of your own, from its one test function. Outside of patchlab the test is skipped: there is no
// guest to judge.
func RunSpecs(t TestingT, title string) {
	h, err := load()
	switch {
	case errors.Is(err, errNoHandoff):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	default:
		run(t, title, h)
	}
}

// Execute runs the specs that declare declares, in a process that is no test. Failed specs are in the report, not in the
// error.
func Execute(title string, declare func(handoff.Handoff) error) error {
	h, err := load()
	if err != nil {
		return err
	}
	if err := declare(h); err != nil {
		return err
	}
	run(discard{}, title, h)
	return nil
}

// discard takes ginkgo's word for a failure, which is in the report as well.
type discard struct{}

func (discard) Fail() {}

func run(t ginkgo.GinkgoTestingT, title string, h handoff.Handoff) {
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := configuration(h)
	ginkgo.RunSpecs(t, title, suite, reporter)
}

func configuration(h handoff.Handoff) (types.SuiteConfig, types.ReporterConfig) {
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.RandomSeed = 1 // the same order in each run
	suite.LabelFilter = h.Labels
	// After an interrupt the harness waits a few seconds before it kills: the report must be written by then.
	suite.GracePeriod = time.Second
	reporter.NoColor = true
	reporter.Verbose = true // the log names each spec before it runs: one sees where a suite hung
	if h.Report != "" {
		reporter.JSONReport = h.Report
	}
	return suite, reporter
}
