package harness_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/verdict"
)

const (
	rightPackage = "!<arch>\nthe package that the archive has signed"
	wrongPackage = "!<arch>\nanother package of the same name"
	packageURL   = "http://debian.patchlab.invalid/debian/pool/main/n/nginx/nginx_2_all.deb"
)

// apt plays APT: it fetches one package through the proxy that its configuration names, and knows which one is signed.
func (s *server) apt(ctx context.Context, _ guest.Command) guest.Result {
	fails := func(why string) guest.Result {
		return guesttest.Exits(100, "E: Failed to fetch "+packageURL+"  "+why+"\nE: Unable to fetch some archives\n", "")(ctx, guest.Command{})
	}
	file, _ := s.guest.File("/var/cache/patchlab/good/apt.conf")
	at := regexp.MustCompile(`Proxy "http://([^"]+)"`).FindSubmatch(file.Content)
	if at == nil {
		return fails("no proxy")
	}
	conn, err := s.guest.Dial(ctx)
	if err != nil {
		return fails(err.Error())
	}
	defer func() { _ = conn.Close() }()
	transport := &http.Transport{
		Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: string(at[1])}), DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return conn.Dial(ctx, network, address)
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, packageURL, http.NoBody)
	if err != nil {
		return fails(err.Error())
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fails(err.Error())
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	switch {
	case err != nil || response.StatusCode != http.StatusOK:
		return fails(response.Status)
	case string(content) != rightPackage:
		return fails("Hash Sum mismatch")
	}
	return guesttest.Says("\n@archives\nnginx_2_all.deb\n")(ctx, guest.Command{})
}

type mirrorFault struct {
	name   string
	mirror http.HandlerFunc // nil: nobody listens
	cached string           // in the cache from an earlier run
	want   verdict.Outcome
	reason string // part of it
}

func mirrorFaults() []mirrorFault {
	serves := func(content string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, content) }
	}
	return []mirrorFault{
		{"the mirror answers 503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "", verdict.Testbed, "503"},
		{"nobody answers in the mirror's place", nil, "", verdict.Testbed, "the mirror cannot be reached"},
		{"the mirror breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, rightPackage)
		}, "", verdict.Testbed, "the mirror broke off"},
		{"a page that asks for a login comes instead", serves("<html>please log in</html>"), "", verdict.Testbed, "no package"},
		{"the mirror has another package than is signed", serves(wrongPackage), "", verdict.Testbed, "Hash Sum mismatch"},
		{"a package in the cache is corrupt", serves(rightPackage), "corrupt", verdict.Pass, ""},
		{"a package in the cache is another than is signed", serves(rightPackage), wrongPackage, verdict.Pass, ""},
	}
}

func TestAFaultOfTheMirrorIsNotThePatchs(t *testing.T) {
	t.Parallel()
	for _, f := range mirrorFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			onStart := l.driver.OnStart
			l.driver.OnStart = func(spec hypervisor.DomainSpec) error {
				err := onStart(spec)
				s := l.servers[spec.Name]
				s.guest.OnPrefix("export DEBIAN_FRONTEND", s.apt)
				return err
			}
			l.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
			shared := l.lab()
			if f.cached != "" {
				fillCache(t, l, shared, f.cached)
			}
			shared.Mirror = servedBy(t, f.mirror)
			result, err := harness.Run(t.Context(), shared, updating(), l.options())
			requireNobodyBlamed(t, result, err)
			if result.Outcome != f.want || !strings.Contains(result.Reason, f.reason) {
				t.Errorf("outcome %s (%s), want %s (%s)", result.Outcome, result.Reason, f.want, f.reason)
			}
			requireNoSecret(t, result.RunDir, result)
			l.checkNothingLeft()
			requireNothingHalf(t, l)
		})
	}
}

func TestTheIncrementsOfARunShareListsThatAGivenStateDoesNotLeave(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var lines [2][]string // of the given state and of increments
	onStart := l.driver.OnStart
	l.driver.OnStart = func(spec hypervisor.DomainSpec) error {
		err := onStart(spec)
		l.servers[spec.Name].guest.OnPrefix("export DEBIAN_FRONTEND", func(ctx context.Context, c guest.Command) guest.Result {
			kind := 1
			if strings.Contains(c.Line, "/var/cache/patchlab/given/") {
				kind = 0
			}
			lines[kind] = append(lines[kind], c.Line)
			return guesttest.Says("\n@archives\nnginx_2_all.deb\n")(ctx, c)
		})
		return err
	}
	l.onApply["given"] = func(*server) { l.given = true }
	l.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
	shared := l.lab()
	shared.Mirror = servedBy(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	s := updating()
	s.Given = &scenario.Increment{Name: "given", APT: s.Increments[0].APT}
	if result, err := harness.Run(t.Context(), shared, s, l.options()); err != nil || result.Outcome != verdict.Pass {
		t.Fatalf("outcome %s (%s), error %v", result.Outcome, result.Reason, err)
	}
	if len(lines[0]) != 1 || strings.Contains(lines[0][0], "/run/patchlab/lists") {
		t.Errorf("a given state, which lasts longer than a run, keeps lists: %q", lines[0])
	}
	if len(lines[1]) != 1 || !strings.Contains(lines[1][0], "/run/patchlab/lists") {
		t.Errorf("an increment does not keep lists: %q", lines[1])
	}
}

// updating is a candidate from the archive.
func updating() scenario.Scenario {
	s := scripted("good")
	s.Reboot = []scenario.Reboot{}
	s.Increments[0].Script = ""
	s.Increments[0].APT = &scenario.APT{Packages: []string{"nginx"}, Suite: "bookworm-security"}
	return s
}

// servedBy finds a mirror, with a password in its URL that nobody may get to see.
func servedBy(t *testing.T, handler http.HandlerFunc) func(context.Context) (mirror.Mirror, error) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	if handler == nil {
		server.Close()
	}
	at := strings.Replace(server.URL, "http://", "http://web:"+planted+"@", 1)
	return func(context.Context) (mirror.Mirror, error) { return mirror.Mirror{Main: at, Security: at}, nil }
}

// fillCache puts a package into the cache by a run before, and spoils it as asked.
func fillCache(t *testing.T, l *lab, shared harness.Lab, content string) {
	t.Helper()
	first := rightPackage
	if content != "corrupt" {
		first = content
	}
	shared.Mirror = servedBy(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, first) })
	if _, err := harness.Run(t.Context(), shared, updating(), l.options()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(harness.PackageCache(shared.CacheDir), "*", "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the cache holds %v, %v", files, err)
	}
	if content == "corrupt" {
		for _, file := range files {
			if !strings.HasSuffix(file, ".sha256") {
				if err := os.WriteFile(file, []byte("!<arch>\ncorrupt"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
