package collect

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
)

// bzImage makes the head of a kernel, with a body of so many bytes.
func bzImage(release string, body int) string {
	const setup = 2 // sectors
	image := make([]byte, (setup+1)*sectorSize, (setup+1)*sectorSize+body)
	image[0x1f1], image[0x1fe], image[0x1ff] = setup, 0x55, 0xaa
	binary.LittleEndian.PutUint32(image[0x1f4:], uint32(body/16))
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x20e:], 0x200)
	copy(image[0x400:], release+" (debian-kernel@lists.debian.org) #1 SMP\x00")
	return string(append(image, make([]byte, body)...))
}

// cpio makes an archive with empty files.
func cpio(names ...string) string {
	var archive strings.Builder
	for _, name := range append(names, "TRAILER!!!") {
		fields := make([]any, 13)
		for i := range fields {
			fields[i] = 0
		}
		fields[11] = len(name) + 1
		header := cpioMagic + fmt.Sprintf(strings.Repeat("%08x", len(fields)), fields...) + name + "\x00"
		archive.WriteString(header + strings.Repeat("\x00", int(padding(int64(len(header))))))
	}
	return archive.String()
}

func zipped(text string) string {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, text) // into memory
	_ = z.Close()
	return packed.String()
}

// gunzip stands for the guest's programs.
func gunzip(_ []string, packed io.Reader, use func(io.Reader) error) error {
	z, err := gzip.NewReader(packed)
	if err != nil {
		return fmt.Errorf("%w: %w", errCutOff, err)
	}
	return use(z)
}

func TestAnInitrdIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	early := cpio("kernel/x86/microcode/GenuineIntel.bin")
	main := cpio("init", "usr/lib/modules/6.1.0-50-amd64/kernel/fs/ext4/ext4.ko", "lib/modules/6.1.0-50-amd64/kernel/drivers/virtio-blk.ko.xz",
		"lib/modules/6.1.0-50-amd64/modules.dep")
	whole := early + strings.Repeat("\x00", 512) + zipped(main+strings.Repeat("\x00", 100))
	for _, c := range []struct {
		name, content, state, modules string
	}{
		{"packed behind microcode", whole, "whole", "ext4,virtio_blk"},
		{"not packed", main, "whole", "ext4,virtio_blk"},
		{"without modules", zipped(cpio("init")), "whole", ""},
		{"cut off while packed", whole[:len(whole)-40], "cut off", ""},
		{"cut off before the trailer", main[:len(main)-120], "cut off", "ext4,virtio_blk"},
		{"empty", "", "cut off: it is no initrd", ""},
		{"zeros", strings.Repeat("\x00", 4096), "cut off: it is no initrd", ""},
		{"something else", "<html>", "cut off: it is no initrd", ""},
	} {
		held, err := readInitrd(strings.NewReader(c.content), gunzip)
		if got := initrdState(err); !strings.HasPrefix(got, c.state) || (got == "whole") != (c.state == "whole") {
			t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.state)
		}
		if got := strings.Join(held.names(), ","); got != c.modules && c.modules != "" {
			t.Errorf("%s: modules %s, want %s", c.name, got, c.modules)
		}
		if c.modules != "" && !slices.Equal(held.releases, []string{"6.1.0-50-amd64"}) {
			t.Errorf("%s: for %v", c.name, held.releases)
		}
	}
}

func TestAnInitrdThatNobodyCanUnpackIsUnknown(t *testing.T) {
	t.Parallel()
	held, err := readInitrd(strings.NewReader(zipped("x")), func([]string, io.Reader, func(io.Reader) error) error {
		return unpack(t.Context(), []string{"/nonexistent/zstd"}, strings.NewReader(""), func(io.Reader) error { return nil })
	})
	if got := initrdState(err); err == nil || len(held.modules) != 0 || got == "whole" {
		t.Errorf("%s, %v", got, err)
	}
	_, err = readInitrd(strings.NewReader("\x89LZO"), func(_ []string, packed io.Reader, use func(io.Reader) error) error {
		return unpack(t.Context(), []string{"patchlab-has-no-such-program"}, packed, use)
	})
	if got := initrdState(err); !strings.HasPrefix(got, "unknown: ") {
		t.Errorf("%s", got)
	}
}

