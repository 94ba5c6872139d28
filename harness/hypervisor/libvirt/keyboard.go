package libvirt

import (
	"context"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// Press presses keys together.
func (d *domain) Press(ctx context.Context, keys ...hypervisor.Key) error {
	const hold = 100 // milliseconds
	codes := make([]uint32, len(keys))
	for i, key := range keys {
		codes[i] = uint32(key)
	}
	return d.do(ctx, "pressing keys of", func(l *golibvirt.Libvirt) error {
		return l.DomainSendKey(d.handle, uint32(golibvirt.KeycodeSetLinux), hold, codes, 0)
	})
}
