// Package libvirt is the driver that makes its domains with libvirt and QEMU, over libvirt's own protocol.
package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/remote"
	"github.com/patchlab/patchlab/harness/sshclient"
)

var (
	_ hypervisor.Driver        = (*Driver)(nil)
	_ hypervisor.Domain        = (*domain)(nil)
	_ hypervisor.PowerCutter   = (*domain)(nil)
	_ hypervisor.Screenshotter = (*domain)(nil)
	_ hypervisor.AgentCaller   = (*domain)(nil)
	_ hypervisor.Keyboard      = (*domain)(nil)
	_ hypervisor.DiskHolder    = (*domain)(nil)
)

// Options of a connection.
type Options struct {
	// URI of the libvirt: qemu:///system or qemu:///session, with ?socket=PATH for one that listens elsewhere, or the same of
	// another machine: qemu+ssh://[USER@]HOST[:PORT]/system, with ?dir=PATH for where files go there.
	URI string
	// SSH is how that machine is reached; default the user's own settings.
	SSH sshclient.Config
	// Tell is told of what takes long, such as uploading an image; may be nil.
	Tell func(string)
	// Owner of the files that QEMU writes, if it runs as another user than patchlab and libvirt does not hand files
	// over itself; nil where that is not needed.
	Owner *Owner
}

// Owner is the user that QEMU runs as.
type Owner struct {
	Name string
	UID  int
	GID  int
}

// named finds the name of a user of this host of whom the number is known.
func named(owner *Owner) *Owner {
	if owner == nil {
		return nil
	}
	found, err := user.LookupId(strconv.Itoa(owner.UID))
	if err != nil {
		return owner
	}
	return &Owner{Name: found.Username, UID: owner.UID, GID: owner.GID}
}

// Driver makes domains with one libvirt.
type Driver struct {
	uri      string
	endpoint endpoint
	place    place
	guard    guard
	shell    func(ctx context.Context, script string) ([]byte, error) // nil for this host
	// lease is a connection that no call uses: a libvirt that ends itself when nobody needs it stays while it is open.
	lease *connection
	// cleanups are the ends of defines that were cut short.
	cleanups sync.WaitGroup
}

// Connect reaches a libvirt.
func Connect(ctx context.Context, opts Options) (*Driver, error) {
	endpoint, err := parseURI(opts.URI)
	if err != nil {
		return nil, err
	}
	if endpoint.target != nil {
		return connectDistant(ctx, endpoint, opts)
	}
	d := &Driver{uri: opts.URI, endpoint: endpoint, place: local{owner: opts.Owner}}
	if d.lease, err = endpoint.dial(ctx); err != nil {
		return nil, err
	}
	if opts.Owner == nil && endpoint.system {
		d.guard = askGuard(d.lease.libvirt)
		d.guard.owner = named(d.guard.owner)
		d.place = local{foreign: d.guard.owner}
	}
	return d, nil
}

// connectDistant reaches a libvirt through ssh.
func connectDistant(ctx context.Context, endpoint endpoint, opts Options) (_ *Driver, err error) {
	if opts.SSH.Home == "" {
		if opts.SSH, err = sshclient.UserConfig(os.Getenv); err != nil {
			return nil, err
		}
	}
	host, err := remote.Open(ctx, opts.SSH, *endpoint.target)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, host.Close())
		}
	}()
	found, err := survey(ctx, host, endpoint)
	if err != nil {
		return nil, err
	}
	if len(endpoint.sockets) == 0 {
		endpoint.sockets = socketsIn(found.session)
	}
	endpoint.dialer = socketDialer(host)
	d := &Driver{uri: opts.URI, endpoint: endpoint, place: newDistant(host, found.root, opts.Tell), shell: host.Shell}
	if d.lease, err = endpoint.dial(ctx); err != nil {
		return nil, err
	}
	d.guard = askGuard(d.lease.libvirt)
	return d, nil
}

// Shell runs a script on the machine that QEMU runs on; it is nil where that is this host.
func (d *Driver) Shell() func(ctx context.Context, script string) ([]byte, error) { return d.shell }

