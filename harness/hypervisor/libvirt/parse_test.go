package libvirt

import (
	"bytes"
	"image/color"
	"strings"
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

func TestURIs(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	tests := map[string]struct {
		want   golibvirt.ConnectURI
		first  string // the first socket
		target string // the other machine
		wrong  string // part of the error
	}{
		"qemu:///system":                            {want: golibvirt.QEMUSystem, first: "/run/libvirt/libvirt-sock"},
		"qemu:///session":                           {want: golibvirt.QEMUSession, first: "/run/user/7/libvirt/libvirt-sock"},
		"qemu+unix:///system":                       {want: golibvirt.QEMUSystem, first: "/run/libvirt/libvirt-sock"},
		"qemu:///session?socket=%2Frun%2Fa+b":       {want: golibvirt.QEMUSession, first: "/run/a b"},
		"qemu+ssh://root@host:2222/system":          {want: golibvirt.QEMUSystem, first: "/run/libvirt/libvirt-sock", target: "root@host:2222"},
		"qemu+ssh://lab/session?dir=/srv&socket=/s": {want: golibvirt.QEMUSession, first: "/s", target: "lab"},
		"qemu+ssh:///system":                        {wrong: "names no host"},
		"qemu+ssh://root:secret@host/system":        {wrong: "use a key"},
		"qemu+ssh://host/system?dir=srv":            {wrong: "want an absolute path"},
		"qemu+ssh://host/system?keyfile=x":          {wrong: `unknown parameter "keyfile" (have dir, socket)`},
		"qemu:///system?dir=/srv":                   {wrong: `unknown parameter "dir"`},
		"qemu://host/system":                        {wrong: "only QEMU on this host"},
		"xen:///system":                             {wrong: "only QEMU on this host"},
		"":                                          {wrong: "only QEMU on this host"},
		"qemu:///embed":                             {wrong: "have /system, /session"},
		"qemu:///system?keyfile=x":                  {wrong: `unknown parameter "keyfile"`},
		"qemu:///\x00":                              {wrong: "reading the libvirt URI"},
	}
	for text, test := range tests {
		got, err := parseURI(text)
		if test.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%q: got the error %v, want one about %q", text, err, test.wrong)
			}
			continue
		}
		if err != nil || got.uri != test.want || got.sockets[0] != test.first || targetOf(got) != test.target {
			t.Errorf("%q: got %+v (%v)", text, got, err)
		}
	}
}

func targetOf(e endpoint) string {
	if e.target == nil {
		return ""
	}
	return e.target.String()
}

func TestTheSessionsSocketWithoutARuntimeDirectory(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environment map[string]string
		want        string
	}{
		"a cache directory": {map[string]string{"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/libvirt"},
		"a home":            {map[string]string{"HOME": "/h"}, "/h/.cache/libvirt"},
		"nothing":           {},
	} {
		got, err := sessionDir(func(key string) string { return test.environment[key] })
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: got %q (%v), want %q", name, got, err, test.want)
		}
	}
}

func TestTheForwardedPortIsFoundAmongConnections(t *testing.T) {
	t.Parallel()
	const table = "Hub -1 (patchlab0):\r\n" +
		"  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n" +
		"  TCP[ESTABLISHED]   29       127.0.0.1 43117       10.0.2.15    22     0     0\r\n" +
		"  UDP[236 sec]       30       10.0.2.15    68        10.0.2.2    67     0     0\r\n" +
		"  TCP[HOST_FORWARD]  24       127.0.0.1 40080       10.0.2.15    80     0     0\r\n" +
		"  TCP[HOST_FORWARD]  23       127.0.0.1 43117       10.0.2.15    22     0     0\r\n"
	got, err := forwardedAddress(table, "22")
	if err != nil || got != "127.0.0.1:43117" {
		t.Errorf("got %q (%v)", got, err)
	}
	if got, err := forwardedAddress("Hub -1 (patchlab0):\r\n", "22"); err == nil {
		t.Errorf("an empty table gives %q", got)
	}
}

