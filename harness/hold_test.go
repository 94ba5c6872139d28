package harness_test

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

const (
	connectionUnit  = "echo@0-127.0.0.1:7-127.0.0.1:41234.service"
	staleConnection = connectionUnit + " /usr/bin/socat1 /usr/lib/libssl.so.3"
)

// echo is a per-connection service: a process for each client, until the client or the server hangs up.
type echo struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (e *echo) listen(s *server) {
	s.put("unit", "echo.socket", "active", "active", "enabled", "enabled", "load", "loaded")
	s.put("port", "tcp/*:7", "unit", "echo.socket", "executable", "/sbin/init")
	s.guest.Handle("tcp", "127.0.0.1:7", func(conn net.Conn) {
		e.mu.Lock()
		e.conns = append(e.conns, conn)
		e.mu.Unlock()
		s.put("unit", connectionUnit, "active", "active", "enabled", "static", "load", "loaded")
		s.put("process", connectionUnit+" /usr/bin/socat1", "pids", "700", "count", "1")
	})
}

func (e *echo) hangUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, conn := range e.conns {
		_ = conn.Close() // the client may have
	}
}

// open counts the clients that have not hung up.
func (e *echo) open() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)
}

func holding(s scenario.Scenario) scenario.Scenario {
	s.Hold = []string{"tcp/7"}
	return s
}

func TestAClientsConnectionThatKeepsAReplacedLibraryIsFoundAndNotRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab, service := newLab(t), &echo{}
		lab.onUp = service.listen
		lab.onApply["library"] = func(s *server) {
			s.upgrade("libssl3:amd64", "2")
			s.put("stale", staleConnection, "pids", "700", "users", "root")
		}
		lab.onRestart = func(*server) { t.Error("something was restarted: it would cut the client off") }
		lab.onReboot = func(s *server) {
			s.drop(staleConnection)
			s.drop(connectionUnit)
			s.drop(connectionUnit + " /usr/bin/socat1")
		}
		result := lab.run(holding(scripted("library")))
		if diff := cmp.Diff([]string{"PL602 settle library echo@.service"}, ids(result)); diff != "" {
			t.Fatalf("outcome %s (%s), findings (-want +got):\n%s", result.Outcome, result.Reason, diff)
		}
		if f := result.Findings[0]; result.Outcome != verdict.Regression || !strings.Contains(f.Cause, "(pid 700 of "+connectionUnit+")") ||
			!strings.Contains(f.Remedy, "systemctl stop '"+connectionUnit+"'") {
			t.Errorf("outcome %s, finding %+v", result.Outcome, f)
		}
		if service.open() != 1 {
			t.Errorf("%d connections were opened", service.open())
		}
	})
}

func TestAHeldConnectionIsNoFindingByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab, service := newLab(t), &echo{}
		lab.onUp = service.listen
		lab.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
		if result := lab.run(holding(scripted("good"))); result.Outcome != verdict.Pass || len(result.Findings) > 0 {
			t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
	})
}

func TestAConnectionIsNoChangeByTheCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab, service := newLab(t), &echo{}
		lab.onUp = service.listen
		lab.onApply["empty"] = func(*server) {}
		_, err := harness.Run(t.Context(), lab.lab(), holding(scripted("empty")), lab.options())
		if _, nothing := errors.AsType[*patch.NothingError](err); !nothing {
			t.Errorf("error is %v, want that there is nothing to test", err)
		}
	})
}

func TestAConnectionThatEndsIsToldAndHurtsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab, service := newLab(t), &echo{}
		lab.onUp = service.listen
		lab.onApply["restarts"] = func(s *server) {
			s.upgrade("nginx:amd64", "2")
			service.hangUp()
			synctest.Wait() // until the client has noticed
		}
		result := lab.run(holding(scripted("restarts")))
		if diff := cmp.Diff([]string{"PL206 apply restarts tcp/7"}, ids(result)); result.Outcome != verdict.Pass || diff != "" {
			t.Errorf("outcome %s (%s), findings (-want +got):\n%s", result.Outcome, result.Reason, diff)
		}
	})
}

func TestAPortThatNobodyListensOnCannotBeHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		result, err := harness.Run(t.Context(), lab.lab(), holding(scripted("good")), lab.options())
		var fault *patch.ScenarioError
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), "hold: no connection to tcp/7 can be held") {
			t.Errorf("error is %v", err)
		}
		if last := lastPhase(result); last != "teardown" {
			t.Errorf("the last phase is %s", last)
		}
		lab.checkNothingLeft()
	})
}

func lastPhase(result report.Result) string { return result.Phases[len(result.Phases)-1].Name }
