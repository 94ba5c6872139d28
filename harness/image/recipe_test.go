package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/mirror"
)

func sample() manifest.Manifest {
	return manifest.Manifest{
		Schema: 1, Name: "web", Distribution: "debian", Release: "bookworm",
		Pockets: []manifest.Pocket{manifest.Release}, Firmware: "bios", Disk: 3072, Memory: 768, VCPUs: 1,
		Packages: []string{"nginx-light", "dbus"},
		Files:    []manifest.File{{From: "p", To: "/srv/p", Mode: "0640", Owner: "root:www-data", Content: []byte("page")}},
	}
}

func TestMmdebstrapArguments(t *testing.T) {
	t.Parallel()
	r := recipe{
		manifest: sample(), fsUUID: "00000000-0000-4000-8000-000000000000",
		mirror: mirror.Mirror{Main: "http://mirror.example/debian", Security: "http://mirror.example/debian-security"},
	}
	want := []string{
		"--mode=root", "--variant=apt", "--format=null", "--skip=cleanup", "--architectures=amd64",
		"--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
		"--include=dbus,e2fsprogs,grub-pc,ifupdown,initramfs-tools,iproute2,isc-dhcp-client,kmod,libpam-systemd," +
			"linux-image-amd64,netbase,nginx-light,openssh-server,procps,systemd,systemd-sysv,udev,zstd",
		`--aptopt=APT::Install-Recommends "false"`, `--aptopt=Acquire::Retries "3"`, `--aptopt=Acquire::http::Timeout "20"`,
		"--dpkgopt=force-unsafe-io",
		"--essential-hook=" + earlyHook,
		"--customize-hook=" + lateHook,
		"bookworm", "/dev/null",
		"deb http://mirror.example/debian bookworm main",
	}
	if diff := cmp.Diff(want, r.mmdebstrapArguments()); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}

	wantEnvironment := []string{
		"PATCHLAB_EXCHANGE=/some/where", "PATCHLAB_UUID=00000000-0000-4000-8000-000000000000",
		"PATCHLAB_OFFSET=1048576", "PATCHLAB_SIZE=3144704",
	}
	if diff := cmp.Diff(wantEnvironment, r.environment("/some/where")); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}

	r.manifest.Pockets = manifest.Pockets()
	got := r.mmdebstrapArguments()
	wantSources := []string{
		"deb http://mirror.example/debian bookworm main",
		"deb http://mirror.example/debian bookworm-updates main",
		"deb http://mirror.example/debian-security bookworm-security main",
		"deb http://mirror.example/debian bookworm-backports main",
	}
	if diff := cmp.Diff(wantSources, got[len(got)-4:]); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestAnEFIDiskHasASystemPartitionBeforeTheRoot(t *testing.T) {
	t.Parallel()
	r := recipe{manifest: sample()}
	r.manifest.Firmware = hypervisor.EFI
	disk := layoutOf(r.manifest)
	wantTable := "label: gpt\nstart=2048, size=131072, type=uefi\nstart=133120, size=6156288, type=linux\n"
	if disk.table != wantTable || disk.root != "/dev/vda2" {
		t.Errorf("the root is %s on\n%s", disk.root, disk.table)
	}
	if end := disk.offset + disk.size; end != r.manifest.Disk.Bytes()-(1<<20) {
		t.Errorf("the root ends at %d of %d: want room for the copy of the GPT", end, r.manifest.Disk.Bytes())
	}
	wantEnvironment := []string{"PATCHLAB_EXCHANGE=/x", "PATCHLAB_UUID=", "PATCHLAB_OFFSET=68157440", "PATCHLAB_SIZE=3078144"}
	if diff := cmp.Diff(wantEnvironment, r.environment("/x")); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	for name, want := range map[string]bool{"grub-pc": false, "grub-efi-amd64": true, "dosfstools": true} {
		if slices.Contains(r.packages(), name) != want {
			t.Errorf("the package %s is among those of an EFI image: %t", name, !want)
		}
	}
}

