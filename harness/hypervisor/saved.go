package hypervisor

import (
	"context"
	"errors"
)

// ErrCannotSave is wrapped by the errors of a driver that cannot save domains, or make them of saved ones: on another machine,
// where something confines QEMU, or where its user may not read what this one writes. A guest can be booted there all the same.
var ErrCannotSave = errors.New("saved domains are not possible here")

// Saved is a guest that stands still in the middle of its work: its RAM and its devices. It belongs to the disk and the EFI
// variables as they were at that instant, to a domain of the same hardware, and to the hypervisor that saved it.
type Saved struct {
	// State is the file with the state of the devices, and with the RAM unless that is in Memory.
	State string
	// Memory is the file with the RAM, of as many bytes as the guest has; may be empty.
	Memory string
}

// Saver is a domain that can be saved.
type Saver interface {
	// Save stops a running guest between two of its instructions and writes it to a new file on this host, for
	// [DomainSpec.Resume]. The domain is off then, and its disk is that of the same instant. What Save leaves when it fails is
	// a domain that is off or stands still, and no file.
	//
	// The RAM goes into the file too, unless the domain has [DomainSpec.Memory]: then it is there.
	Save(ctx context.Context, state string) error
}
