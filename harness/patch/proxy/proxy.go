// Package proxy is the only way out of a clone: an HTTP proxy on the host that hands Debian packages from the host's mirror
// to the APT of a guest, and nothing else to anybody.
//
// The guest names an alias host and never learns which mirror is behind: redirects are followed here, and neither headers,
// bodies of errors nor recorded sentences name it. Files that never change (packages, indexes by hash) are kept on disk and
// checked each time they are served. What the mirror does wrong is kept apart from what APT does wrong: a mirror that does not
// answer is the lab's fault, never the patch's.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchlab/patchlab/harness/mirror"
)

// Config says what is handed out.
type Config struct {
	// Upstreams maps a path on the alias host ("/debian/") to the base URL behind it.
	Upstreams map[string]string
	// CacheDir keeps files that never change; it may be shared with other proxies. "" keeps none.
	CacheDir string

	Host      string            // the alias host; default [mirror.AliasHost]
	Transport http.RoundTripper // default: like http.DefaultTransport, which obeys HTTP_PROXY, but impatient
	Log       io.Writer         // a line for each request; default none

	// RetryInterval is the first pause after an attempt that failed; it doubles. Default 500 ms, which gives a mirror
	// 3.5 s in the default four attempts.
	RetryInterval time.Duration
	// StallBound is how long the mirror may send nothing; default 30 s, which is APT's own patience.
	StallBound time.Duration
	// FetchBound is how long one file may take; default 15 minutes.
	FetchBound time.Duration
	// MaxCache bounds the bytes in CacheDir: what nobody has asked for the longest goes when a proxy is made. Default 4 GiB, which
	// is ten times what the updates of a server come to in a year.
	MaxCache int64
	// MaxFile and MaxTotal bound the bytes of one file and of everything that is fetched: no guest may fill the host's disk.
	// Defaults 2 GiB and 16 GiB.
	MaxFile, MaxTotal int64
}

// Proxy is an [http.Handler] to be served on a port inside the guest.
type Proxy struct {
	config   Config
	prefixes map[string]*url.URL // with a slash at both ends
	client   *http.Client
	store    *store // nil without CacheDir
	journal  journal
	fetched  atomic.Int64  // bytes from the mirror
	busy     chan struct{} // one element for each request that is being answered

	mu      sync.Mutex
	pending map[string]*download // by path
}

var _ http.Handler = (*Proxy)(nil)

// defaultMaxCache is of [Config.MaxCache].
const defaultMaxCache = 4 << 30

// New checks the configuration, makes the cache directory and clears it up.
func New(config Config) (*Proxy, error) {
	setDefault(&config.Host, mirror.AliasHost)
	setDefault(&config.RetryInterval, 500*time.Millisecond)
	setDefault(&config.StallBound, 30*time.Second)
	setDefault(&config.FetchBound, 15*time.Minute)
	setDefault(&config.MaxFile, 2<<30)
	setDefault(&config.MaxTotal, 16<<30)
	if config.Transport == nil {
		transport, ok := http.DefaultTransport.(*http.Transport)
		if !ok {
			return nil, errors.New("making the package proxy: http.DefaultTransport was replaced")
		}
		transport = transport.Clone()
		transport.ResponseHeaderTimeout = config.StallBound
		config.Transport = transport
	}
	prefixes, err := parseUpstreams(config.Upstreams)
	if err != nil {
		return nil, fmt.Errorf("making the package proxy: %w", err)
	}
	p := &Proxy{
		config: config, prefixes: prefixes, client: &http.Client{Transport: config.Transport},
		journal: journal{log: config.Log}, pending: map[string]*download{},
		busy: make(chan struct{}, requestsMost),
	}
	if config.CacheDir != "" {
		if err := os.MkdirAll(config.CacheDir, 0o755); err != nil {
			return nil, fmt.Errorf("making the package proxy's cache: %w", err)
		}
		if _, err := Sweep(config.CacheDir, config.MaxCache); err != nil {
			return nil, err
		}
		p.store = &store{dir: config.CacheDir}
	}
	return p, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func parseUpstreams(upstreams map[string]string) (map[string]*url.URL, error) {
	if len(upstreams) == 0 {
		return nil, errors.New("no upstreams")
	}
	prefixes := map[string]*url.URL{}
	for prefix, base := range upstreams {
		u, err := url.Parse(base)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("upstreams[%q]: %q is no http or https URL of a directory", prefix, base)
		}
		trimmed := strings.Trim(prefix, "/")
		if trimmed == "" {
			return nil, fmt.Errorf("upstreams[%q]: a path of its own is needed, such as /debian/", prefix)
		}
		prefixes["/"+trimmed+"/"] = u
	}
	return prefixes, nil
}