func TestConfinementDiesWithUs(t *testing.T) {
	t.Parallel()
	root := []string{"--mount", "--pid", "--fork", "--kill-child=KILL", "--", "mmdebstrap", "-x"}
	if diff := cmp.Diff(root, confine(false, "mmdebstrap", "-x")); diff != "" {
		t.Errorf("as root (-want +got):\n%s", diff)
	}
	user := append([]string{"--user", "--map-auto", "--map-root-user"}, root...)
	if diff := cmp.Diff(user, confine(true, "mmdebstrap", "-x")); diff != "" {
		t.Errorf("as a user (-want +got):\n%s", diff)
	}
}

func TestTheGuestSeesAliasesOnly(t *testing.T) {
	t.Parallel()
	r := recipe{manifest: sample(), mirror: mirror.Mirror{Main: "http://mirror.example/debian"}}
	r.manifest.Pockets = manifest.Pockets()
	for _, f := range slices.Concat(earlyFiles(), r.lateFiles()) {
		if strings.Contains(f.content, "mirror.example") {
			t.Errorf("%s names the mirror:\n%s", f.path, f.content)
		}
	}
}

func TestRecipeChangesWithWhatDecidesTheImage(t *testing.T) {
	t.Parallel()
	base := Recipe(sample())
	if base != Recipe(sample()) {
		t.Error("the recipe of the same manifest differs")
	}
	for name, change := range map[string]func(*manifest.Manifest){
		"a package": func(m *manifest.Manifest) { m.Packages = append(m.Packages, "cron") },
		"a file":    func(m *manifest.Manifest) { m.Files[0].Content = []byte("other") },
		"a mode":    func(m *manifest.Manifest) { m.Files[0].Mode = "0600" },
		"setup":     func(m *manifest.Manifest) { m.SetupScript = []byte("true") },
		"memory":    func(m *manifest.Manifest) { m.Memory = 1024 },
		"firmware":  func(m *manifest.Manifest) { m.Firmware = hypervisor.EFI },
	} {
		m := sample()
		change(&m)
		if Recipe(m) == base {
			t.Errorf("%s does not change the recipe", name)
		}
	}
}

func TestArchiveKeepsOwnersAndModes(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	files := []rootFile{{"/srv/p", 0o640, "root:www-data", "page"}, {"/etc/x", 0o755, "root:root", ""}}
	if err := writeArchive(&packed, files, time.Unix(1700000000, 5)); err != nil {
		t.Fatal(err)
	}
	var got []rootFile
	for archive := tar.NewReader(&packed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rootFile{"/" + header.Name, header.Mode, header.Uname + ":" + header.Gname, string(content)})
	}
	if diff := cmp.Diff(files, got, cmp.AllowUnexported(rootFile{})); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

func TestHidingWriterNeverWritesTheMirror(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var lines []string
	w := &hidingWriter{
		mirror: mirror.Mirror{Main: "http://mirror.example/debian"}, to: &log,
		line: func(line string) { lines = append(lines, line) },
	}
	// Cut in the middle of the name, as a pipe may.
	for _, part := range []string{"I: from http://mirr", "or.example/debian bookworm\nI: re", "st\n"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	want := "I: from http://debian.patchlab.invalid/debian bookworm\nI: rest\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"I: from http://debian.patchlab.invalid/debian bookworm", "I: rest"}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestTailKeepsTheFirstErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                      "",
		"one\ntwo\n":                            "two",
		"I: x\nE: a\nnoise\nE: b\nE: c\nE: d\n": "E: a; E: b; E: c",
	} {
		kept := &tail{}
		if _, err := io.WriteString(kept, text); err != nil {
			t.Fatal(err)
		}
		if got := kept.String(); got != want {
			t.Errorf("tail of %q is %q, want %q", text, got, want)
		}
	}
}
