package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/patch/proxy"
	"github.com/patchlab/patchlab/harness/wait"
)

const (
	alias = "http://debian.patchlab.invalid"
	deb   = "/debian/pool/main/o/openssl/openssl_3.0.22-1~deb12u1_amd64.deb"
)

var debContent = "!<arch>\n" + strings.Repeat("content of a package ", 10_000)

// upstream is a mirror that counts what it is asked.
type upstream struct {
	*httptest.Server
	asked   atomic.Int64
	handler http.HandlerFunc
}

func newUpstream(t *testing.T, handler http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{handler: handler}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.asked.Add(1)
		w.Header().Set("Server", "a mirror with a name")
		w.Header().Set("Via", "1.1 cache.mirror.example")
		u.handler(w, r)
	}))
	t.Cleanup(u.Close)
	return u
}

func serves(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), strings.NewReader(content))
	}
}

// lab is a proxy before an upstream, and a client that uses it as APT does.
type lab struct {
	proxy  *proxy.Proxy
	client *http.Client
	addr   string
}

func newLab(t *testing.T, u *upstream, change func(*proxy.Config)) lab {
	t.Helper()
	config := proxy.Config{
		Upstreams:     map[string]string{"/debian/": u.URL + "/base", "/debian-security/": u.URL + "/security"},
		RetryInterval: time.Millisecond,
	}
	if change != nil {
		change(&config)
	}
	p, err := proxy.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(at), DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return lab{proxy: p, addr: at.Host, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func cached(dir string) func(*proxy.Config) {
	return func(c *proxy.Config) { c.CacheDir = dir }
}

// get returns status, body and headers; header pairs are sent.
func (l lab) get(t *testing.T, address string, header ...string) (int, string, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := l.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", address, err)
	}
	return response.StatusCode, string(body), response.Header
}

// raw sends a request line that net/http would not, and returns the status.
func (l lab) raw(t *testing.T, line string) int {
	t.Helper()
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: debian.patchlab.invalid\r\nConnection: close\r\n\r\n", line); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestOnlyArchiveFilesAreServed(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, serves("file"))
	l := newLab(t, u, nil)
	for line, want := range map[string]int{
		"GET " + alias + "/debian/dists/bookworm/InRelease":           200,
		"HEAD " + alias + "/debian/dists/bookworm/InRelease":          200,
		"GET " + alias + ":80/debian/dists/bookworm/InRelease":        200,
		"GET " + alias + "/debian/pool/g%2b%2b/g%2b%2b_4%3a1%7e2.deb": 200,
		"GET " + alias + "/debian-security/dists/x/InRelease":         200,
		"POST " + alias + "/debian/dists/x":                           403,
		"DELETE " + alias + "/debian/dists/x":                         403,
		"CONNECT debian.patchlab.invalid:443":                         403,
		"CONNECT 127.0.0.1:22":                                        403,
		"GET /debian/dists/bookworm/InRelease":                        403,
		"GET " + alias + ":8080/debian/dists/x":                       403,
		"GET https://debian.patchlab.invalid/debian/dists/x":          403,
		"GET ftp://debian.patchlab.invalid/debian/dists/x":            403,
		"GET http://169.254.169.254/debian/dists/x":                   403,
		"GET http://localhost/debian/dists/x":                         403,
		"GET http://u:p@debian.patchlab.invalid/debian/dists/x":       403,
		"GET " + alias + ".evil.example/debian/dists/x":               403,
		"GET " + alias + "/debian/dists/x?query":                      403,
		"GET " + alias + "/debian/dists/x?":                           403,
		"GET " + alias + "/":                                          403,
		"GET " + alias + "/debian":                                    403,
		"GET " + alias + "/debian/":                                   403,
		"GET " + alias + "/debian/dists/":                             403,
		"GET " + alias + "/other/file":                                403,
		"GET " + alias + "/debian/../secret":                          403,
		"GET " + alias + "/debian/dists/../../secret":                 403,
		"GET " + alias + "/debian/%2e%2e/secret":                      403,
		"GET " + alias + "/debian/..%2fsecret":                        403,
		"GET " + alias + "/debian/%252e%252e/secret":                  403,
		"GET " + alias + "/debian/./file":                             403,
		"GET " + alias + "/debian//file":                              403,
		"GET " + alias + "//debian/file":                              403,
		"GET " + alias + "/debian/%2ffile":                            403,
		"GET " + alias + "/debian/a%5cb":                              403,
		"GET " + alias + "/debian/a%00b":                              403,
		"GET " + alias + "/debian/a%0d%0ab":                           403,
		"GET " + alias + "/debian/" + strings.Repeat("a/", 600) + "a": 403,
	} {
		before := u.asked.Load()
		if got := l.raw(t, line); got != want {
			t.Errorf("%s: status %d, want %d", line, got, want)
		}
		if asked := u.asked.Load() - before; want == 403 && asked != 0 {
			t.Errorf("%s: the mirror was asked", line)
		}
	}
	if errs := l.proxy.Errors(); len(errs) != 0 {
		t.Errorf("refusals count as the mirror's errors: %v", errs)
	}
}

func TestRequestsReachTheArchiveBehindTheirPrefix(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path+" "+r.Host) })
	l := newLab(t, u, nil)
	host := strings.TrimPrefix(u.URL, "http://")
	for path, want := range map[string]string{
		"/debian/dists/x/InRelease":         "/base/dists/x/InRelease " + host,
		"/debian-security/dists/y/Packages": "/security/dists/y/Packages " + host,
		"/debian/pool/a%2bb~c":              "/base/pool/a+b~c " + host,
	} {
		if _, got, _ := l.get(t, alias+path); got != want {
			t.Errorf("%s reached %q, want %q", path, got, want)
		}
	}
}

