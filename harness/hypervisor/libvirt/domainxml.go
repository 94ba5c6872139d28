package libvirt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// Where the devices sit on the guest's PCI bus. All are fixed, so that every clone of an image and every later boot
// sees the same hardware. Slots 0 and 1 belong to the i440fx chip set.
const (
	slotVideo  = 0x02
	slotDisk   = 0x05
	slotSerial = 0x06
	slotRandom = 0x07
	slotSCSI   = 0x08 // there for a seed only
	slotNet    = 0x10
)

// netdev is the id of the guest's network in QEMU.
const netdev = "patchlab0"

// TranslationCacheMiB bounds what emulation keeps of translated code. QEMU's own choice, 1 GiB, doubles the time of a reboot:
// the next kernel is unpacked over pages whose translations are dropped one by one (131 s against 68 s from the request to
// ssh, and 1,570 against 425 MB of memory, measured with QEMU 7.2; docs/decisions/0003).
const TranslationCacheMiB = 64

func translationCache() *libvirtxml.DomainFeatureTCG {
	return &libvirtxml.DomainFeatureTCG{TBCache: &libvirtxml.DomainFeatureTCGTBCache{Unit: "MiB", Size: TranslationCacheMiB}}
}

// domainXML renders a spec that [check] has accepted, with the paths that QEMU sees.
func domainXML(made furnished) (string, error) {
	definition, err := describe(made)
	if err != nil {
		return "", err
	}
	text, err := definition.Marshal()
	if err != nil {
		return "", fmt.Errorf("rendering domain %s: %w", made.spec.Name, err)
	}
	return text, nil
}

func describe(made furnished) (libvirtxml.Domain, error) {
	spec := made.spec
	mark, err := made.mark.element()
	if err != nil {
		return libvirtxml.Domain{}, fmt.Errorf("rendering the metadata of domain %s: %w", spec.Name, err)
	}
	kind, cpu := "qemu", &libvirtxml.DomainCPU{
		// As fast under emulation as any model, and faster than "max" (up to 1.5 x measured).
		Mode: "custom", Match: "exact", Check: "none",
		Model: &libvirtxml.DomainCPUModel{Fallback: "forbid", Value: "qemu64"},
	}
	features := &libvirtxml.DomainFeatureList{ACPI: &libvirtxml.DomainFeature{}, TCG: translationCache()}
	if spec.Accelerator == hypervisor.KVM {
		kind, cpu = "kvm", &libvirtxml.DomainCPU{Mode: "host-passthrough"}
		features.TCG = nil
	}
	definition := libvirtxml.Domain{
		Type:     kind,
		Name:     spec.Name,
		Metadata: &libvirtxml.DomainMetadata{XML: mark},
		Memory:   &libvirtxml.DomainMemory{Value: uint(spec.MemoryMiB), Unit: "MiB"},
		VCPU:     &libvirtxml.DomainVCPU{Value: uint(spec.VCPUs)},
		// A new one for each domain: a guest that goes on in another one hears of it, and asks for new randomness.
		GenID:    &libvirtxml.DomainGenID{},
		SysInfo:  sysInfo(spec.Credentials),
		OS:       operatingSystem(spec, made.firmware),
		Features: features,
		CPU:      cpu,
		Clock:    &libvirtxml.DomainClock{Offset: "utc"},
		// A guest that reboots keeps its QEMU, and so its address.
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
		Devices: devices(spec),
		// libvirt has no words for a user network without a route out whose port 22 is forwarded from a free port of
		// the host (port 0). The empty romfile spares the boot iPXE, and the host its package.
		QEMUCommandline: commandLine(
			"-netdev", "user,id="+netdev+",restrict=on,hostfwd=tcp:127.0.0.1:0-:22",
			"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s,addr=%#x,romfile=", netdev, spec.MAC, slotNet),
		),
	}
	if spec.Machine != "" { // libvirt's own word for it has to be the domain's UUID
		definition.QEMUCommandline.Args = append(definition.QEMUCommandline.Args, commandLine("-smbios", "type=1,uuid="+spec.Machine).Args...)
	}
	ram := memory{}
	if spec.Memory != "" {
		ram = memory{path: spec.Memory, share: "on"}
	}
	ram.put(&definition, spec.MemoryMiB)
	if made.relabels && spec.Disk.Backing != "" {
		definition.Devices.Disks[0].BackingStore = backingStore(spec.Disk.Backing)
	}
	return definition, nil
}

