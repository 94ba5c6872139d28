package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// connection is one client of libvirt. The library's calls take no context and its Disconnect can hang, so the network
// connection is ours: closing it ends whatever waits on it.
type connection struct {
	libvirt *golibvirt.Libvirt
	network net.Conn
}

func (e endpoint) dial(ctx context.Context) (*connection, error) {
	network, err := e.dialSocket(ctx)
	if err != nil {
		return nil, err
	}
	c := &connection{libvirt: golibvirt.NewWithDialer(newFrames(network)), network: network}
	stop := context.AfterFunc(ctx, func() { _ = network.Close() })
	defer stop()
	if err := c.libvirt.ConnectToURI(e.uri); err != nil {
		_ = network.Close() // the error of connecting says more
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("connecting to libvirt at %s: %w", network.RemoteAddr(), err)
	}
	return c, nil
}

func (e endpoint) dialSocket(ctx context.Context) (net.Conn, error) {
	var failure error
	for _, socket := range e.sockets {
		network, err := e.dialer(ctx, "unix", socket)
		if err == nil {
			return network, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connecting to libvirt: %w", context.Cause(ctx))
		}
		if failure == nil || !errors.Is(err, fs.ErrNotExist) { // what exists and refuses says more
			failure = err
		}
	}
	return nil, fmt.Errorf("connecting to libvirt: %w%s", failure, e.advice(failure))
}

// advice says what may help against an error of connecting.
func (e endpoint) advice(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission) && e.system:
		return "; membership in the group libvirt is needed"
	case e.target != nil && errors.Is(err, fs.ErrNotExist) && !e.system:
		return "; no libvirt listens there: start it on that machine, as virsh -c qemu:///session does, or name /system"
	case e.target != nil:
		return "" // it was said
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "; no libvirt listens there: start it, or name no URI and let patchlab start its own"
	default:
		return ""
	}
}

// goodbye bounds the polite end of a connection, which the other side has to answer.
const goodbye = 5 * time.Second

// close tells libvirt, lest it log an error, and gives up the connection.
func (c *connection) close() {
	timer := time.AfterFunc(goodbye, func() { _ = c.network.Close() })
	defer timer.Stop()
	_ = c.libvirt.Disconnect() // it is over either way
	_ = c.network.Close()
}

// call makes one or more calls of the library over a connection of their own. A connection costs a few milliseconds,
// and one that has to be cut when ctx ends takes no other call down with it.
func call[T any](ctx context.Context, d *Driver, act string, calls func(*golibvirt.Libvirt) (T, error)) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	c, err := d.endpoint.dial(ctx)
	if err != nil {
		return none, fmt.Errorf("%s: %w", act, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.network.Close() })
	answer, err := calls(c.libvirt)
	if !stop() && err != nil {
		return none, fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	c.close()
	if err != nil {
		return none, fmt.Errorf("%s: %w", act, translate(err))
	}
	return answer, nil
}

// translate gives libvirt's errors the meaning of the contract.
func translate(err error) error {
	switch {
	case isCode(err, golibvirt.ErrNoDomain):
		return fmt.Errorf("%w: %w", hypervisor.ErrNotFound, err)
	case errors.Is(err, golibvirt.ErrInterrupted):
		return errors.New("libvirt hung up in the middle of the call")
	default:
		return err
	}
}

// isCode tells whether err is libvirt's error of that number.
func isCode(err error, code golibvirt.ErrorNumber) bool {
	failure, ok := errors.AsType[golibvirt.Error](err)
	return ok && failure.Code == uint32(code)
}

// isTaken tells whether a define failed because the name is taken: libvirt has no number of its own for it.
func isTaken(err error) bool {
	return isCode(err, golibvirt.ErrDomExist) ||
		isCode(err, golibvirt.ErrOperationFailed) && strings.Contains(err.Error(), "already exists")
}