func TestTheMirrorStaysUnknown(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, nil)
	u.handler = func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/moved"):
			http.Redirect(w, r, "/base/dists/there", http.StatusFound)
		case strings.HasSuffix(r.URL.Path, "/there"):
			_, _ = io.WriteString(w, "found")
		case strings.HasSuffix(r.URL.Path, "/nowhere"):
			http.Redirect(w, r, "http://mirror.example.invalid:1/x", http.StatusFound)
		default:
			http.Error(w, "no such file at "+u.URL, http.StatusNotFound)
		}
	}
	l := newLab(t, u, nil)
	host := strings.TrimPrefix(u.URL, "http://")
	for path, want := range map[string]int{"moved": 200, "missing": 404, "nowhere": 502} {
		status, body, header := l.get(t, alias+"/debian/dists/"+path)
		if status != want || (want == 200 && body != "found") {
			t.Errorf("%s: %d %q, want %d", path, status, body, want)
		}
		told := fmt.Sprint(body, header)
		if strings.Contains(told, host) || strings.Contains(told, "mirror.example") || header.Get("Location")+header.Get("Server")+header.Get("Via") != "" {
			t.Errorf("%s tells who the mirror is: %s", path, told)
		}
	}
	for _, err := range l.proxy.Errors() {
		if strings.Contains(err.Error(), host) || strings.Contains(err.Error(), "mirror.example") {
			t.Errorf("an error tells who the mirror is: %v", err)
		}
	}
}

func TestConditionsAndRangesPass(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, serves("0123456789"))
	dir := t.TempDir()
	u.handler = func(w http.ResponseWriter, r *http.Request) {
		content := "0123456789"
		if strings.HasSuffix(r.URL.Path, ".deb") {
			content = "!<arch>\n89"
		}
		serves(content)(w, r)
	}
	l := newLab(t, u, cached(dir))
	stamp := time.Unix(1_700_000_000, 0).UTC().Format(http.TimeFormat)
	for _, path := range []string{alias + "/debian/dists/x/InRelease", alias + deb} {
		if status, _, header := l.get(t, path); status != 200 || header.Get("Last-Modified") != stamp || header.Get("Content-Length") != "10" {
			t.Errorf("%s: %d, %v", path, status, header)
		}
		if status, body, _ := l.get(t, path, "If-Modified-Since", stamp); status != 304 || body != "" {
			t.Errorf("%s since then: %d %q, want 304", path, status, body)
		}
		if status, body, header := l.get(t, path, "Range", "bytes=8-"); status != 206 || body != "89" || header.Get("Content-Range") != "bytes 8-9/10" {
			t.Errorf("%s from the middle: %d %q %v", path, status, body, header)
		}
		if status, _, _ := l.get(t, path, "Range", "bytes=10-"); status != 416 {
			t.Errorf("%s behind its end: %d, want 416", path, status)
		}
	}
}

// stored are the files of a cache that are content, not records.
// broken announces content and breaks off in its middle.
func broken(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = io.WriteString(w, content[:len(content)/2])
		panic(http.ErrAbortHandler)
	}
}

func TestAMirrorThatRecoversIsNoError(t *testing.T) {
	t.Parallel()
	for _, path := range []string{deb, "/debian/dists/x/InRelease"} {
		u := newUpstream(t, nil)
		u.handler = func(w http.ResponseWriter, r *http.Request) {
			switch u.asked.Load() {
			case 1:
				w.WriteHeader(http.StatusServiceUnavailable)
			case 2:
				panic(http.ErrAbortHandler)
			default:
				serves(debContent)(w, r)
			}
		}
		l := newLab(t, u, cached(t.TempDir()))
		if status, body, _ := l.get(t, alias+path); status != 200 || body != debContent || len(l.proxy.Errors()) != 0 {
			t.Errorf("%s: %d with %d bytes, errors %v", path, status, len(body), l.proxy.Errors())
		}
		if u.asked.Load() != 3 {
			t.Errorf("%s: asked %d times, want 3", path, u.asked.Load())
		}
	}
}

