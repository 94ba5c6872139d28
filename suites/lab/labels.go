package lab

import "github.com/onsi/ginkgo/v2"

// Labels select what runs. The built-in suites carry the one of their name.
var (
	Boot        = ginkgo.Label("boot")
	Services    = ginkgo.Label("services")
	Network     = ginkgo.Label("network")
	Packages    = ginkgo.Label("packages")
	Storage     = ginkgo.Label("storage")
	Security    = ginkgo.Label("security")
	Expectation = ginkgo.Label("expect")
	// AsksGuest marks specs that run commands in the guest, and cost its time.
	AsksGuest = ginkgo.Label("asks-guest")
)