func commandLine(arguments ...string) *libvirtxml.DomainQEMUCommandline {
	var line libvirtxml.DomainQEMUCommandline
	for _, argument := range arguments {
		line.Args = append(line.Args, libvirtxml.DomainQEMUCommandlineArg{Value: argument})
	}
	return &line
}

// operatingSystem says what starts the guest; firmware is the code of an EFI domain's.
func operatingSystem(spec hypervisor.DomainSpec, firmware string) *libvirtxml.DomainOS {
	system := &libvirtxml.DomainOS{
		Type:   &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "pc", Type: "hvm"},
		Kernel: spec.Kernel, Initrd: spec.Initrd, Cmdline: spec.CommandLine,
		BootDevices: []libvirtxml.DomainBootDevice{{Dev: "hd"}},
	}
	if spec.Firmware == hypervisor.EFI {
		system.Loader = &libvirtxml.DomainLoader{Path: firmware, Readonly: "yes", Type: "pflash"}
		// It exists already: libvirt neither makes it nor chooses its place.
		system.NVRam = &libvirtxml.DomainNVRam{NVRam: spec.Variables.Path}
	}
	if len(spec.Credentials) > 0 {
		system.SMBios = &libvirtxml.DomainSMBios{Mode: "sysinfo"}
	}
	return system
}

// sysInfo hands credentials to the guest's systemd: see systemd.system-credentials(7).
func sysInfo(credentials map[string]string) []libvirtxml.DomainSysInfo {
	if len(credentials) == 0 {
		return nil
	}
	var entries []string
	for _, name := range slices.Sorted(maps.Keys(credentials)) {
		value := credentials[name]
		if isPlain(value) {
			entries = append(entries, "io.systemd.credential:"+name+"="+value)
		} else {
			// An SMBIOS string is one printable line.
			entries = append(entries, "io.systemd.credential.binary:"+name+"="+base64.StdEncoding.EncodeToString([]byte(value)))
		}
	}
	return []libvirtxml.DomainSysInfo{{
		SMBIOS: &libvirtxml.DomainSysInfoSMBIOS{OEMStrings: &libvirtxml.DomainSysInfoOEMStrings{Entry: entries}},
	}}
}

// isPlain tells whether a value survives XML and SMBIOS as it is.
func isPlain(value string) bool {
	for _, char := range value {
		if char < ' ' || char > '~' {
			return false
		}
	}
	return strings.TrimSpace(value) == value
}

// backingStore names the image below an overlay, for a libvirt that hands the files of a domain over to QEMU's user: without a
// word about it the image would be handed over too, and QEMU could write to what others stand on. It is readable for all.
func backingStore(image string) *libvirtxml.DomainDiskBackingStore {
	return &libvirtxml.DomainDiskBackingStore{
		Format: &libvirtxml.DomainDiskFormat{Type: "qcow2"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{
			File: image, SecLabel: []libvirtxml.DomainDeviceSecLabel{{Model: "dac", Relabel: "no"}},
		}},
	}
}

func devices(spec hypervisor.DomainSpec) *libvirtxml.DomainDeviceList {
	port := uint(0)
	list := &libvirtxml.DomainDeviceList{
		Disks: []libvirtxml.DomainDisk{{
			Device:  "disk",
			Driver:  &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "qcow2", Cache: "writeback", Discard: "unmap"},
			Source:  &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: spec.Disk.Path}},
			Target:  &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"},
			Address: pciAddress(slotDisk),
		}},
		Controllers: []libvirtxml.DomainController{
			{Type: "usb", Model: "none"}, // nothing to plug in, and a moment less at boot
			{Type: "virtio-serial", Address: pciAddress(slotSerial)},
		},
		Serials: []libvirtxml.DomainSerial{{
			Source: &libvirtxml.DomainChardevSource{File: &libvirtxml.DomainChardevSourceFile{Path: spec.Console, Append: "on"}},
			Target: &libvirtxml.DomainSerialTarget{Port: &port},
		}},
		Channels: []libvirtxml.DomainChannel{channel("org.qemu.guest_agent.0"), channel(hypervisor.Channel)},
		Videos: []libvirtxml.DomainVideo{{
			Model:   libvirtxml.DomainVideoModel{Type: "vga", VRam: 16384, Heads: 1, Primary: "yes"},
			Address: pciAddress(slotVideo),
		}},
		MemBalloon: &libvirtxml.DomainMemBalloon{Model: "none"},
		RNGs: []libvirtxml.DomainRNG{{
			Model:   "virtio",
			Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
			Address: pciAddress(slotRandom),
		}},
	}
	if spec.Seed != "" {
		addSeed(list, spec.Seed)
	}
	return list
}

