// Package hypervisor is the contract between patchlab and whatever makes its domains.
//
// A driver makes domains, powers them and takes them away again; it never looks inside a guest. An error of a driver is a
// fault of the lab (outcome testbed), never of the patch under test. Every driver passes the suite in drivertest.
package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// ErrNotFound is returned for a domain that does not exist (any more).
var ErrNotFound = errors.New("no such domain")

// ErrExists is returned by [Driver.Define] for a name that is taken.
var ErrExists = errors.New("domain exists already")

// Driver makes domains. Its methods may be called from several goroutines. A context that ends makes a call return
// early with the context's error; the driver MUST stay usable afterwards.
type Driver interface {
	// Define makes the domain and its overlay disk without starting it. When it fails, it MUST leave nothing behind.
	Define(ctx context.Context, spec DomainSpec) (Domain, error)
	// Domains lists every domain that patchlab made, running or not, sorted by name. It never returns a foreign one.
	Domains(ctx context.Context) ([]Owned, error)
	// Lookup finds a domain that patchlab made. It returns an error that wraps [ErrNotFound] if there is none.
	Lookup(ctx context.Context, name string) (Domain, error)
	// Version names the hypervisor and its version ("libvirt 9.0.0, QEMU 7.2.22"): part of the key of everything
	// cached that a guest's behaviour went into.
	Version(ctx context.Context) (string, error)
	// Close gives up the connection. Domains live on.
	Close() error
}

// Domain is one defined machine. One that can be saved is a [Saver] as well, one that can be brought back a [Checkpointer].
type Domain interface {
	// Start turns the domain on. It fails if it is on.
	Start(ctx context.Context) error
	// State asks whether the domain is on. It returns ErrNotFound once the domain is undefined.
	State(ctx context.Context) (State, error)
	// Address returns the host:port on this host at which the guest's port 22 answers. It needs a started domain, and stays
	// the same until the domain is off.
	Address(ctx context.Context) (string, error)
	// Destroy pulls the plug, but lets the hypervisor's process put its files in order: see [PowerCutter]. It returns nil if the
	// domain is off already.
	Destroy(ctx context.Context) error
	// Undefine removes the domain, its EFI variables, its checkpoints, and its overlay disk if it has a backing image. It destroys a
	// running domain first, and returns nil if all is gone already.
	Undefine(ctx context.Context) error
}

// PowerCutter is a domain whose power can be cut as nobody would on purpose.
type PowerCutter interface {
	// CutPower kills the hypervisor's process of a running domain, without a word to it or to its guest: what the guest had flushed to
	// its disk is there at the next start, and what only the guest or the process knew of is gone. The domain is off when it
	// returns, and the next start boots. It fails if the domain is not running: then it was not this power cut that ended it.
	CutPower(ctx context.Context) error
}

// Screenshotter is a domain that can show its screen.
type Screenshotter interface {
	// Screenshot returns the screen as PNG. It needs a running domain.
	Screenshot(ctx context.Context) ([]byte, error)
}

// ScreenReader is a domain whose screen can be read as text.
type ScreenReader interface {
	// ScreenText returns the rows of the guest's text screen, without blanks at their ends and without empty rows at the end. It
	// needs a running domain. A guest that shows a picture instead has nothing there, or what it wrote before: firmware and
	// boot loader of a PC show text.
	ScreenText(ctx context.Context) ([]byte, error)
}

// ErrNoAgent is returned by [AgentCaller.CallAgent] while no guest agent answers: it is not installed, not running yet, or the
// guest hangs.
var ErrNoAgent = errors.New("no guest agent answers")

// AgentCaller is a domain that carries commands to the QEMU guest agent, which needs no network in the guest.
type AgentCaller interface {
	// CallAgent hands one JSON command ({"execute": ..., "arguments": ...}) to the guest's agent and returns its whole JSON
	// answer ({"return": ...}), which the guest wrote: it is not to be trusted. It returns an error that wraps [ErrNoAgent] if
	// nobody answers within a few seconds or by the end of ctx, and an [*AgentError] if the agent refuses the command.
	CallAgent(ctx context.Context, command []byte) ([]byte, error)
}

// ErrNoChannel is returned by [ChannelDialer.DialChannel] where there is no way to a guest's port: from another machine, or
// where another user than ours may not connect.
var ErrNoChannel = errors.New("the guest's port cannot be reached")

// Channel is the name of the serial port that every domain has for a program of ours in its guest.
const Channel = "org.patchlab.probe.0"

// ChannelDialer is a domain whose [Channel] can be reached.
type ChannelDialer interface {
	// DialChannel connects to the guest's port, whoever or whatever is at it. There is one connection at a time: the next one
	// waits until it is closed. It needs a running domain, and returns an error that wraps [ErrNoChannel] where there is no
	// way.
	DialChannel(ctx context.Context) (net.Conn, error)
}

// Key is a key of a PC's keyboard, by its number in Linux (input-event-codes.h).
type Key uint

// The keys that are pressed here.
const (
	KeyAlt   Key = 56
	KeySysRq Key = 99
	KeyS     Key = 31
)

