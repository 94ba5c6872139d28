package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// DialChannel connects to the socket that libvirt has made for the guest's port.
func (d *domain) DialChannel(ctx context.Context) (net.Conn, error) {
	act := "reaching the port of domain " + d.handle.Name
	if _, here := d.driver.place.(local); !here {
		return nil, fmt.Errorf("%s: %w: its QEMU is on another machine", act, hypervisor.ErrNoChannel)
	}
	text, err := call(ctx, d.driver, act, func(l *golibvirt.Libvirt) (string, error) {
		return l.DomainGetXMLDesc(d.handle, 0)
	})
	if err != nil {
		return nil, err
	}
	path, err := channelSocket(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", hypervisor.ErrNoChannel, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	return conn, nil
}

// channelSocket finds the socket in the description of a running domain.
func channelSocket(text string) (string, error) {
	var definition libvirtxml.Domain
	if err := definition.Unmarshal(text); err != nil {
		return "", err
	}
	if definition.Devices != nil {
		for _, c := range definition.Devices.Channels {
			named := c.Target != nil && c.Target.VirtIO != nil && c.Target.VirtIO.Name == hypervisor.Channel
			if named && c.Source != nil && c.Source.UNIX != nil && c.Source.UNIX.Path != "" {
				return c.Source.UNIX.Path, nil
			}
		}
	}
	return "", fmt.Errorf("%w: the domain has none, or is off", hypervisor.ErrNoChannel)
}
