package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"
)

// download is one file on its way into the store, however many requests wait for it.
type download struct {
	done chan struct{}
	err  error // valid once done
}

// serveStored serves a file from the store, where it is brought first if it has to be: APT gets nothing that is not complete
// and checked. It reports whether the mirror was not asked.
func (p *Proxy) serveStored(w http.ResponseWriter, r *http.Request, t target) (cached bool, err error) {
	file, err := p.store.open(t.path())
	cached = err == nil
	if errors.Is(err, fs.ErrNotExist) {
		if err := p.bring(r.Context(), t); err != nil {
			return false, err
		}
		file, err = p.store.open(t.path())
	}
	if err != nil {
		return false, p.hide(err)
	}
	defer func() { _ = file.Close() }()
	return cached, serveFile(w, r, file)
}

func serveFile(w http.ResponseWriter, r *http.Request, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("serving it from this host: %w", err)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), file)
	return nil
}

// bring waits until a file is in the store. The download belongs to no request: when APT loses patience and asks again, it
// finds the download further on.
func (p *Proxy) bring(ctx context.Context, t target) error {
	p.mu.Lock()
	d := p.pending[t.path()]
	if d == nil {
		d = &download{done: make(chan struct{})}
		p.pending[t.path()] = d
		go p.download(context.WithoutCancel(ctx), t, d)
	}
	p.mu.Unlock()
	start := time.Now()
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return fmt.Errorf("the mirror was not done after %.0f s, when the guest gave up", time.Since(start).Seconds())
	}
}

func (p *Proxy) download(ctx context.Context, t target, d *download) {
	ctx, cancel := context.WithTimeout(ctx, p.config.FetchBound)
	defer cancel()
	err := p.patiently(ctx, func(ctx context.Context) error {
		response, err := p.request(ctx, http.MethodGet, t, nil)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK { // neither a range nor a condition was asked for
			return fmt.Errorf("the mirror answers %d", response.StatusCode)
		}
		content, err := p.whole(response, t)
		if err != nil {
			return err
		}
		modified, _ := http.ParseTime(response.Header.Get("Last-Modified"))
		return p.store.keep(t.path(), content, t.digest(), modified)
	})
	if err != nil {
		d.err = p.hide(err)
	}
	p.mu.Lock()
	delete(p.pending, t.path())
	p.mu.Unlock()
	close(d.done)
}

// whole returns the content of an answer that can be what it should be. A page that asks for a login, or a file whose end
// nobody could miss, must never get into the store: APT would find its digest wrong again and again.
func (p *Proxy) whole(response *http.Response, t target) (io.Reader, error) {
	if response.ContentLength < 0 {
		return nil, errors.New("the mirror does not say how long it is")
	}
	body := p.bounded(response.Body)
	if t.digest() != "" {
		return body, nil
	}
	const magic = "!<arch>\n" // of ar, deb(5)
	buffered := bufio.NewReader(body)
	if start, err := buffered.Peek(len(magic)); err == nil && string(start) == magic {
		return buffered, nil
	}
	if body.err != nil {
		return nil, body.err
	}
	return nil, errors.New("the mirror sends something that is no package")
}
