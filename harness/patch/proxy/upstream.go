package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/wait"
)

// attempts is how often a file is asked for before its mirror counts as broken.
const attempts = 4

// statusError is a plain no of the mirror, which is passed on as it is.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("the mirror answers %d", int(s)) }

// finalError is one that another attempt does not mend.
type finalError struct{ error }

// Unwrap returns the error.
func (f finalError) Unwrap() error { return f.error }

// patiently makes up to four attempts with growing pauses: after one, two and four intervals.
func (p *Proxy) patiently(ctx context.Context, attempt func(context.Context) error) error {
	var err error
	tick, made := 0, 0
	waitErr := wait.Until(ctx, "the mirror", p.config.RetryInterval, func(ctx context.Context) (bool, error) {
		due := 1<<made - 1 // 0, 1, 3, 7
		tick++
		if tick <= due {
			return false, nil
		}
		err = attempt(ctx)
		made++
		_, status := errors.AsType[statusError](err)
		_, final := errors.AsType[finalError](err)
		return err == nil || status || final || made == attempts, nil
	})
	if waitErr != nil && err == nil {
		err = waitErr
	}
	return err
}

// passedOn are the request headers that the mirror sees.
var passedOn = [...]string{"Range", "If-Range", "If-Modified-Since", "If-None-Match"}

// handedBack are the response headers that the guest sees. None of them tells who the mirror is.
var handedBack = [...]string{
	"Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", "Etag", "Last-Modified",
}

// request asks the mirror for a file. The statuses that it returns are 200, 206 and 304; each other one is an error.
func (p *Proxy) request(ctx context.Context, method string, t target, header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(ctx, method, t.upstream(), http.NoBody)
	if err != nil {
		cancel(nil)
		return nil, finalError{err}
	}
	request.Header.Set("User-Agent", "patchlab")
	request.Header.Set("Accept-Encoding", "identity") // or Go unpacks, and the length is gone
	for _, name := range passedOn {
		if value := header.Get(name); value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := p.client.Do(request)
	if err != nil {
		cancel(nil)
		return nil, p.hide(err)
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified:
		response.Body = newWatchedBody(response.Body, p.config.StallBound, cancel)
		return response, nil
	case http.StatusNotFound, http.StatusGone, http.StatusRequestedRangeNotSatisfiable:
		err = statusError(response.StatusCode)
	default:
		err = fmt.Errorf("the mirror answers %d", response.StatusCode)
		if response.StatusCode < http.StatusInternalServerError && response.StatusCode != http.StatusTooManyRequests {
			err = finalError{err}
		}
	}
	_ = response.Body.Close()
	cancel(nil)
	return nil, err
}

// watchedBody gives up on a mirror that stops sending.
type watchedBody struct {
	io.ReadCloser
	bound  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

var errStalled = errors.New("the mirror stopped sending")

func newWatchedBody(body io.ReadCloser, bound time.Duration, cancel context.CancelCauseFunc) *watchedBody {
	return &watchedBody{ReadCloser: body, bound: bound, cancel: cancel, timer: time.AfterFunc(bound, func() { cancel(errStalled) })}
}

// Read reads on, and starts the patience anew.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.timer.Reset(b.bound)
	return n, err
}

// Close ends the transfer.
func (b *watchedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// passThrough hands on a file that may change, with the conditions of the guest's request.
func (p *Proxy) passThrough(w http.ResponseWriter, r *http.Request, t target) error {
	ctx, cancel := context.WithTimeout(r.Context(), p.config.FetchBound)
	defer cancel()
	var response *http.Response
	err := p.patiently(ctx, func(ctx context.Context) (err error) {
		response, err = p.request(ctx, r.Method, t, r.Header) //nolint:bodyclose // closed below
		return err
	})
	if err != nil {
		return p.hide(err)
	}
	defer func() { _ = response.Body.Close() }()
	for _, name := range handedBack {
		if value := response.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(response.StatusCode)
	body := p.bounded(response.Body)
	if _, err := io.Copy(w, body); err != nil && body.err == nil {
		return nil // the guest has hung up, which is its own affair
	}
	if body.err != nil {
		return p.hide(body.err)
	}
	return nil
}

// bounded counts what comes from the mirror, and fails when it is more than any archive would send.
func (p *Proxy) bounded(body io.Reader) *boundedReader {
	return &boundedReader{reader: body, left: p.config.MaxFile, proxy: p}
}

type boundedReader struct {
	reader io.Reader
	left   int64
	proxy  *Proxy
	err    error // of the mirror, other than the end
}

// Read reads on within the bounds.
func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.reader.Read(p)
	b.left -= int64(n)
	switch {
	case b.left < 0:
		err = finalError{fmt.Errorf("it has more than %d bytes", b.proxy.config.MaxFile)}
	case b.proxy.fetched.Add(int64(n)) > b.proxy.config.MaxTotal:
		err = finalError{fmt.Errorf("the guest has fetched more than %d bytes in all", b.proxy.config.MaxTotal)}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
		return 0, err
	}
	return n, err
}

// hide says what happened to a request without the mirror's name and address, which errors of net and net/http are full of.
func (p *Proxy) hide(err error) error {
	if final, ok := errors.AsType[finalError](err); ok {
		return final
	}
	if status, ok := errors.AsType[statusError](err); ok {
		return status
	}
	if hidden, ok := errors.AsType[hiddenError](err); ok {
		return hidden
	}
	return hiddenError{p.sentence(err), err}
}

// hiddenError shows a sentence of our own; errors.Is still sees the cause.
type hiddenError struct {
	sentence string
	cause    error
}

func (h hiddenError) Error() string { return h.sentence }
func (h hiddenError) Unwrap() error { return h.cause }

func (p *Proxy) sentence(err error) string {
	switch {
	case errors.Is(err, errStalled):
		return errStalled.Error()
	case errors.Is(err, context.Canceled):
		return "given up before the mirror had answered"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "the mirror broke off"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the mirror's name does not resolve"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the mirror's certificate is not trusted"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "the mirror does not answer in time"
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Sprintf("the mirror cannot be reached: %s: %v", operation.Op, operation.Err)
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Sprintf("keeping it on this host: %v", file)
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	text := err.Error()
	for prefix, base := range p.prefixes {
		text = strings.ReplaceAll(text, base.String(), "http://"+p.config.Host+strings.TrimSuffix(prefix, "/"))
		text = strings.ReplaceAll(text, base.Hostname(), p.config.Host)
	}
	return text
}