func TestAProgramThatFailsMeansThatTheInitrdIsCutOff(t *testing.T) {
	t.Parallel()
	packed := zipped(cpio(slices.Repeat([]string{"a/file/with/a/name"}, 1000)...))
	unpackHere := func(program []string, packed io.Reader, use func(io.Reader) error) error {
		return unpack(t.Context(), program, packed, use)
	}
	if _, err := readInitrd(strings.NewReader(packed), unpackHere); err != nil {
		t.Errorf("a whole one: %v", err)
	}
	_, err := readInitrd(strings.NewReader(packed[:len(packed)/2]), unpackHere)
	if got := initrdState(err); !strings.HasPrefix(got, "cut off: ") {
		t.Errorf("half of one is %s", got)
	}
}

func TestAKernelTellsItsReleaseAndItsSize(t *testing.T) {
	t.Parallel()
	image := bzImage("6.1.0-50-amd64", 4096)
	k, err := parseKernel([]byte(image))
	if err != nil || k.release != "6.1.0-50-amd64" || k.size != int64(len(image)) {
		t.Errorf("%+v, %v, want %d bytes", k, err, len(image))
	}
	if _, err := parseKernel([]byte(strings.Repeat("MZ", 1000))); err == nil {
		t.Error("another program is a kernel")
	}
}

// disk makes first sectors with GRUB in them, and the core image as grub-install keeps it.
func disk() (sectors, core []byte) {
	core = make([]byte, 6*sectorSize)
	for i := range core {
		core[i] = byte(i * 7)
	}
	copy(core, "\xeb\x5aloading\x00")
	for i := sectorSize / 2; i < sectorSize; i++ {
		core[i] = 0
	}
	sectors = make([]byte, 20*sectorSize)
	copy(sectors[0x180:], "GRUB \x00Geom\x00Hard Disk\x00Read\x00 Error")
	sectors[510], sectors[511] = 0x55, 0xaa
	sectors[0x5c] = 1
	copy(sectors[sectorSize:], core)
	binary.LittleEndian.PutUint64(sectors[sectorSize+0x1f4:], 2)
	binary.LittleEndian.PutUint16(sectors[sectorSize+0x1fc:], 5)
	sectors[2*sectorSize+20] = 99 // of the redundancy, which grub-install notes there
	return sectors, core
}

