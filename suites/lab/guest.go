package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"

	"github.com/onsi/ginkgo/v2"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/handoff"
)

// maxBody bounds what is read of a file or of an answer.
const maxBody = 4 << 20

// Guest returns a connection to the guest, whose errors are told apart by themselves: one that wraps [guest.ErrLost] makes the
// run end as testbed.
func Guest() guest.Conn { return watched{raw()} }

func raw() guest.Conn {
	socket := current().Socket
	if socket == "" {
		return absent{}
	}
	return handoff.Dial(socket)
}

// Run runs a shell command line in the guest as its administrator. Any exit code is a result; the spec fails only if the
// guest could not be asked.
func Run(ctx context.Context, line string) guest.Result {
	ginkgo.GinkgoHelper()
	return RunAs(ctx, "", line)
}

// RunAs is Run as another user.
func RunAs(ctx context.Context, user, line string) guest.Result {
	ginkgo.GinkgoHelper()
	result, err := Guest().Run(ctx, guest.Command{Line: line, User: user})
	if err != nil {
		ginkgo.Fail(fmt.Sprintf("asking the guest: %v", err))
	}
	return result
}

// ReadFile reads a file of the guest, up to 4 MiB. The error wraps fs.ErrNotExist if there is none.
func ReadFile(ctx context.Context, path string) ([]byte, error) {
	var content bytes.Buffer
	err := Guest().Get(ctx, path, &limited{to: &content})
	return content.Bytes(), err
}

// limited refuses what is too much.
type limited struct{ to *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.to.Len()+len(p) > maxBody {
		return 0, fmt.Errorf("the file is longer than %d bytes", maxBody)
	}
	return l.to.Write(p)
}

// Answer is an answer to an HTTP request.
type Answer struct {
	Status int
	Header http.Header
	Body   string // up to 4 MiB
}

// HTTPGet makes a GET request as from inside the guest. It follows no redirect, and trusts any certificate: whether the
// service answers is the question, not for whom.
func HTTPGet(ctx context.Context, url string) (Answer, error) {
	answer, err := httpGet(ctx, raw(), url)
	noteLost(err)
	return answer, err
}

func httpGet(ctx context.Context, conn guest.Conn, url string) (answer Answer, err error) {
	transport := &http.Transport{
		DialContext:       conn.Dial,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return Answer{}, fmt.Errorf("asking for %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, err // says GET and the URL
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(body)}, nil
}

// watched records a lost guest with the running spec.
type watched struct{ guest.Conn }

func (w watched) Run(ctx context.Context, command guest.Command) (guest.Result, error) {
	result, err := w.Conn.Run(ctx, command)
	noteLost(err)
	return result, err
}

func (w watched) Put(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error {
	err := w.Conn.Put(ctx, path, mode, content)
	noteLost(err)
	return err
}

func (w watched) Get(ctx context.Context, path string, to io.Writer) error {
	err := w.Conn.Get(ctx, path, to)
	noteLost(err)
	return err
}

func (w watched) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.Conn.Dial(ctx, network, address)
	noteLost(err)
	return conn, err
}

// absent stands for a guest that is not there in this phase.
type absent struct{}

var errAbsent = fmt.Errorf("%w: no guest can be asked in this phase", guest.ErrLost)

func (absent) Run(context.Context, guest.Command) (guest.Result, error) {
	return guest.Result{}, errAbsent
}
func (absent) Put(context.Context, string, fs.FileMode, io.Reader) error { return errAbsent }
func (absent) Get(context.Context, string, io.Writer) error              { return errAbsent }
func (absent) Dial(context.Context, string, string) (net.Conn, error)    { return nil, errAbsent }
func (absent) Close() error                                              { return nil }
