// Package examples_test compiles the examples of docs/suites.md and runs them, so that they stay true.
package examples_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/suite"
)

// webServer is a guest whose nginx answers with a status.
func webServer(t *testing.T, status string) guest.Conn {
	t.Helper()
	script := guesttest.NewScript()
	script.On("nginx -t", guesttest.Says(""))
	script.Handle("tcp", "127.0.0.1:80", func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		buffer := make([]byte, 4096)
		if _, err := conn.Read(buffer); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	})
	conn, err := script.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTheShopIsCompiledAndJudgesAGuest(t *testing.T) {
	t.Parallel()
	runner := suite.Runner{Dir: "."}
	program, err := runner.Compile(t.Context(), "./shop", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	port := fact.Fact{Kind: fact.KindPort, Name: "tcp/*:80"}
	site := fact.Fact{Kind: fact.KindFile, Name: "/etc/nginx/nginx.conf", Attributes: map[string]string{"sha256": "1"}}
	other := fact.Fact{Kind: fact.KindFile, Name: "/etc/nginx/nginx.conf", Attributes: map[string]string{"sha256": "2"}}
	before, after := fact.NewSet(port, site), fact.NewSet(port, other)
	for name, test := range map[string]struct {
		facts  fact.Set
		status string
		failed []string
	}{
		"a server as it was":        {before, "200 OK", nil},
		"one that is down":          {before, http.StatusText(http.StatusBadGateway), []string{"the shop serves its front page"}},
		"one that was reconfigured": {after, "200 OK", []string{"the shop listens, and moves nothing of its configuration"}},
		"one that serves no more":   {fact.NewSet(site), "200 OK", []string{"the shop listens, and moves nothing of its configuration"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := handoff.Handoff{Phase: "reboot", Baseline: before, Facts: test.facts, Suites: []string{program}}
			h.Drifts = drift.Compare(h.Baseline, h.Facts)
			for i := range h.Drifts {
				h.Drifts[i].Class = drift.Finding
			}
			if test.status != "200 OK" {
				test.status = "502 " + test.status
			}
			report, err := suite.Runner{Dir: "."}.Run(context.WithoutCancel(t.Context()), h, webServer(t, test.status),
				filepath.Join(t.TempDir(), "reboot"))
			if err != nil {
				t.Fatal(err)
			}
			var failed []string
			for _, spec := range report.Specs {
				if spec.State == suite.Failed {
					failed = append(failed, strings.TrimPrefix(spec.Name, "shop "))
				}
			}
			if diff := cmp.Diff(test.failed, failed); diff != "" || len(report.Specs) != 3 {
				t.Errorf("%d specs; failed (-want +got):\n%s", len(report.Specs), diff)
			}
		})
	}
}