func TestPictures(t *testing.T) {
	t.Parallel()
	picture, err := decodePPM([]byte("P6\n2 1\n255\n\x01\x02\x03\xff\xfe\xfd"))
	if err != nil {
		t.Fatal(err)
	}
	want := []color.Color{color.RGBA{1, 2, 3, 255}, color.RGBA{255, 254, 253, 255}}
	got := []color.Color{picture.At(0, 0), picture.At(1, 0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for what, raw := range map[string]string{
		"empty":           "",
		"another format":  "P5\n1 1\n255\n\x00\x00\x00",
		"too few pixels":  "P6\n2 2\n255\n\x01\x02\x03",
		"no pixel at all": "P6\n2 2\n255",
		"a huge screen":   "P6\n100000 100000\n255\n",
		"a negative side": "P6\n-1 1\n255\n\x00\x00\x00",
		"another depth":   "P6\n1 1\n65535\n\x00\x00\x00\x00\x00\x00",
	} {
		if _, err := decodePPM([]byte(raw)); err == nil {
			t.Errorf("%s is taken for a picture", what)
		}
	}
}

func FuzzPictures(f *testing.F) {
	f.Add([]byte("P6\n2 1\n255\n\x01\x02\x03\xff\xfe\xfd"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<10 {
			return // the bound on the sides is tested above; large pictures only cost time
		}
		if picture, err := decodePPM(raw); err == nil && picture.Bounds().Empty() {
			t.Error("an empty picture")
		}
	})
}

func TestAQEMUThatWasKilledIsAState(t *testing.T) {
	t.Parallel()
	tests := []struct {
		state golibvirt.DomainState
		off   golibvirt.DomainShutoffReason
		want  hypervisor.State
	}{
		{golibvirt.DomainRunning, 0, hypervisor.StateRunning},
		{golibvirt.DomainShutdown, 0, hypervisor.StateRunning},
		{golibvirt.DomainPaused, 0, hypervisor.StatePaused},
		{golibvirt.DomainCrashed, 0, hypervisor.StateCrashed},
		{golibvirt.DomainShutoff, golibvirt.DomainShutoffShutdown, hypervisor.StateOff},
		{golibvirt.DomainShutoff, golibvirt.DomainShutoffDestroyed, hypervisor.StateOff},
		{golibvirt.DomainShutoff, golibvirt.DomainShutoffCrashed, hypervisor.StateCrashed},
		{golibvirt.DomainShutoff, golibvirt.DomainShutoffFailed, hypervisor.StateCrashed},
	}
	for _, test := range tests {
		got, err := stateOf(test.state, test.off)
		if got != test.want || err != nil {
			t.Errorf("state %d, reason %d: got %s (%v), want %s", test.state, test.off, got, err, test.want)
		}
	}
	if _, err := stateOf(golibvirt.DomainNostate, 0); err == nil {
		t.Error("an unknown state is taken for one")
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	if got := dotted(9_000_000) + " " + dotted(7_002_022); got != "9.0.0 7.2.22" {
		t.Errorf("got %s", got)
	}
}

func TestCredentialsOfSeveralLinesAreEncoded(t *testing.T) {
	t.Parallel()
	info := sysInfo(map[string]string{"plain": "ssh-ed25519 AAAA me@here", "lines": "a\nb\n", "spaces": " a"})
	want := []string{
		"io.systemd.credential.binary:lines=YQpiCg==",
		"io.systemd.credential:plain=ssh-ed25519 AAAA me@here",
		"io.systemd.credential.binary:spaces=IGE=",
	}
	if diff := cmp.Diff(want, info[0].SMBIOS.OEMStrings.Entry); diff != "" {
		t.Error(diff)
	}
}

func TestTheDomainsXML(t *testing.T) {
	t.Parallel()
	emulated := goodSpec()
	text, err := domainXML(furnished{spec: emulated, mark: newMetadata(emulated)})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<domain type="qemu">`, `>qemu64</model>`, `<name>one</name>`,
		`run="&lt;r&gt;" dir="/runs/r" overlay="/runs/r/disk.qcow2"`,
		`value="user,id=patchlab0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"`,
		`mac=52:54:00:12:34:56,addr=0x10`,
		`<source file="/runs/r/disk.qcow2"`, `cache="writeback"`, `discard="unmap"`,
		`<source path="/runs/r/console.log" append="on"`,
		`<on_reboot>restart</on_reboot>`, `<on_crash>destroy</on_crash>`,
		`<entry>io.systemd.credential:a=b</entry>`, `<smbios mode="sysinfo"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}

	for _, unwanted := range []string{"<loader", "<nvram", "virtio-scsi", "cdrom"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("%s is in\n%s", unwanted, text)
		}
	}

	fast := goodSpec()
	fast.Firmware, fast.Variables = hypervisor.EFI, hypervisor.Variables{Path: "/runs/r/variables.fd"}
	fast.Accelerator, fast.Credentials, fast.Disk.Backing = hypervisor.KVM, nil, ""
	fast.Kernel, fast.CommandLine, fast.Seed = "/k", "root=/dev/vda1", "/runs/r/seed.iso"
	text, err = domainXML(furnished{spec: fast, firmware: "/code.fd", mark: newMetadata(fast)})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<domain type="kvm">`, `host-passthrough`, `<kernel>/k</kernel>`, `<cmdline>root=/dev/vda1</cmdline>`, `<disk type="file" device="cdrom">`,
		`<source file="/runs/r/seed.iso"`, `<readonly>`, `model="virtio-scsi"`,
		`<loader readonly="yes" type="pflash">/code.fd</loader>`, `<nvram>/runs/r/variables.fd</nvram>`, `variables="/runs/r/variables.fd"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	for _, unwanted := range []string{"overlay=", "sysinfo", "qemu64"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("%s is in\n%s", unwanted, text)
		}
	}
}

