package fact_test

import (
	"testing"

	"github.com/patchlab/patchlab/harness/fact"
)

func TestUnitsOfConnectionsAreToldByTheirNames(t *testing.T) {
	t.Parallel()
	for unit, want := range map[string]string{
		"echo@0-127.0.0.1:7-127.0.0.1:41234.service":       "echo.socket",
		"echo@12-[fe80::1]:7-[fe80::2]:41234.service":      "echo.socket",
		"systemd-journald@3-4711-0.service":                "systemd-journald.socket",
		"postgresql@15-main.service":                       "",
		"getty@tty1.service":                               "",
		"serial-getty@ttyS0.service":                       "",
		"openvpn@a-b-c.service":                            "",
		"echo@.service":                                    "",
		"echo.socket":                                      "",
		"echo@0-127.0.0.1:7-127.0.0.1:41234.mount":         "",
		"systemd-fsck@dev-disk-by\\x2duuid-6A3C-1.service": "",
	} {
		socket, ok := fact.ConnectionSocket(unit)
		if socket != want || ok != (want != "") {
			t.Errorf("%s: %q, %v, want %q", unit, socket, ok, want)
		}
	}
}

func TestAConnectionNeedsItsSocket(t *testing.T) {
	t.Parallel()
	const unit = "echo@0-127.0.0.1:7-127.0.0.1:41234.service"
	with := fact.NewSet(fact.Fact{Kind: fact.KindUnit, Name: "echo.socket"})
	if !with.ServesConnection(unit) || fact.NewSet().ServesConnection(unit) {
		t.Error("the socket does not decide")
	}
}