// Keyboard is a domain that has one.
type Keyboard interface {
	// Press presses some keys together, and lets go of them. It needs a running domain; whether anybody in the guest looks at the
	// keyboard is not known.
	Press(ctx context.Context, keys ...Key) error
}

// ErrNoDisk is returned by [DiskHolder.Disk] where no other domain could open the disk: on another machine, or where QEMU runs as a
// user to whom patchlab may not hand it.
var ErrNoDisk = errors.New("the disk cannot be opened by another domain")

// DiskHolder is a domain whose disk can be opened by another one, while it is off.
type DiskHolder interface {
	// Disk returns the file on this host that the guest writes to: [Disk.Path], or what lies above that since the last checkpoint. The
	// domain MUST be off. It returns an error that wraps [ErrNoDisk] where there is no way.
	Disk(ctx context.Context) (string, error)
}

// AgentError is the guest agent's own refusal of a command.
type AgentError struct {
	Class, Description string
}

func (e *AgentError) Error() string { return fmt.Sprintf("the guest agent refuses: %s", e.Description) }

// State of a domain.
type State int

// The states that matter here.
const (
	StateInvalid State = iota
	StateOff
	StateRunning
	StatePaused
	// StateCrashed is a domain whose hypervisor process failed or was killed from outside.
	StateCrashed
)

func (s State) String() string {
	switch s {
	case StateOff:
		return "off"
	case StateRunning:
		return "running"
	case StatePaused:
		return "paused"
	case StateCrashed:
		return "crashed"
	default:
		return fmt.Sprintf("state %d", int(s))
	}
}

// Owned tells to which run a domain belongs; it is read from the domain's own metadata, so that what a killed run left
// behind can be found and taken away.
type Owned struct {
	Name   string
	RunID  string
	RunDir string // the run directory; a live run holds the lock on it
	State  State
}

// Firmware that starts the guest.
type Firmware string

// The firmwares.
const (
	BIOS Firmware = "bios"
	EFI  Firmware = "efi"
)

// Accelerator executes the guest's instructions.
type Accelerator string

// The accelerators.
const (
	KVM Accelerator = "kvm"
	TCG Accelerator = "tcg"
)

// DomainSpec describes a domain to be made.
type DomainSpec struct {
	Name   string // unique among the driver's domains; letters, digits and dashes
	RunID  string // recorded in the domain's metadata
	RunDir string // recorded in the domain's metadata

	Firmware    Firmware
	Accelerator Accelerator
	MemoryMiB   int
	VCPUs       int

	Disk Disk
	// Variables are the EFI variables; for [EFI] only, and needed there.
	Variables Variables
	// Seed is an ISO 9660 file that the guest sees as a read-only CD, such as cloud-init's NoCloud data; may be empty. It is
	// the caller's: Define fails without it, and nobody but the caller removes it.
	Seed string
	// Console is the file on the host that receives everything the guest writes to its first serial port, over
	// all its boots. The driver creates it.
	Console string

	// Kernel, Initrd and CommandLine start the guest directly instead of through its boot loader, when Kernel is set.
	Kernel, Initrd, CommandLine string

	// Credentials are handed to the guest's init system as SMBIOS type 11 strings (systemd.system-credentials(7)), so
	// that nothing need be written to its disk.
	Credentials map[string]string
	// Memory is a new file on this host to keep the guest's RAM in, for a domain that is going to be saved and of which many
	// go on: what they only read is in the host's memory once. Define makes it, and nobody but the caller removes it. Empty is
	// RAM that no other domain shares.
	Memory string
	// Resume, when its State is set, is what the first start of the domain that Define returns goes on from, instead of a boot.
	// Its files are not written to: what the guest changes is its own. Every other start boots. The disk has to be above that of
	// the same instant, the EFI variables from those of the same, and Memory, MemoryMiB, VCPUs, Firmware, Accelerator,
	// Credentials, MAC and Machine as they were; a seed has to be there if one was.
	Resume Saved
	// Checkpoints is a directory on this host for the domain's checkpoints, see [Checkpointer]. It is made with the first of them,
	// and Undefine removes it. Empty is a domain that needs none.
	Checkpoints string
	// Machine is the UUID by which the guest's firmware tells one machine from another (SMBIOS type 1); empty is another
	// for each domain. A guest that goes on from Resume would else be another machine after its first reboot.
	Machine string
	// MAC is the address of the guest's network card. The card has no route out: only its port 22 is reachable, from
	// this host.
	MAC string
}

// Disk is the guest's first disk, of format qcow2.
type Disk struct {
	Path string // the file that the guest writes to
	// Backing is the read-only image below. With it, Path is a new overlay that Define makes and Undefine removes;
	// without it, Path exists already and stays.
	Backing string
}

// Variables are the memory in which EFI firmware keeps its settings and boot entries, a raw file.
type Variables struct {
	// Path is the domain's own file: Define makes it as a copy of From, Undefine removes it.
	Path string
	// From is the image's file, which is never written to; empty means the firmware's own, in which nothing is set.
	From string
}