// Requests are the requests so far, the oldest first; of very many the first are kept.
func (p *Proxy) Requests() []Request { return p.journal.all() }

// Errors are the requests that failed because of the mirror or of this host, in sentences that do not name the mirror. While
// there are none, what APT complains about is not the lab's fault.
func (p *Proxy) Errors() []error { return p.journal.failures() }

// Packages returns the SHA-256 digests, in hexadecimal, of the package files that were handed out whole, by their file
// names: they are what was tested. Without a CacheDir there are none.
func (p *Proxy) Packages() map[string]string {
	digests := map[string]string{}
	for _, r := range p.Requests() {
		if p.store == nil || r.Status != http.StatusOK || !strings.HasSuffix(r.Path, ".deb") {
			continue
		}
		if digest, err := os.ReadFile(p.store.file(r.Path) + recordExt); err == nil {
			digests[path.Base(r.Path)] = strings.TrimSpace(string(digest))
		}
	}
	return digests
}

// Distrust forgets the package files that were served from the cache, and returns how many: APT has found one of them wrong. The
// cache knows what came, not what should have come.
func (p *Proxy) Distrust() int {
	forgotten := 0
	for _, r := range p.Requests() {
		if r.Cached && strings.HasSuffix(r.Path, "deb") && p.store.remove(p.store.file(r.Path)) == nil {
			forgotten++
		}
	}
	return forgotten
}

// requestsMost bounds the requests that are answered at a time; APT makes one or two.
const requestsMost = 16

// Serve answers on a listener, which it closes, until ctx ends. The error is the listener's, nil when ctx ended.
func (p *Proxy) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // what a guest can provoke is not for the host's terminal
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.Serve(listener)
	if ctx.Err() != nil {
		return nil
	}
	_ = server.Close()
	return fmt.Errorf("serving packages: %w", err)
}

// ServeHTTP answers one request of the guest's APT.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &answer{ResponseWriter: w}
	entry := Request{Start: time.Now(), Method: r.Method, Path: r.URL.Path}
	defer func() { // also when the answer is broken off
		entry.Status, entry.Bytes, entry.Seconds = answer.status, answer.bytes, time.Since(entry.Start).Seconds()
		p.journal.add(entry)
	}()
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-r.Context().Done():
		return
	}
	t, err := p.admit(r)
	if err != nil {
		refuse(answer, http.StatusForbidden, err.Error())
		return
	}
	if p.store != nil && t.immutable() {
		entry.Cached, err = p.serveStored(answer, r, t)
	} else {
		err = p.passThrough(answer, r, t)
	}
	if err == nil {
		return
	}
	if status, ok := errors.AsType[statusError](err); ok {
		refuse(answer, int(status), "the archive has no such file")
		return
	}
	entry.Err = fmt.Errorf("fetching %s: %w", t.alias(), err)
	p.journal.fail(entry.Err) // before APT can know, so that whoever sees APT fail finds it
	if answer.status != 0 {   // too late for another status: APT must not take the part for the whole
		panic(http.ErrAbortHandler)
	}
	refuse(answer, http.StatusBadGateway, "the host could not fetch this file") // why is not for the guest
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "patchlab: "+why+"\n")
}

// answer notes what was sent.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}
