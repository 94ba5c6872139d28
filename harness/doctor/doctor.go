// Package doctor looks whether a host can be a lab, and says how to mend what it lacks.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/accel"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/ovmf"
	"github.com/patchlab/patchlab/harness/undo"
)

// Status of a check.
type Status string

// The statuses.
const (
	OK   Status = "ok"
	Warn Status = "warn" // works, not as well as it could
	Fail Status = "fail" // patchlab cannot do its work
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`           // what was found
	Remedy string `json:"remedy,omitempty"` // what to do about it, unless installing Packages is enough
	// Packages of Debian that are missing for this.
	Packages []string `json:"packages,omitempty"`
}

// Host is what the checks ask. [ThisHost] asks the real one.
type Host struct {
	Root bool
	// Find returns the path of a program, also one that lies where only administrators' PATH leads.
	Find func(name string) (path string, found bool)
	// Output runs a program and returns what it writes.
	Output func(ctx context.Context, path string, arguments ...string) (string, error)
	// Exists tells whether there is such a file.
	Exists func(path string) bool
	// AvailableMemory and FreeSpace return bytes. A directory need not exist yet.
	AvailableMemory func() (uint64, error)
	FreeSpace       func(dir string) (uint64, error)
	// Firmware finds the EFI firmware of guests.
	Firmware func() (path string, err error)
	// HasSubordinateIDs tells whether /etc/subuid and /etc/subgid give this user more ids.
	HasSubordinateIDs func() (bool, error)
	// Measure runs the canary.
	Measure func(ctx context.Context) (accel.Report, error)
	// Connect reaches the libvirt that runs will use. It returns its version, and what else a user may want to know.
	Connect func(ctx context.Context) (version string, notes []string, err error)
	// Undo proves that a revert undoes what came after its checkpoint.
	Undo func(ctx context.Context) (undo.Report, error)
	// Foreign tells that this libvirt is not started by patchlab.
	Foreign bool
	// Machine is the other machine that this libvirt and its QEMUs run on; "" for this host.
	Machine string
	// Images and Runs are the directories that fill up.
	Images, Runs string
}

// Examine makes all checks, in the order in which they stand on each other.
func Examine(ctx context.Context, host Host) []Check {
	var checks []Check
	if host.Machine == "" { // another machine is asked when it is reached
		checks = append(checks,
			host.program(ctx, "qemu-system-x86_64", "qemu-system-x86"),
			host.program(ctx, "qemu-img", "qemu-utils"))
	}
	if !host.Foreign {
		checks = append(checks, host.program(ctx, "libvirtd", "libvirt-daemon", "libvirt-daemon-driver-qemu"))
	}
	ready := !failed(checks)
	if ready && host.Foreign { // what is measured is behind it
		checks = append(checks, host.libvirt(ctx))
		ready = !failed(checks)
	}
	if ready {
		checks = append(checks, host.accelerator(ctx))
	}
	if ready && !host.Foreign {
		checks = append(checks, host.libvirt(ctx))
		ready = !failed(checks)
	}
	if ready {
		checks = append(checks, host.checkpoints(ctx))
	}
	if host.Machine == "" {
		checks = append(checks, host.efi(), host.memory())
	}
	checks = append(checks,
		space("space for images", host.Images, leastImageSpace, host.FreeSpace),
		space("space for runs", host.Runs, leastRunSpace, host.FreeSpace))
	return append(checks, host.imageTools(ctx)...)
}

// Healthy tells whether patchlab can do its work here.
func Healthy(checks []Check) bool { return !failed(checks) }

func failed(checks []Check) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return c.Status == Fail })
}

// Install is the command that installs all that is missing, or empty.
func Install(checks []Check, root bool) string {
	var packages []string
	for _, c := range checks {
		packages = append(packages, c.Packages...)
	}
	if len(packages) == 0 {
		return ""
	}
	slices.Sort(packages)
	sudo := "sudo "
	if root {
		sudo = ""
	}
	return sudo + "apt-get install --no-install-recommends " + strings.Join(slices.Compact(packages), " ")
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// program looks for a program and asks for its version.
func (h Host) program(ctx context.Context, name string, packages ...string) Check {
	path, found := h.Find(name)
	if !found {
		return Check{Name: name, Status: Fail, Detail: "not installed", Packages: packages}
	}
	detail := path
	output, err := h.Output(ctx, path, "--version")
	if err != nil {
		return Check{
			Name: name, Status: Fail, Detail: fmt.Sprintf("%s does not run: %v", path, err),
			Remedy: "install the package " + packages[0] + " anew",
		}
	}
	if version := versionNumber.FindString(output); version != "" {
		detail = version + " (" + path + ")"
	}
	return Check{Name: name, Status: OK, Detail: detail}
}

// accelerator shows what the canary took: the device's existence says nothing.
func (h Host) accelerator(ctx context.Context) Check {
	check := Check{Name: "accelerator"}
	report, err := h.Measure(ctx)
	if err != nil {
		check.Status, check.Detail = Fail, err.Error()
		check.Remedy = "see whether qemu-system-x86_64 -accel tcg starts at all"
		return check
	}
	figures := fmt.Sprintf("the canary took %.1f s emulated", report.TCG.Seconds())
	switch report.KVMState {
	case accel.KVMWorks:
		figures += fmt.Sprintf(", %.1f s under KVM", report.KVM.Seconds())
	case accel.KVMTooSlow:
		figures += fmt.Sprintf(", %.1f s or more under KVM", report.KVM.Seconds())
	case accel.KVMAbsent, accel.KVMNoAccess, accel.KVMFailed:
		figures += "; KVM: " + string(report.KVMState)
	}
	if report.Best == hypervisor.KVM {
		check.Status, check.Detail = OK, "KVM ("+figures+")"
		return check
	}
	check.Status = Warn
	check.Detail = fmt.Sprintf("emulation, about %.0f times slower than KVM (%s)", report.Slowness, figures)
	check.Remedy = kvmRemedy(report)
	return check
}

func kvmRemedy(report accel.Report) string {
	switch report.KVMState {
	case accel.KVMNoAccess:
		return "join the group kvm (adduser USER kvm), and log in anew"
	case accel.KVMAbsent:
		return "everything works, slower; for speed switch on virtualisation in the firmware, or nested virtualisation for a virtual machine"
	default:
		return "everything works, slower; " + cmp.Or(report.Reason, "KVM is of no use here")
	}
}

// checkpoints shows what became of a small guest that was brought back to one. Runs do without.
func (h Host) checkpoints(ctx context.Context) Check {
	check := Check{
		Name: "checkpoints", Status: Warn,
		Remedy: "everything else works; mend what the message names, or let patchlab start its own libvirt on this host",
	}
	report, err := h.Undo(ctx)
	switch {
	case err != nil:
		check.Detail = err.Error()
	case !report.Proven:
		check.Detail = "refused, for it is not proven that a revert undoes what came after its checkpoint: " + report.Reason
	default:
		check.Status, check.Remedy = OK, ""
		check.Detail = fmt.Sprintf("proven: %s (kept in %.1f s, reverted in %.1f s)",
			report.Reason, report.Checkpoint.Seconds(), report.Revert.Seconds())
	}
	return check
}

// efi looks for what guests with EFI firmware need; others do without it.
func (h Host) efi() Check {
	const name = "EFI firmware"
	path, err := h.Firmware()
	switch {
	case errors.Is(err, ovmf.ErrMissing):
		return Check{
			Name: name, Status: Warn, Detail: "not installed: guests with a BIOS work, those with EFI do not", Packages: []string{ovmf.Package},
		}
	case err != nil:
		return Check{Name: name, Status: Warn, Detail: err.Error()}
	}
	return Check{Name: name, Status: OK, Detail: path}
}

// libvirt is reached as a run reaches it.
func (h Host) libvirt(ctx context.Context) Check {
	version, notes, err := h.Connect(ctx)
	if err != nil {
		return Check{Name: "libvirt answers", Status: Fail, Detail: err.Error(), Remedy: "mend what the message names"}
	}
	return Check{Name: "libvirt answers", Status: OK, Detail: strings.Join(append([]string{version}, notes...), "; ")}
}