// HasKVM tells whether this libvirt offers KVM to its domains.
func (d *Driver) HasKVM(ctx context.Context) (bool, error) {
	return call(ctx, d, "asking libvirt for KVM", func(l *golibvirt.Libvirt) (bool, error) {
		_, err := l.ConnectGetDomainCapabilities(nil, golibvirt.OptString{"x86_64"}, golibvirt.OptString{"pc"}, golibvirt.OptString{"kvm"}, 0)
		if isCode(err, golibvirt.ErrInvalidArg) || isCode(err, golibvirt.ErrConfigUnsupported) || isCode(err, golibvirt.ErrNoSupport) {
			return false, nil // "the accel 'kvm' is not supported by ..."
		}
		return err == nil, err
	})
}

// closePatience bounds how long Close waits for defines that were cut short.
const closePatience = 10 * time.Second

// Close gives up the connection, after a define that was cut short is undone.
func (d *Driver) Close() error {
	undone := make(chan struct{})
	go func() {
		defer close(undone)
		d.cleanups.Wait()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	select {
	case <-undone:
	case <-ctx.Done():
	}
	d.lease.close()
	d.place.close()
	return nil
}

// Version names libvirt's and QEMU's versions.
func (d *Driver) Version(ctx context.Context) (string, error) {
	return call(ctx, d, "asking libvirt for its version", func(l *golibvirt.Libvirt) (string, error) {
		libvirt, err := l.ConnectGetLibVersion()
		if err != nil {
			return "", err
		}
		qemu, err := l.ConnectGetVersion()
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("libvirt %s, QEMU %s", dotted(libvirt), dotted(qemu)), nil
	})
}

// dotted takes apart libvirt's version numbers: major * 1,000,000 + minor * 1,000 + release.
func dotted(version uint64) string {
	return fmt.Sprintf("%d.%d.%d", version/1_000_000, version/1_000%1_000, version%1_000)
}

// Domains lists the domains whose metadata says that patchlab made them.
func (d *Driver) Domains(ctx context.Context) ([]hypervisor.Owned, error) {
	return call(ctx, d, "listing domains", func(l *golibvirt.Libvirt) ([]hypervisor.Owned, error) {
		const all = golibvirt.ConnectListDomainsActive | golibvirt.ConnectListDomainsInactive
		found, _, err := l.ConnectListAllDomains(1, all)
		if err != nil {
			return nil, err
		}
		owned := []hypervisor.Owned{}
		for _, handle := range found {
			meta, err := readMetadata(l, handle)
			if isCode(err, golibvirt.ErrNoDomain) || isCode(err, golibvirt.ErrNoDomainMetadata) {
				continue // gone meanwhile, or not ours
			}
			if err != nil {
				return nil, fmt.Errorf("reading the metadata of %s: %w", handle.Name, err)
			}
			if !d.isOurs(meta) {
				continue
			}
			state, err := readState(l, handle)
			if isCode(err, golibvirt.ErrNoDomain) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reading the state of %s: %w", handle.Name, err)
			}
			owned = append(owned, hypervisor.Owned{Name: handle.Name, RunID: meta.Run, RunDir: meta.Dir, State: state})
		}
		slices.SortFunc(owned, func(a, b hypervisor.Owned) int { return strings.Compare(a.Name, b.Name) })
		return owned, nil
	})
}

// Lookup finds a domain that patchlab made.
func (d *Driver) Lookup(ctx context.Context, name string) (hypervisor.Domain, error) {
	return call(ctx, d, "looking up domain "+name, func(l *golibvirt.Libvirt) (hypervisor.Domain, error) {
		handle, err := l.DomainLookupByName(name)
		if err != nil {
			return nil, err
		}
		meta, err := readMetadata(l, handle)
		if isCode(err, golibvirt.ErrNoDomainMetadata) {
			return nil, fmt.Errorf("%w that patchlab made", hypervisor.ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		if !d.isOurs(meta) {
			return nil, fmt.Errorf("%w that patchlab made from this host", hypervisor.ErrNotFound)
		}
		return &domain{driver: d, handle: handle, mark: meta}, nil
	})
}

// isOurs tells whether a domain was made from this host, and over a connection of this kind. Others' run directories are
// out of sight, so that nobody here can tell whether their runs are alive.
func (d *Driver) isOurs(mark metadata) bool {
	if d.endpoint.target == nil {
		return mark.Client == ""
	}
	return mark.Client == clientName()
}