func TestAMirrorThatDoesNotRecoverIsToldApartFromAMissingFile(t *testing.T) {
	t.Parallel()
	dead := newUpstream(t, nil)
	dead.Close()
	answers := func(status int) *upstream {
		return newUpstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	for name, test := range map[string]struct {
		upstream *upstream
		status   int
		asked    int64
		sentence string // "" for no error
	}{
		"missing":       {answers(http.StatusNotFound), 404, 1, ""},
		"overloaded":    {answers(http.StatusServiceUnavailable), 502, 4, "the mirror answers 503"},
		"forbidden":     {answers(http.StatusForbidden), 502, 1, "the mirror answers 403"},
		"not reachable": {dead, 502, 0, "the mirror cannot be reached: dial: connect: connection refused"},
	} {
		for _, path := range []string{deb, "/debian/dists/x/InRelease"} {
			l := newLab(t, test.upstream, cached(t.TempDir()))
			test.upstream.asked.Store(0)
			status, body, _ := l.get(t, alias+path)
			if status != test.status || !strings.HasPrefix(body, "patchlab: ") || test.upstream.asked.Load() != test.asked {
				t.Errorf("%s: %d %q after %d attempts, want %d after %d", name, status, body, test.upstream.asked.Load(), test.status, test.asked)
			}
			want := ""
			if test.sentence != "" {
				want = fmt.Sprintf("[fetching %s%s: %s]", alias, path, test.sentence)
			}
			if errs := l.proxy.Errors(); fmt.Sprint(errs) != want && (want != "" || len(errs) != 0) {
				t.Errorf("%s: errors %v, want %s", name, errs, want)
			}
		}
	}
}

func TestAnIndexThatBreaksOffIsNotTakenForTheWhole(t *testing.T) {
	t.Parallel()
	l := newLab(t, newUpstream(t, broken(debContent)), nil)
	response, err := l.client.Get(alias + "/debian/dists/x/InRelease")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("the client believes that it has everything")
	}
	if errs := l.proxy.Errors(); len(errs) != 1 || !strings.HasSuffix(errs[0].Error(), "the mirror broke off") {
		t.Errorf("errors %v", errs)
	}
}

func TestAMirrorThatStallsIsGivenUp(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(debContent)))
		_, _ = io.WriteString(w, debContent[:100])
		_ = http.NewResponseController(w).Flush()
		<-end
	})
	t.Cleanup(func() { close(end) })
	l := newLab(t, u, func(c *proxy.Config) { c.StallBound, c.CacheDir = 20*time.Millisecond, t.TempDir() })
	if status, _, _ := l.get(t, alias+deb); status != http.StatusBadGateway || u.asked.Load() != 4 {
		t.Errorf("status %d after %d attempts, want 502 after 4", status, u.asked.Load())
	}
	if errs := l.proxy.Errors(); len(errs) != 1 || !strings.HasSuffix(errs[0].Error(), "the mirror stopped sending") {
		t.Errorf("errors %v", errs)
	}
}

func TestEachRequestIsRecorded(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	u := newUpstream(t, serves(debContent))
	l := newLab(t, u, func(c *proxy.Config) { c.Log, c.CacheDir = &log, t.TempDir() })
	for i, ask := range []func(){
		func() { l.get(t, alias+deb) }, func() { l.get(t, alias+deb) }, func() { l.raw(t, "GET "+alias+"/debian/%1b%5b2J") },
	} {
		ask()
		if err := wait.Until(t.Context(), "the record", time.Millisecond, func(context.Context) (bool, error) {
			return len(l.proxy.Requests()) > i, nil // it is made after the answer
		}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, r := range l.proxy.Requests() {
		got = append(got, fmt.Sprint(r.Method, " ", r.Path, " ", r.Status, " ", r.Bytes > 0, " ", r.Cached))
	}
	want := []string{"GET " + deb + " 200 true false", "GET " + deb + " 200 true true", "GET /debian/ 403 true false"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("recorded:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if lines := strings.Count(log.String(), "\n"); lines != 3 || strings.Contains(log.String(), "\x1b") {
		t.Errorf("log:\n%q", log.String())
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p, err := proxy.New(proxy.Config{Upstreams: map[string]string{"/debian/": "http://mirror.example"}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, listener) }()
	response, err := http.Get("http://" + listener.Addr().String() + "/debian/x")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, want 403", response.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
	_ = listener.Close()
	if err := p.Serve(t.Context(), listener); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Serve on a closed listener: %v", err)
	}
}

func TestAWrongConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for name, upstreams := range map[string]map[string]string{
		"none": nil, "no URL": {"/debian/": "mirror"}, "a file": {"/debian/": "file:///etc"},
		"everything": {"/": "http://mirror.example"}, "a query": {"/debian/": "http://mirror.example/?x"},
	} {
		if _, err := proxy.New(proxy.Config{Upstreams: upstreams}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