// channel is a port of the guest's that has a socket on the host. libvirt chooses the socket's path, and removes it.
func channel(name string) libvirtxml.DomainChannel {
	return libvirtxml.DomainChannel{
		Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}},
		Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: name}},
	}
}

// addSeed puts a CD in. Its drive is SCSI over virtio: the kernels of cloud images have no driver for an IDE drive.
func addSeed(list *libvirtxml.DomainDeviceList, iso string) {
	list.Controllers = append(list.Controllers,
		libvirtxml.DomainController{Type: "scsi", Model: "virtio-scsi", Address: pciAddress(slotSCSI)})
	list.Disks = append(list.Disks, libvirtxml.DomainDisk{
		Device:   "cdrom",
		Driver:   &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"},
		Source:   &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: iso}},
		Target:   &libvirtxml.DomainDiskTarget{Dev: "sda", Bus: "scsi"},
		ReadOnly: &libvirtxml.DomainDiskReadOnly{},
	})
}

func pciAddress(slot uint) *libvirtxml.DomainAddress {
	zero := uint(0)
	return &libvirtxml.DomainAddress{PCI: &libvirtxml.DomainAddressPCI{Domain: &zero, Bus: &zero, Slot: &slot, Function: &zero}}
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*$`)

var uuidRule = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// check reports everything in a spec that this driver cannot or will not do.
func check(spec hypervisor.DomainSpec) error {
	var wrong []error
	if !nameRule.MatchString(spec.Name) {
		wrong = append(wrong, fmt.Errorf("name %q: want letters, digits and dashes", spec.Name))
	}
	switch spec.Firmware {
	case hypervisor.BIOS:
		if spec.Variables != (hypervisor.Variables{}) {
			wrong = append(wrong, errors.New("EFI variables: a BIOS has none"))
		}
	case hypervisor.EFI:
		if !filepath.IsAbs(spec.Variables.Path) {
			wrong = append(wrong, fmt.Errorf("EFI variables %q: want an absolute path", spec.Variables.Path))
		}
	default:
		wrong = append(wrong, fmt.Errorf("firmware %q: want bios or efi", spec.Firmware))
	}
	if spec.Accelerator != hypervisor.KVM && spec.Accelerator != hypervisor.TCG {
		wrong = append(wrong, fmt.Errorf("accelerator %q: want kvm or tcg", spec.Accelerator))
	}
	if spec.MemoryMiB <= 0 || spec.VCPUs <= 0 {
		wrong = append(wrong, fmt.Errorf("%d MiB of memory and %d CPUs: want some of each", spec.MemoryMiB, spec.VCPUs))
	}
	// The address becomes part of an option of QEMU.
	if mac, err := net.ParseMAC(spec.MAC); err != nil || len(mac) != 6 {
		wrong = append(wrong, fmt.Errorf("MAC address %q: want the form 52:54:00:12:34:56", spec.MAC))
	}
	for what, path := range map[string]string{"memory": spec.Memory, "saved memory": spec.Resume.Memory} {
		if strings.Contains(path, ",") { // it becomes part of an option of QEMU
			wrong = append(wrong, fmt.Errorf("%s %q: a comma is not possible in the path", what, path))
		}
	}
	if spec.Machine != "" && !uuidRule.MatchString(spec.Machine) {
		wrong = append(wrong, fmt.Errorf("machine %q: want a UUID", spec.Machine))
	}
	for what, path := range map[string]string{"run directory": spec.RunDir, "disk": spec.Disk.Path, "console": spec.Console} {
		if !filepath.IsAbs(path) {
			wrong = append(wrong, fmt.Errorf("%s %q: want an absolute path", what, path))
		}
	}
	for what, path := range map[string]string{
		"backing image": spec.Disk.Backing, "kernel": spec.Kernel, "initrd": spec.Initrd, "seed": spec.Seed,
		"image's EFI variables": spec.Variables.From, "memory": spec.Memory, "saved state": spec.Resume.State,
		"saved memory": spec.Resume.Memory, "directory for checkpoints": spec.Checkpoints,
	} {
		if path != "" && !filepath.IsAbs(path) {
			wrong = append(wrong, fmt.Errorf("%s %q: want an absolute path", what, path))
		}
	}
	slices.SortFunc(wrong, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(wrong...)
}