func TestTheBootSectorLeadsToTheCoreImage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want string
		spoil      func(disk []byte)
	}{
		{"whole", "grub", func([]byte) {}},
		{"no signature", "none", func(d []byte) { d[510] = 0 }},
		{"nothing", "none", func(d []byte) { clear(d[:440]) }},
		{"another boot loader", "other", func(d []byte) { copy(d[0x180:], "LILO \x00") }},
		{"no core image", "grub: there is no core", func(d []byte) { clear(d[sectorSize:]) }},
		{"half a core image", "grub: the core image in the disk", func(d []byte) { clear(d[4*sectorSize : 5*sectorSize]) }},
		{"a list beyond the disk", "grub: there is no core", func(d []byte) { d[sectorSize+0x1f8] = 9 }},
	} {
		sectors, core := disk()
		c.spoil(sectors)
		if got := readBootSector(bytes.NewReader(sectors), core); !strings.HasPrefix(got, c.want) || (c.want == "grub") != (got == "grub") {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// loadOptionOf makes an entry of the firmware's menu.
func loadOptionOf(title, file string) []byte {
	wide := func(text string) []byte {
		var out []byte
		for _, unit := range append(utf16.Encode([]rune(text)), 0) {
			out = binary.LittleEndian.AppendUint16(out, unit)
		}
		return out
	}
	drive := append([]byte{4, 1, 42, 0}, make([]byte, 38)...)
	copy(drive[24:], []byte{0x71, 0x2c, 0xad, 0xc1, 0xd8, 0x6a, 0x4b, 0xcf, 0x8d, 0x20, 0xf3, 0x19, 0xc2, 0x84, 0x29, 0xdb})
	name := wide(file)
	path := slices.Concat(drive, []byte{4, 4, byte(len(name) + 4), 0}, name, []byte{0x7f, 0xff, 4, 0})
	option := binary.LittleEndian.AppendUint16([]byte{1, 0, 0, 0}, uint16(len(path)))
	return append(append(option, wide(title)...), path...)
}

func TestAnEntryOfTheFirmwareNamesAFileOnAPartition(t *testing.T) {
	t.Parallel()
	got, ok := parseLoadOption(loadOptionOf("debian", `\EFI\debian\shimx64.efi`))
	want := loadOption{title: "debian", partition: "c1ad2c71-6ad8-cf4b-8d20-f319c28429db", file: `\EFI\debian\shimx64.efi`, active: true}
	if !ok || got != want {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
}

// bootable is a machine that boots, as far as there is a tree for it.
func bootable() map[string]string {
	return map[string]string{
		"/proc/sys/kernel/osrelease":      "6.1.0-50-amd64\n",
		"/proc/self/mountinfo":            "22 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw\n",
		"/boot/vmlinuz-6.1.0-50-amd64":    bzImage("6.1.0-50-amd64", 4096),
		"/boot/initrd.img-6.1.0-50-amd64": cpio("init", "lib/modules/6.1.0-50-amd64/kernel/fs/ext4/ext4.ko"),
		"/boot/grub/grubenv":              "# GRUB Environment Block\nsaved_entry=x\nsecret=y\n",
		"/boot/grub/grub.cfg":             "password_pbkdf2 root grub.pbkdf2.sha512.10000.AB\nmenuentry 'a' {\n search --fs-uuid --set=root d5\n linux /boot/vmlinuz-6.1.0-50-amd64 root=UUID=d5\n initrd /boot/initrd.img-6.1.0-50-amd64\n}\n",
		"/sys/dev/block/254:1":            "-> ../../devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1",
		"/sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1/partition": "1\n",
		"/sys/devices/pci0000:00/0000:00:04.0/virtio1/driver/module":            "-> ../../../../../module/virtio_blk",
		"/sys/devices/pci0000:00/0000:00:04.0/driver/module":                    "-> ../../../../module/virtio_pci",
		"/sys/module/virtio_blk/":                                               "",
		"/sys/module/virtio_pci/":                                               "",
		"/dev/disk/by-uuid/d5":                                                  "-> ../../vda1",
		`/dev/disk/by-label/my\x20disk`:                                         "-> ../../vda1",
		"/lib/modules/6.1.0-50-amd64/modules.dep":                               "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko\nkernel/drivers/block/virtio_blk.ko:\nkernel/fs/jbd2/jbd2.ko:\n",
		"/lib/modules/6.1.0-50-amd64/modules.builtin":                           "kernel/drivers/virtio/virtio_pci.ko\n",
		"/lib/modules/6.1.0-50-amd64/kernel/fs/ext4/ext4.ko":                    "",
		"/etc/fstab":                         "# comment\nUUID=d5 / ext4 errors=remount-ro 0 1\nLABEL=a\\040b none swap sw 0 0\n",
		"/etc/crypttab":                      "data UUID=c0 none luks,nofail\n",
		"/etc/shadow":                        "root:!*:1:0:99999:7:::\n",
		"/etc/systemd/system/default.target": "-> /usr/lib/systemd/system/multi-user.target",
		"/usr/lib/systemd/system/multi-user.target":                 "[Unit]\n",
		"/etc/systemd/system/a.service":                             "[Service]\nExecStart=-/usr/bin/may-fail\nExecStart=@/usr/sbin/gone a\n[Install]\nWantedBy=multi-user.target\n",
		"/etc/systemd/system/multi-user.target.wants/a.service":     "-> /etc/systemd/system/a.service",
		"/etc/systemd/system/nginx.service":                         "[Service]\nExecStart=/usr/sbin/nginx\n[Install]\nWantedBy=multi-user.target\n",
		"/etc/systemd/system/multi-user.target.wants/nginx.service": "-> /etc/systemd/system/nginx.service",
		"/usr/sbin/nginx": "",
		"/etc/systemd/system/emergency.service.d/10-no-password.conf": "[Service]\nEnvironment=SYSTEMD_SULOGIN_FORCE=1\n",
	}
}

func bootFactsOf(t *testing.T, machine map[string]string) map[string]map[string]string {
	t.Helper()
	src := NewSource(tree(t, machine), nil, 0)
	src.check = func(_ context.Context, name string, _ ...string) (string, int, error) {
		return "refused by " + name + "\r\n", 1, nil
	}
	found := map[string]map[string]string{}
	for _, f := range collected(t, src, bootFacts) {
		if f.Kind != fact.KindBoot {
			t.Errorf("a fact of another kind: %v", f)
		}
		attributes := maps.Clone(f.Attributes)
		for _, volatile := range []string{"changed", "modified", "free", "total", "inodes"} {
			delete(attributes, volatile)
		}
		found[f.Name] = attributes
	}
	return found
}

func TestWhatTheNextBootDependsOnIsRead(t *testing.T) {
	t.Parallel()
	got := bootFactsOf(t, bootable())
	want := map[string]map[string]string{
		"running": {"release": "6.1.0-50-amd64"},
		"loader": {
			"config": "/boot/grub/grub.cfg", "saved_entry": "x",
			"text": strings.Replace(bootable()["/boot/grub/grub.cfg"], "password_pbkdf2 root grub.pbkdf2.sha512.10000.AB", "password_pbkdf2 (hidden)", 1),
		},
		"named (d5)/boot/vmlinuz-6.1.0-50-amd64":    {"path": "/boot/vmlinuz-6.1.0-50-amd64"},
		"named (d5)/boot/initrd.img-6.1.0-50-amd64": {"path": "/boot/initrd.img-6.1.0-50-amd64"},
		"file /boot/vmlinuz-6.1.0-50-amd64":         {"what": "kernel", "state": "whole", "release": "6.1.0-50-amd64", "size": "5632"},
		"file /boot/initrd.img-6.1.0-50-amd64":      {"what": "initrd", "state": "whole", "releases": "6.1.0-50-amd64", "modules": "ext4", "size": "400"},
		"root":                                      {"device": "/dev/vda1", "fstype": "ext4", "needs": "ext4,virtio_blk,virtio_pci"},
		"modules 6.1.0-50-amd64":                    {"state": "whole", "needs": "ext4,jbd2", "lacks": "virtio_blk"},
		"firmware":                                  {"kind": "bios"},
		"device UUID=d5":                            {"node": "/dev/vda1"},
		"device LABEL=my disk":                      {"node": "/dev/vda1"},
		"fstab /":                                   {"source": "UUID=d5", "fstype": "ext4", "options": "errors=remount-ro"},
		"fstab swap LABEL=a\\040b":                  {"source": "LABEL=a b", "fstype": "swap", "options": "sw"},
		"crypttab data":                             {"source": "UUID=c0", "options": "luks,nofail"},
		"room /boot":                                {"mount": "/", "fstype": "ext4"},
		"target":                                    {"unit": "multi-user.target", "path": "/usr/lib/systemd/system/multi-user.target", "state": "whole"},
		"program a.service":                         {"path": "/usr/sbin/gone", "state": "missing"},
		"emergency":                                 {"locked": "true", "forced": "true"},
		"check nginx": {
			"unit": "nginx.service", "command": "/usr/sbin/nginx -t -q", "exit": "1", "text": "refused by /usr/sbin/nginx\n",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNamedAndGoneIsMissing(t *testing.T) {
	t.Parallel()
	machine := bootable()
	machine["/boot/vmlinuz-6.1.0-50-amd64"] = bzImage("6.1.0-50-amd64", 4096)[:4096]
	for name := range machine {
		if strings.HasPrefix(name, "/lib/modules/") || strings.HasPrefix(name, "/boot/initrd") || strings.HasPrefix(name, "/usr/lib/systemd") {
			delete(machine, name)
		}
	}
	got := bootFactsOf(t, machine)
	for name, want := range map[string]string{
		"file /boot/initrd.img-6.1.0-50-amd64": "missing",
		"file /boot/vmlinuz-6.1.0-50-amd64":    "cut off: 4096 bytes of 5632",
		"modules 6.1.0-50-amd64":               "missing",
		"target":                               "missing",
	} {
		if got[name]["state"] != want {
			t.Errorf("%s is %q, want %s", name, got[name]["state"], want)
		}
	}
}

// A boot partition of its own has its files where GRUB sees them without /boot, and btrfs has the name of a subvolume before them.
func TestAFileIsFoundWhereTheRunningSystemHasIt(t *testing.T) {
	t.Parallel()
	b := &bootReader{
		devices: map[string]string{"UUID=b0": "/dev/vda2", "UUID=d5": "/dev/vda1"},
		mounts:  parseMounts([]byte("22 1 0:30 /@ / rw - btrfs /dev/vda1 rw\n23 22 254:2 / /boot rw - ext4 /dev/vda2 rw\n")),
	}
	for _, c := range []struct{ search, name, want string }{
		{"b0", "/vmlinuz-1", "/boot/vmlinuz-1"},
		{"d5", "/@/boot/vmlinuz-1", "/boot/vmlinuz-1"},
		{"", "/vmlinuz-1", "/boot/vmlinuz-1"},
		{"gone", "/vmlinuz-1", "/boot/vmlinuz-1"},
	} {
		if got := b.resolve(c.search, c.name); got != c.want {
			t.Errorf("(%s)%s is %s, want %s", c.search, c.name, got, c.want)
		}
	}
}

func TestAnEFIProgramHasAllItsSections(t *testing.T) {
	t.Parallel()
	head := make([]byte, 1024)
	copy(head, "MZ")
	head[0x3c] = 0x80
	copy(head[0x80:], "PE\x00\x00")
	head[0x86] = 1                                  // section
	binary.LittleEndian.PutUint16(head[0x94:], 240) // optional header
	table := 0x80 + 24 + 240
	binary.LittleEndian.PutUint32(head[table+16:], 4096)
	binary.LittleEndian.PutUint32(head[table+20:], 512)
	if got := loaderState(head, 4608); got != "whole" {
		t.Error(got)
	}
	if got := loaderState(head, 4607); got != "cut off: 4607 bytes of 4608" {
		t.Error(got)
	}
	if got := loaderState([]byte("MZ"), 2); got == "whole" {
		t.Error(got)
	}
}

func FuzzInitrd(f *testing.F) {
	f.Add([]byte(cpio("lib/modules/6.1/kernel/a.ko")))
	f.Add([]byte(zipped(cpio("init"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		held, err := readInitrd(bytes.NewReader(data), gunzip)
		if err == nil && held.entries == 0 {
			t.Error("an initrd of nothing is whole")
		}
	})
}

func FuzzBootLoader(f *testing.F) {
	sectors, core := disk()
	f.Add(sectors, core)
	f.Add(loadOptionOf("debian", `\EFI\a`), []byte(bzImage("6.1", 64)))
	f.Fuzz(func(t *testing.T, data, other []byte) {
		readBootSector(bytes.NewReader(data), other)
		parseLoadOption(data)
		loaderState(data, int64(len(data)))
		bootNumbers(data)
		unescapeDevice(string(data))
		parseModules(data)
		if k, err := parseKernel(data); err == nil && k.size < sectorSize {
			t.Errorf("a kernel of %d bytes", k.size)
		}
	})
}