func goodSpec() hypervisor.DomainSpec {
	return hypervisor.DomainSpec{
		Name: "one", RunID: "<r>", RunDir: "/runs/r", Firmware: hypervisor.BIOS, Accelerator: hypervisor.TCG,
		MemoryMiB: 768, VCPUs: 1, Disk: hypervisor.Disk{Path: "/runs/r/disk.qcow2", Backing: "/images/i.qcow2"},
		Console: "/runs/r/console.log", MAC: "52:54:00:12:34:56", Credentials: map[string]string{"a": "b"},
	}
}

func TestEverythingWrongInASpecIsToldAtOnce(t *testing.T) {
	t.Parallel()
	if err := check(goodSpec()); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	err := check(hypervisor.DomainSpec{
		Name: "a,b", Firmware: hypervisor.EFI, Accelerator: "xen", MAC: "52:54:00:12:34:56,addr=3",
		Variables: hypervisor.Variables{Path: "vars"}, Disk: hypervisor.Disk{Path: "disk"}, Console: "console", RunDir: "/r", Kernel: "vmlinuz",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`name "a,b"`, `EFI variables "vars"`, `accelerator "xen"`, "0 MiB", `MAC address`,
		`disk "disk"`, `console "console"`, `kernel "vmlinuz"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
	if bytes.Contains([]byte(err.Error()), []byte("run directory")) {
		t.Errorf("the run directory was fine: %v", err)
	}
}

func TestTheImageIsNotHandedOverWithItsOverlay(t *testing.T) {
	t.Parallel()
	spec := goodSpec()
	for _, relabels := range []bool{false, true} {
		text, err := domainXML(furnished{spec: spec, mark: newMetadata(spec), relabels: relabels})
		if err != nil {
			t.Fatal(err)
		}
		// A libvirt without that security model refuses a word about it.
		if got := strings.Contains(text, `<seclabel model="dac" relabel="no">`); got != relabels {
			t.Errorf("relabels %v: %s", relabels, text)
		}
	}
}
