package libvirt

import (
	"context"
	"fmt"
	"net"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// humanMonitor is VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP, which the library does not name.
const humanMonitor uint32 = 1

// Address asks QEMU which port of the host it has chosen for the guest's port 22.
func (d *domain) Address(ctx context.Context) (string, error) {
	act := "asking for the address of domain " + d.handle.Name
	table, err := call(ctx, d.driver, act, func(l *golibvirt.Libvirt) (string, error) {
		return l.QEMUDomainMonitorCommand(d.handle, "info usernet", humanMonitor)
	})
	if err != nil {
		return "", err
	}
	address, err := forwardedAddress(table, "22")
	if err != nil {
		return "", fmt.Errorf("%s: %w", act, err)
	}
	return d.driver.place.reach(ctx, d.handle.Name, address)
}

// forwardedAddress finds the host's end of a forwarded port in what "info usernet" prints:
//
//	Hub -1 (patchlab0):
//	  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
//	  TCP[HOST_FORWARD]  23       127.0.0.1 43117       10.0.2.15    22     0     0
//
// Connections that are open have lines of their own, with another state.
func forwardedAddress(table, guestPort string) (string, error) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) >= 6 && fields[0] == "TCP[HOST_FORWARD]" && fields[5] == guestPort {
			return net.JoinHostPort(fields[2], fields[3]), nil
		}
	}
	return "", fmt.Errorf("QEMU forwards no port to the guest's port %s: %q", guestPort, table)
}
